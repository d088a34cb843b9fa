//! The published JSON Schema and the code take and refuse the same policies.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tributary_attest::{Measurement, Policy, SimulatedRoot};

fn policy() -> Value {
    let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
    json!(Policy::simulated(root, [Measurement::of_bytes(b"program")]))
}

fn schema() -> jsonschema::Validator {
    let schema = schemars::schema_for!(Policy);
    jsonschema::draft202012::new(schema.as_value()).unwrap()
}

#[test]
fn schema_and_code_agree_on_each_field() {
    let any = json!("any");
    let cases = [
        ("tees", json!(["simulated"]), true),
        ("tees", json!(["sgx"]), false),
        ("tees", any.clone(), false),
        ("simulated_roots", json!(["ab"]), false),
        ("simulated_roots", any.clone(), false),
        ("measurements", any.clone(), true),
        ("measurements", json!(["AB".repeat(48)]), false),
        ("measurements", json!(["ab".repeat(47)]), false),
        ("measurements", json!("ab".repeat(48)), false),
        ("measurements", Value::Null, false),
        ("signers", json!(["00".repeat(48)]), true),
        ("signers", json!("none"), false),
        ("product_id", json!("00".repeat(16)), true),
        ("product_id", json!(["00".repeat(16)]), false),
        ("minimum_svn", json!(0), true),
        ("minimum_svn", json!(4_294_967_295_u32), true),
        ("minimum_svn", json!(-1), false),
        ("minimum_svn", json!("1"), false),
        ("minimum_svn", json!(1.5), false),
        ("debug", json!("allowed"), true),
        ("debug", any.clone(), false),
        ("debug", json!(false), false),
        (
            "minimum_tcb",
            json!({"bootloader": 1, "tee": 0, "snp": 255, "microcode": 3}),
            true,
        ),
        (
            "minimum_tcb",
            json!({"bootloader": 1, "tee": 0, "snp": 256, "microcode": 3}),
            false,
        ),
        (
            "minimum_tcb",
            json!({"bootloader": 1, "tee": 0, "snp": 2}),
            false,
        ),
        (
            "minimum_tcb",
            json!({"bootloader": 1, "tee": 0, "snp": 2, "microcode": 3, "fmc": 1}),
            false,
        ),
        ("vmpls", json!([0, 3]), true),
        ("vmpls", json!([4]), false),
        ("host_data", json!("0f".repeat(32)), true),
        ("host_data", json!("0f".repeat(31)), false),
        ("chip_ids", json!(["00".repeat(32), "00".repeat(64)]), true),
        ("chip_ids", json!(["00".repeat(65)]), false),
        ("chip_ids", json!(["000"]), false),
        ("maximum_age_seconds", json!(60), true),
        ("maximum_age_seconds", any, true),
        ("maximum_age_seconds", json!("60 s"), false),
        ("nonsense", json!(1), false),
    ];
    let schema = schema();
    for (field, value, takes) in cases {
        let mut policy = policy();
        policy[field] = value.clone();
        assert_eq!(schema.is_valid(&policy), takes, "schema: {field} = {value}");
        assert_eq!(
            serde_json::from_value::<Policy>(policy).is_ok(),
            takes,
            "code: {field} = {value}"
        );
    }
}

#[test]
fn schema_and_check_agree_on_empty_and_repeated_lists() {
    let schema = schema();
    for field in ["tees", "simulated_roots", "measurements", "vmpls"] {
        let mut twice = policy();
        let entry = twice[field][0].clone();
        twice[field] = json!([entry, entry]);
        assert!(!schema.is_valid(&twice), "{field}");
        assert!(
            serde_json::from_value::<Policy>(twice)
                .unwrap()
                .check()
                .is_err(),
            "{field}"
        );
    }
    for field in ["tees", "measurements", "signers", "vmpls", "chip_ids"] {
        let mut empty = policy();
        empty[field] = json!([]);
        assert!(!schema.is_valid(&empty), "{field}");
        assert!(
            serde_json::from_value::<Policy>(empty)
                .unwrap()
                .check()
                .is_err(),
            "{field}"
        );
    }
}

#[test]
fn a_policy_that_lacks_a_field_is_refused_by_both() {
    let schema = schema();
    let whole = policy();
    assert!(schema.is_valid(&whole));
    for field in whole.as_object().unwrap().keys() {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(field);
        assert!(!schema.is_valid(&part), "{field}");
        assert!(serde_json::from_value::<Policy>(part).is_err(), "{field}");
    }
}
