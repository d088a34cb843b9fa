//! Contracts whose labels are masks: a class for each pixel.

use std::fs;
use std::path::Path;

use tributary_idx::{IdxEncoding, read_idx_images, write_idx_images};
use tributary_tests::{CONSUMER, Federation, Line, PROVIDERS, Serving};
use tributary_trainer::models;

use crate::{federation, number, stop, train};

const STEPS: u64 = 3;

/// Where the strokes of some digits are.
fn write_masks(images: &Path, masks: &Path) {
    let images = read_idx_images(images).unwrap();
    let strokes: Vec<u8> = images
        .pixels
        .iter()
        .map(|&grey| u8::from(grey > 127))
        .collect();
    write_idx_images(
        masks,
        images.rows,
        images.columns,
        &strokes,
        IdxEncoding::Plain,
    )
    .unwrap();
}

/// Both providers import masks, and offer them.
fn founded(federation: &Federation<'_>) {
    let path = |name: &str| federation.path(name);
    fs::write(path("linear.onnx"), models::linear(784, 784)).unwrap();
    write_masks(
        &path("data/validation-images.idx"),
        &path("data/validation-masks.idx"),
    );
    for party in PROVIDERS {
        let images = format!("data/{party}-images.idx");
        let labels = format!("data/{party}-labels.idx");
        let masks = format!("data/{party}-masks.idx");
        write_masks(&path(&images), &path(&masks));
        let import = ["agent", "dataset", "import", "strokes", "--format", "idx"];
        let files = ["--images", &images, "--labels", &labels, "--masks", &masks];
        let line = federation.unlocked(party, &import).words(&files);
        line.run().data();
        let offer = format!("{party}.strokes.json");
        let line = ["agent", "dataset", "offer", "strokes", "--out", &offer];
        federation.unlocked(party, &line).run().data();
    }
}

fn new<'a>(federation: &'a Federation<'a>, more: &[&str]) -> Line<'a> {
    let program = env!("CARGO_BIN_EXE_tributary-parties");
    let steps = STEPS.to_string();
    let line = ["aggregator", "contract", "new", "--recipe", "mnist"];
    let terms = ["--purpose", "Finding strokes", "--epsilon", "20"];
    let sampling = ["--sampling-rate", "0.05", "--steps", &steps];
    let root = ["--simulated-root", "simulated-root/root.pub"];
    let files = ["--model", "linear.onnx", "--out", "strokes.dsse"];
    let programs = ["--aggregator-program", program, "--agent-program", program];
    let mut line = federation
        .unlocked(CONSUMER, &line)
        .words(&terms)
        .words(&sampling)
        .words(&root)
        .words(&files)
        .words(&programs)
        .words(&["--label", "mask"]);
    for party in PROVIDERS {
        line = line.words(&["--offer", &format!("{party}.strokes.json")]);
    }
    line.words(more)
}

/// A contract over masks, signed and registered; its agents and its number.
fn agreed<'a>(federation: &'a Federation<'a>) -> (Vec<Serving>, u64) {
    new(federation, &["--classes", "2", "--loss", "dice"])
        .run()
        .data();
    for party in PROVIDERS {
        let sign = ["agent", "contract", "sign", "strokes.dsse"];
        federation.unlocked(party, &sign).run().data();
    }
    let agents = federation.agents();
    let seq = federation.register(&federation.path("strokes.dsse"), &agents[0]);
    (agents, seq)
}

#[test]
fn a_model_is_trained_and_measured_on_masks() {
    let federation = federation();
    founded(&federation);
    let (agents, seq) = agreed(&federation);
    train(&federation, seq, &agents)
        .aloud()
        .words(&["--validation-images", "data/validation-images.idx"])
        .words(&["--validation-masks", "data/validation-masks.idx"])
        .run()
        .well();
    stop(agents);
    assert_eq!(number(&federation.report(seq, 1), "/steps"), STEPS as f64);
    let metrics = fs::read(federation.run_file(seq, 1, "metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    assert!(metrics["validation_accuracy"].is_null());
    assert!(number(&metrics, "/validation/regression/mse") > 0.0);

    let seq = seq.to_string();
    let unseal = ["aggregator", "unseal", "--contract", &seq, "--run", "1"];
    let unseal = federation.unlocked(CONSUMER, &unseal);
    unseal.words(&["--out", "model"]).run().data();
    let evaluate = ["aggregator", "evaluate", "--contract", &seq];
    let files = [
        "--model",
        "model/model.onnx",
        "--images",
        "data/validation-images.idx",
        "--masks",
        "data/validation-masks.idx",
    ];
    let line = federation.line(&evaluate).words(&files).home(CONSUMER);
    let measured = line.run().data();
    assert_eq!(number(&measured, "/examples"), 100.0);
    assert_eq!(
        number(&measured, "/loss"),
        number(&metrics, "/validation_loss")
    );
}

#[test]
fn masks_that_do_not_fit_their_images_the_model_or_the_validation_set_are_refused() {
    let federation = federation();
    founded(&federation);
    let refused = |more: &[&str], code: &str, words: &[&str]| {
        new(&federation, more).run().refused(11, code, words);
    };
    refused(
        &["--loss", "dice"],
        "contract-invalid",
        &["number of classes", "--classes"],
    );
    // A softmax needs a channel for each class; so do more classes than two.
    refused(&["--classes", "2"], "contract-unfit", &["2x28x28", "784"]);
    refused(
        &["--classes", "3", "--loss", "dice"],
        "contract-unfit",
        &["3x28x28", "784"],
    );

    let (agents, seq) = agreed(&federation);
    train(&federation, seq, &agents)
        .aloud()
        .words(&["--validation-images", "data/validation-images.idx"])
        .words(&["--validation-labels", "data/validation-labels.idx"])
        .run()
        .refused(2, "usage", &["--validation-masks"]);
    stop(agents);

    let party = PROVIDERS[0];
    let import = ["agent", "dataset", "import", "others", "--format", "idx"];
    let images = format!("data/{party}-images.idx");
    let labels = format!("data/{party}-labels.idx");
    let files = ["--images", &images, "--labels", &labels];
    federation
        .unlocked(party, &import)
        .words(&files)
        .words(&["--masks", "data/validation-masks.idx"])
        .run()
        .refused(1, "data-invalid", &["100", "300"]);
}
