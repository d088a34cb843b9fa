use std::path::Path;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::*;
use crate::identity::Identity;

/// A document that makes sense, with its parties' identities: alice and bob provide, tdc consumes.
pub(crate) fn good() -> (Value, [Identity; 3]) {
    let parties = [
        Identity::generate(),
        Identity::generate(),
        Identity::generate(),
    ];
    let columns = json!([
        {"name": "image", "type": {"image-u8": {"height": 28, "width": 28, "channels": 1}}},
        {"name": "label", "type": {"label": {"classes": 10}}}
    ]);
    let policy = serde_json::to_value(tributary_attest::Policy::simulated(
        tributary_attest::SimulatedRoot::generate()
            .unwrap()
            .public_key(),
        [tributary_attest::Measurement::of_bytes(b"program")],
    ))
    .unwrap();
    let now = Utc::now();
    let value = json!({
        "version": 1,
        "purpose": "Digits.",
        "parties": [
            {"name": "alice", "role": "provider", "key": parties[0].public()},
            {"name": "bob", "role": "provider", "key": parties[1].public()},
            {"name": "tdc", "role": "consumer", "key": parties[2].public()},
        ],
        "sealing_key": crate::SealingKey { x25519: [1; 32], ml_kem_768: Box::new([2; 1184]) },
        "validity": {"not_before": now - TimeDelta::days(1), "not_after": now + TimeDelta::days(1)},
        "runs": 2,
        "datasets": [
            {"owner": "alice", "name": "digits", "manifest": Digest::of(b"a"), "records": 15000, "columns": columns, "epsilon": 3.0},
            {"owner": "bob", "name": "digits", "manifest": Digest::of(b"b"), "records": 15000, "columns": columns, "epsilon": 3.0},
        ],
        "pipeline": {
            "combine": "union",
            "input": {"column": "image", "divisor": 255.0, "mean": 0.5, "deviation": 0.5},
            "label": {"column": "label", "classes": 10},
            "model": {"onnx": Digest::of(b"onnx")},
            "loss": "cross-entropy",
            "optimiser": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9},
            "steps": 500,
        },
        "privacy": {
            "unit": "record", "people": "disjoint", "sampling_rate": 0.02, "noise_multiplier": 1.1,
            "clipping_norm": 1.0, "delta": 1e-5, "accountant": "rdp",
        },
        "attestation": {"aggregator": policy, "agents": policy, "interval_seconds": 3600},
        "ledger": {"members": ["alice"]},
        "disclosure": {"progress": true, "metrics": "validation"},
    });
    (value, parties)
}

pub(super) fn parse(value: &Value) -> Result<Contract, ContractError> {
    Contract::parse(value.to_string().as_bytes())
}

#[test]
fn a_good_contract_parses_and_plans() {
    let (value, _) = good();
    let contract = parse(&value).unwrap();
    assert_eq!(contract.consumer().0.as_str(), "tdc");
    assert_eq!(contract.providers().count(), 2);
    let plan = contract.plan().unwrap();
    assert_eq!(plan.datasets.len(), 2);
    assert!(plan.datasets[0].run < plan.datasets[0].all_runs);
    assert!((contract.expected_batch_size() - 600.0).abs() < 1e-9);
}

