//! What a contract may say about training.

use serde_json::{Value, json};

use super::tests::{good, parse};
use super::{ContractError, Course, Loss, Optimiser, Schedule};

/// A good contract with one field of its pipeline replaced or added.
fn with(field: &str, value: &Value) -> Value {
    let (mut document, _) = good();
    document["pipeline"][field] = value.clone();
    document
}

#[test]
fn every_loss_optimiser_schedule_and_average_is_read_and_written_as_it_was() {
    let cases = [
        ("loss", json!("mse")),
        ("loss", json!("l1")),
        ("loss", json!("dice")),
        (
            "loss",
            json!({"weighted-cross-entropy": {"weights": [], "label_smoothing": 0.1}}),
        ),
        ("loss", json!({"bce-with-logits": {"positive_weight": 2.0}})),
        ("loss", json!({"huber": {"delta": 0.5}})),
        ("loss", json!({"focal": {"gamma": 2.0, "alpha": 0.25}})),
        ("loss", json!({"focal": {"gamma": 2.0}})),
        (
            "loss",
            json!({"sum": [{"weight": 0.5, "loss": "dice"}, {"weight": 1.0, "loss": {"huber": {"delta": 1.0}}}]}),
        ),
        (
            "optimiser",
            json!({"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": true, "weight_decay": 1e-4}),
        ),
        (
            "optimiser",
            json!({"kind": "adam", "learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
        ),
        (
            "optimiser",
            json!({"kind": "adamw", "learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.01}),
        ),
        (
            "optimiser",
            json!({"kind": "rmsprop", "learning_rate": 0.1, "decay": 0.9, "epsilon": 1e-8, "momentum": 0.0, "centred": true}),
        ),
        (
            "schedule",
            json!({"warm_up": {"steps": 10, "from": 0.1}, "course": {"kind": "cosine", "end": 0.0}}),
        ),
        (
            "schedule",
            json!({"course": {"kind": "one-cycle", "rise": 0.3, "start": 0.04, "end": 4e-6}}),
        ),
        (
            "schedule",
            json!({"course": {"kind": "cyclic", "low": 0.1, "up": 20, "down": 30}}),
        ),
        (
            "schedule",
            json!({"course": {"kind": "step", "every": 100, "factor": 0.5}}),
        ),
        ("average", json!({"decay": 0.97})),
    ];
    for (field, value) in cases {
        let document = with(field, &value);
        let contract = parse(&document).unwrap_or_else(|error| panic!("{value}: {error}"));
        let written = serde_json::to_value(contract.document()).unwrap();
        assert_eq!(written["pipeline"][field], value);
        let object = value.as_object().and_then(|object| object.iter().next());
        let inner = object.is_some_and(|(_, value)| value.is_object());
        let mut unknown = value.clone();
        if inner {
            let key = object.map(|(key, _)| key.clone()).unwrap();
            unknown[&key]["surprise"] = json!(1);
        } else if object.is_some() {
            unknown["surprise"] = json!(1);
        } else {
            continue;
        }
        let refused = parse(&with(field, &unknown));
        assert!(matches!(refused, Err(ContractError::Json(_))), "{unknown}");
    }
}

#[test]
fn what_is_left_out_has_no_effect() {
    let (document, _) = good();
    let contract = parse(&document).unwrap();
    let pipeline = &contract.document().pipeline;
    assert_eq!(pipeline.loss, Loss::CrossEntropy);
    assert_eq!(pipeline.schedule, Schedule::default());
    assert_eq!(pipeline.schedule.course, Course::Constant);
    assert_eq!(pipeline.average, None);
    assert!(matches!(
        pipeline.optimiser,
        Optimiser::Sgd { nesterov: false, weight_decay, .. } if weight_decay == 0.0
    ));
}

#[test]
fn settings_of_training_out_of_range_are_refused_by_path() {
    let sgd = |momentum: f64, nesterov: bool, weight_decay: f64| json!({"kind": "sgd", "learning_rate": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay});
    let cases = [
        (
            "loss",
            json!({"weighted-cross-entropy": {"weights": [1.0], "label_smoothing": 0.1}}),
            "loss.weighted-cross-entropy.weights",
        ),
        (
            "loss",
            json!({"weighted-cross-entropy": {"weights": [1, 1, 1, 0, 1, 1, 1, 1, 1, 1], "label_smoothing": 0.1}}),
            "loss.weighted-cross-entropy.weights[3]",
        ),
        (
            "loss",
            json!({"weighted-cross-entropy": {"weights": [], "label_smoothing": 1.0}}),
            "loss.weighted-cross-entropy.label_smoothing",
        ),
        (
            "loss",
            json!({"bce-with-logits": {"positive_weight": 0.0}}),
            "loss.bce-with-logits.positive_weight",
        ),
        (
            "loss",
            json!({"huber": {"delta": -1.0}}),
            "loss.huber.delta",
        ),
        (
            "loss",
            json!({"focal": {"gamma": -1.0}}),
            "loss.focal.gamma",
        ),
        (
            "loss",
            json!({"focal": {"gamma": 1.0, "alpha": 2.0}}),
            "loss.focal.alpha",
        ),
        ("loss", json!({"sum": []}), "loss.sum"),
        (
            "loss",
            json!({"sum": [{"weight": 0.0, "loss": "l1"}]}),
            "loss.sum[0].weight",
        ),
        (
            "loss",
            json!({"sum": [{"weight": 1.0, "loss": "l1"}, {"weight": 1.0, "loss": {"sum": [{"weight": 1.0, "loss": "l1"}]}}]}),
            "loss.sum[1].loss",
        ),
        ("optimiser", sgd(0.0, true, 0.0), "optimiser.momentum"),
        ("optimiser", sgd(0.9, false, -0.1), "optimiser.weight_decay"),
        (
            "optimiser",
            json!({"kind": "adamw", "learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.0}),
            "optimiser.weight_decay",
        ),
        (
            "optimiser",
            json!({"kind": "rmsprop", "learning_rate": 0.1, "decay": 1.0, "epsilon": 1e-8, "momentum": 0.0}),
            "optimiser.decay",
        ),
        (
            "schedule",
            json!({"warm_up": {"steps": 500, "from": 0.1}, "course": {"kind": "constant"}}),
            "schedule.warm_up.steps",
        ),
        (
            "schedule",
            json!({"warm_up": {"steps": 5, "from": 0.0}, "course": {"kind": "constant"}}),
            "schedule.warm_up.from",
        ),
        (
            "schedule",
            json!({"course": {"kind": "cosine", "end": 1.5}}),
            "schedule.course.end",
        ),
        (
            "schedule",
            json!({"course": {"kind": "step", "every": 0, "factor": 0.5}}),
            "schedule.course.every",
        ),
        (
            "schedule",
            json!({"warm_up": {"steps": 499, "from": 0.1}, "course": {"kind": "one-cycle", "rise": 0.3, "start": 0.1, "end": 0.0}}),
            "schedule.course",
        ),
        (
            "schedule",
            json!({"course": {"kind": "cyclic", "low": 0.1, "up": 1, "down": 0}}),
            "schedule.course.down",
        ),
        ("average", json!({"decay": 1.0}), "average.decay"),
    ];
    for (field, value, expected) in cases {
        match parse(&with(field, &value)) {
            Err(ContractError::Field { field, .. }) => {
                assert_eq!(field, format!("pipeline.{expected}"), "{value}")
            }
            other => panic!("{value}: {other:?}"),
        }
    }
}
