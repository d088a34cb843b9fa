//! Weights that several layers use: an example's gradients by every use are added before its norm is taken.

use super::{check, check_lookups, with_lookups};
use crate::export::export_onnx;
use crate::graph::Graph;
use crate::models::builder::{Builder, INPUT, int, ints};
use crate::onnx::ModelProto;
use crate::parameters::Parameters;

/// Checks a network in which `name` is used several times, and that its export keeps the one initializer.
fn check_shared(model: &[u8], name: &str, seed: u64) {
    check(model, seed);
    let graph = Graph::from_onnx(model).unwrap();
    check_export(model, &graph, name);
}

fn check_export(model: &[u8], graph: &Graph, name: &str) {
    let shared = graph.parameters().iter().filter(|info| info.name == name);
    assert_eq!(shared.count(), 1);
    let changed: Vec<f32> = (graph.initial_weights().iter())
        .map(|weight| weight + 1.0)
        .collect();
    let parameters = Parameters::from_flat(graph, &changed).unwrap();
    let exported = export_onnx(model, &parameters).unwrap();
    let count = |bytes: &[u8]| {
        let graph = ModelProto::read(bytes).unwrap().graph.unwrap();
        graph.initializer.len()
    };
    assert_eq!(count(&exported), count(model));
    let read = Graph::from_onnx(&exported).unwrap();
    assert_eq!(read.parameters(), graph.parameters());
    assert_eq!(read.initial_weights(), changed);
}

#[test]
fn a_linear_layer_applied_twice_agrees() {
    let mut model = Builder::new("test", 31, &[6]);
    model.layer("twice", &[6, 6]);
    model.layer("classes", &[3, 6]);
    for name in ["one", "two"] {
        let weights = ["twice.weight", "twice.bias"];
        model.then("Gemm", name, &weights, vec![int("transB", 1)]);
        model.then("Tanh", &format!("{name}.tanh"), &[], vec![]);
    }
    let weights = ["classes.weight", "classes.bias"];
    model.then("Gemm", "classes", &weights, vec![int("transB", 1)]);
    check_shared(&model.finish(&[3]), "twice.weight", 31);
}

#[test]
fn a_convolution_applied_twice_agrees() {
    let mut model = Builder::new("test", 32, &[2, 5, 4]);
    model.layer("twice", &[2, 2, 3, 3]);
    model.layer("classes", &[3, 40]);
    for name in ["one", "two"] {
        let weights = ["twice.weight", "twice.bias"];
        model.then("Conv", name, &weights, vec![ints("pads", &[1; 4])]);
        model.then("Tanh", &format!("{name}.tanh"), &[], vec![]);
    }
    model.then("Flatten", "flat", &[], vec![]);
    let weights = ["classes.weight", "classes.bias"];
    model.then("Gemm", "classes", &weights, vec![int("transB", 1)]);
    check_shared(&model.finish(&[3]), "twice.bias", 32);
}

/// A matrix and its transpose, as an autoencoder has them; and biases of which one is shared with an addition.
#[test]
fn a_matrix_used_both_ways_round_agrees() {
    let mut model = Builder::new("test", 33, &[5]);
    model.layer("encoder", &[4, 5]);
    model.layer("classes", &[3, 5]);
    let weights = ["encoder.weight", "encoder.bias"];
    model.then("Gemm", "encode", &weights, vec![int("transB", 1)]);
    model.then("Add", "add", &["encoder.bias"], vec![]);
    model.then("Tanh", "tanh", &[], vec![]);
    model.then("Gemm", "decode", &["encoder.weight"], vec![]);
    let weights = ["classes.weight", "classes.bias"];
    model.then("Gemm", "classes", &weights, vec![int("transB", 1)]);
    check_shared(&model.finish(&[3]), "encoder.weight", 33);
}

#[test]
fn an_embedding_that_is_the_output_layer_too_agrees() {
    const WORDS: i64 = 7;
    let mut model = Builder::new("test", 34, &[2]);
    model.weight("e.weight", &[WORDS, 4], 1.0);
    model.layer("fc", &[4, 8]);
    model.node("Gather", "e", &["e.weight", INPUT], vec![]);
    model.then("Flatten", "flat", &[], vec![]);
    let weights = ["fc.weight", "fc.bias"];
    model.then("Gemm", "fc", &weights, vec![int("transB", 1)]);
    model.then("Tanh", "tanh", &[], vec![]);
    model.then("Gemm", "words", &["e.weight"], vec![int("transB", 1)]);
    let model = model.finish(&[WORDS]);
    check_lookups(&model, WORDS as u32, 34);
    let model = with_lookups(&model);
    check_export(&model, &Graph::from_onnx(&model).unwrap(), "e.weight");
}

/// The norm of a sum is not the sum of the norms: a weight whose uses cancel each other has no gradient at all.
#[test]
fn uses_that_cancel_each_other_leave_nothing_to_clip() {
    let mut model = Builder::new("test", 35, &[4]);
    model.weight("shift", &[4], 1.0);
    model.layer("classes", &[3, 4]);
    model.then("Add", "add", &["shift"], vec![]);
    model.then("Sub", "sub", &["shift"], vec![]);
    let weights = ["classes.weight", "classes.bias"];
    model.then("Gemm", "classes", &weights, vec![int("transB", 1)]);
    check_shared(&model.finish(&[3]), "shift", 35);
}