#[test]
fn every_field_out_of_its_bounds_is_refused_by_its_path() {
    // Path in the document, the value that is put there, the field that must be named.
    let cases = [
        ("/version", json!(2), "version"),
        ("/purpose", json!("  "), "purpose"),
        ("/parties/1/name", json!("alice"), "parties[1].name"),
        ("/parties/2/role", json!("provider"), "parties"),
        ("/parties/0/role", json!("consumer"), "parties"),
        ("/runs", json!(0), "runs"),
        ("/runs", json!(1001), "runs"),
        (
            "/validity/not_after",
            json!("2020-01-01T00:00:00Z"),
            "validity.not_after",
        ),
        ("/datasets", json!([]), "datasets"),
        ("/datasets/0/owner", json!("tdc"), "datasets[0].owner"),
        ("/datasets/0/owner", json!("carol"), "datasets[0].owner"),
        ("/datasets/1/owner", json!("alice"), "datasets[1].name"),
        ("/datasets/0/records", json!(0), "datasets[0].records"),
        (
            "/datasets/0/records",
            json!(1u64 << 32),
            "datasets[0].records",
        ),
        ("/datasets/0/epsilon", json!(0.0), "datasets[0].epsilon"),
        (
            "/datasets/1/columns/1/type/label/classes",
            json!(9),
            "datasets[1].columns",
        ),
        (
            "/datasets/0/columns/0/name",
            json!("pixels"),
            "datasets[0].columns",
        ),
        (
            "/pipeline/input/column",
            json!("label"),
            "datasets[0].columns",
        ),
        (
            "/pipeline/input/divisor",
            json!(0.0),
            "pipeline.input.divisor",
        ),
        (
            "/pipeline/input/deviation",
            json!(-1.0),
            "pipeline.input.deviation",
        ),
        (
            "/pipeline/label/classes",
            json!(11),
            "pipeline.label.classes",
        ),
        ("/pipeline/steps", json!(0), "pipeline.steps"),
        ("/pipeline/steps", json!(10_000_001), "pipeline.steps"),
        (
            "/pipeline/optimiser/learning_rate",
            json!(0.0),
            "pipeline.optimiser.learning_rate",
        ),
        (
            "/pipeline/optimiser/momentum",
            json!(1.0),
            "pipeline.optimiser.momentum",
        ),
        (
            "/privacy/sampling_rate",
            json!(0.0),
            "privacy.sampling_rate",
        ),
        (
            "/privacy/sampling_rate",
            json!(1.5),
            "privacy.sampling_rate",
        ),
        (
            "/privacy/noise_multiplier",
            json!(0.0),
            "privacy.noise_multiplier",
        ),
        (
            "/privacy/clipping_norm",
            json!(-1.0),
            "privacy.clipping_norm",
        ),
        (
            "/privacy/clipping_norm",
            json!(1e300),
            "privacy.clipping_norm",
        ),
        ("/privacy/delta", json!(1.0), "privacy.delta"),
        (
            "/attestation/interval_seconds",
            json!(1),
            "attestation.interval_seconds",
        ),
        ("/attestation/agents/tees", json!([]), "attestation.agents"),
        ("/ledger/members", json!([]), "ledger.members"),
        ("/ledger/members", json!(["alice", "bob"]), "ledger.members"),
        ("/ledger/members/0", json!("tdc"), "ledger.members[0]"),
    ];
    for (pointer, value, expected) in cases {
        let (mut document, _) = good();
        *document.pointer_mut(pointer).unwrap() = value.clone();
        match parse(&document) {
            Err(ContractError::Field { field, .. }) => {
                assert_eq!(field, expected, "{pointer} = {value}")
            }
            other => panic!("{pointer} = {value}: {other:?}"),
        }
    }
}

#[test]
fn a_label_may_be_an_image_of_classes_with_one_channel() {
    let with = |channels: u32, classes: u32| {
        let (mut document, _) = good();
        let kind = json!({"image-u8": {"height": 28, "width": 28, "channels": channels}});
        for dataset in document["datasets"].as_array_mut().unwrap() {
            dataset["columns"][1]["type"] = kind.clone();
        }
        document["pipeline"]["label"]["classes"] = json!(classes);
        parse(&document)
    };
    assert!(with(1, 2).is_ok() && with(1, 256).is_ok());
    for (channels, classes, expected) in [
        (3, 2, "pipeline.label.column"),
        (1, 257, "pipeline.label.classes"),
        (1, 1, "pipeline.label.classes"),
    ] {
        match with(channels, classes) {
            Err(ContractError::Field { field, .. }) => assert_eq!(field, expected),
            other => panic!("{channels} channels, {classes} classes: {other:?}"),
        }
    }
}

#[test]
fn the_same_key_for_two_parties_is_refused() {
    let (mut value, _) = good();
    value["parties"][1]["key"] = value["parties"][0]["key"].clone();
    assert!(matches!(
        parse(&value),
        Err(ContractError::Field { field, .. }) if field == "parties[1].key"
    ));
}

