//! `simulations run` as a test can afford it: few digits, few steps.

use std::fs;

use tributary_trainer::Graph;

use crate::{federation, number};

/// A recipe whose network is fixed but for its last layer: what is fixed travels in the ONNX file, whose digest the contract
/// names, and comes back as it was.
#[test]
fn a_network_with_fixed_parts_is_trained_by_its_recipe() {
    let federation = federation();
    let run = [
        "simulations",
        "run",
        "mnist",
        "--recipe",
        "mnist-scatter",
        "--agents",
        "2",
        "--train-images",
        "120",
        "--test-images",
        "20",
        "--steps",
        "2",
        "--epsilon",
        "20",
        "--out",
        "simulated",
    ];
    let outcome = federation.line(&run).run().data();
    assert_eq!(number(&outcome, "/steps"), 2.0);
    assert!(number(&outcome, "/epsilon/tdp-2") <= 20.0);
    let read = |name: &str| {
        let bytes = fs::read(federation.path("simulated").join(name)).unwrap();
        Graph::from_onnx(&bytes).unwrap()
    };
    let (initial, trained) = (read("initial.onnx"), read("model/model.onnx"));
    assert!(!initial.frozen().is_empty());
    assert_eq!(initial.frozen(), trained.frozen());
    let mut changed = initial.initial_weights().to_vec();
    for range in initial.frozen() {
        assert_eq!(
            initial.initial_weights()[range.clone()],
            trained.initial_weights()[range.clone()]
        );
        changed[range.clone()].copy_from_slice(&trained.initial_weights()[range.clone()]);
    }
    assert_ne!(changed, trained.initial_weights());
}

#[test]
fn a_network_that_does_not_fit_the_digits_is_refused_by_the_contract() {
    let federation = federation();
    let model = ["aggregator", "model", "new", "lenet", "--out", "lenet.onnx"];
    federation.line(&model).run().data();
    let run = [
        "simulations",
        "run",
        "mnist",
        "--model",
        "lenet.onnx",
        "--agents",
        "1",
        "--train-images",
        "20",
        "--test-images",
        "5",
        "--out",
        "simulated",
    ];
    let ended = federation.line(&run).run();
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("3x32x32") || ended.stdout.contains("3x32x32"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}