#[test]
fn unknown_and_missing_fields_are_refused_at_every_level() {
    fn objects(value: &Value, at: String, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.push(at.clone());
                for (key, value) in map {
                    objects(value, format!("{at}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    objects(value, format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let (value, _) = good();
    let mut found = Vec::new();
    objects(&value, String::new(), &mut found);
    assert!(found.len() > 15);
    for pointer in &found {
        let mut extra = value.clone();
        let object = extra.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert("surprise".into(), json!(1));
        assert!(parse(&extra).is_err(), "an unknown field at `{pointer}`");
        let keys: Vec<String> = value
            .pointer(pointer)
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        for key in keys {
            let mut missing = value.clone();
            missing
                .pointer_mut(pointer)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(&key);
            assert!(parse(&missing).is_err(), "without `{key}` at `{pointer}`");
        }
    }
}

#[test]
fn what_is_not_built_is_refused_and_not_ignored() {
    for (pointer, value) in [
        ("/pipeline/combine", json!("join")),
        ("/privacy/unit", json!("entity")),
        ("/privacy/people", json!("overlapping")),
        ("/pipeline/loss", json!("hinge")),
        ("/disclosure/metrics", json!("training")),
    ] {
        let (mut document, _) = good();
        *document.pointer_mut(pointer).unwrap() = value;
        assert!(
            matches!(parse(&document), Err(ContractError::Json(_))),
            "{pointer}"
        );
    }
}

#[test]
fn a_missing_signature_is_named_and_an_altered_byte_voids_all() {
    let (value, [alice, bob, tdc]) = good();
    let document: Document = serde_json::from_value(value).unwrap();
    let mut signed = SignedContract::write(&document, &tdc).unwrap();
    signed.sign(&alice);
    assert!(matches!(
        signed.check(Utc::now()),
        Err(ContractError::Unsigned { missing }) if missing == ["bob".parse().unwrap()]
    ));
    signed.sign(&bob);
    signed.check(Utc::now()).unwrap();

    let text = String::from_utf8(signed.envelope().payload().to_vec()).unwrap();
    let altered = text.replace("\"runs\": 2", "\"runs\": 3");
    assert_ne!(text, altered);
    let json: Value = serde_json::from_slice(&signed.envelope().to_json()).unwrap();
    let mut forged = json.clone();
    use base64::Engine as _;
    forged["payload"] = base64::engine::general_purpose::STANDARD
        .encode(altered)
        .into();
    let forged = SignedContract::from_json(forged.to_string().as_bytes()).unwrap();
    assert_eq!(forged.missing().len(), 3);
}

#[test]
fn a_contract_out_of_its_time_is_refused() {
    let (value, [alice, bob, tdc]) = good();
    let mut signed = SignedContract::write(&serde_json::from_value(value).unwrap(), &tdc).unwrap();
    signed.sign(&alice);
    signed.sign(&bob);
    let later = Utc::now() + TimeDelta::days(2);
    let earlier = Utc::now() - TimeDelta::days(2);
    assert!(matches!(
        signed.check(later),
        Err(ContractError::Expired { .. })
    ));
    assert!(matches!(
        signed.check(earlier),
        Err(ContractError::NotYetInForce { .. })
    ));
}

#[test]
fn the_published_schema_is_the_one_of_the_code_and_judges_as_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/contract.v1.json");
    let published: Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()).unwrap_or(Value::Null);
    let generated = schemars::schema_for!(Document).to_value();
    if std::env::var_os("TRIBUTARY_WRITE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&generated).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    assert!(
        published == generated,
        "run this test with TRIBUTARY_WRITE_SCHEMA=1 and commit {}",
        path.display()
    );
    let validator = jsonschema::validator_for(&published).unwrap();
    let (value, _) = good();
    assert!(validator.is_valid(&value));
    for (pointer, bad) in [
        ("/purpose", json!(1)),
        ("/pipeline/combine", json!("join")),
        ("/datasets/0/manifest", json!("md5:00")),
        ("/parties/0/name", json!("Alice")),
    ] {
        let mut document = value.clone();
        *document.pointer_mut(pointer).unwrap() = bad;
        assert!(!validator.is_valid(&document), "{pointer}");
    }
    let mut extra = value;
    extra["surprise"] = json!(1);
    assert!(!validator.is_valid(&extra));
}
