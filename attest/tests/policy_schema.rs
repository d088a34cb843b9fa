//! The published JSON Schema and the code take and refuse the same policies.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tributary_attest::{Measurement, Policy, SimulatedRoot, TdxPolicy};

fn policy() -> Value {
    let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
    json!(Policy {
        tdx: Some(TdxPolicy::baseline()),
        ..Policy::simulated(root, [Measurement::of_bytes(b"program")])
    })
}

fn schema() -> jsonschema::Validator {
    let schema = schemars::schema_for!(Policy);
    jsonschema::draft202012::new(schema.as_value()).unwrap()
}

#[test]
fn schema_and_code_agree_on_each_field() {
    let any = json!("any");
    let tcb = json!({"bootloader": 1, "tee": 0, "snp": 255, "microcode": 3});
    let turin = json!({"fmc": 1, "bootloader": 1, "tee": 0, "snp": 255, "microcode": 3});
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
        ("code", json!("measurement-or-signer"), true),
        ("code", any.clone(), false),
        ("tier", json!("STALE"), true),
        ("tier", any.clone(), true),
        ("tier", json!("stale"), false),
        ("sev_snp", Value::Null, false),
        ("sev_snp", any.clone(), false),
        ("tdx", Value::Null, false),
        ("sev_snp/minimum_reported_tcb", json!({"genoa": tcb}), true),
        (
            "sev_snp/minimum_reported_tcb",
            json!({"turin": turin}),
            true,
        ),
        ("sev_snp/minimum_reported_tcb", json!({"rome": tcb}), false),
        (
            "sev_snp/minimum_reported_tcb",
            json!({"milan": null}),
            false,
        ),
        ("sev_snp/minimum_launch_tcb", tcb.clone(), false),
        (
            "sev_snp/minimum_committed_tcb",
            json!({"milan": {"bootloader": 1, "tee": 0, "snp": 256, "microcode": 3}}),
            false,
        ),
        (
            "sev_snp/minimum_committed_tcb",
            json!({"milan": {"bootloader": 1, "tee": 0, "snp": 2}}),
            false,
        ),
        ("sev_snp/vmpls", json!([0, 3]), true),
        ("sev_snp/vmpls", json!([4]), false),
        ("sev_snp/guest_policy/minimum_abi", json!("1.55"), true),
        ("sev_snp/guest_policy/minimum_abi", json!("1.256"), false),
        ("sev_snp/guest_policy/minimum_abi", json!("01.5"), false),
        ("sev_snp/guest_policy/smt", json!("required"), true),
        ("sev_snp/guest_policy/smt", json!(true), false),
        ("sev_snp/guest_policy/debug", json!("forbidden"), false),
        ("sev_snp/platform_info/ecc", json!("forbidden"), true),
        ("sev_snp/platform_info/ecc", Value::Null, false),
        ("sev_snp/host_data", json!("0f".repeat(32)), true),
        ("sev_snp/host_data", json!("0f".repeat(31)), false),
        ("sev_snp/id_keys", json!(["0f".repeat(48)]), true),
        ("sev_snp/author_keys", json!("0f".repeat(48)), false),
        ("sev_snp/signing_keys", json!(["vlek"]), true),
        ("sev_snp/signing_keys", json!(["vck"]), false),
        ("sev_snp/chip_ids", json!(["0f".repeat(64)]), true),
        ("sev_snp/chip_ids", json!(["0f".repeat(65)]), false),
        ("sev_snp/chip_ids", json!(["000"]), false),
        (
            "sev_snp/launch_mitigations",
            json!("0000000000000001"),
            true,
        ),
        ("sev_snp/current_mitigations", json!(1), false),
        ("tdx/rtmr3", json!(["0f".repeat(48)]), true),
        ("tdx/rtmr4", json!(["0f".repeat(48)]), false),
        ("tdx/xfam", json!(["e702060000000000"]), true),
        ("tdx/td_attributes", json!("0000001000000000"), false),
        ("tdx/tcb_statuses", json!(["SWHardeningNeeded"]), true),
        ("tdx/tcb_statuses", json!(["SwHardeningNeeded"]), false),
        ("tdx/advisory_ids", json!([]), true),
        ("tdx/advisory_ids", json!(["INTEL SA"]), false),
        ("tdx/minimum_tcb_evaluation_data_number", json!(17), true),
        ("tdx/minimum_tcb_evaluation_data_number", json!("17"), false),
        ("tdx/platform_instance_ids", json!(["0f".repeat(16)]), true),
        ("maximum_age_seconds", json!(60), true),
        ("maximum_age_seconds", any, true),
        ("maximum_age_seconds", json!("60 s"), false),
        ("nonsense", json!(1), false),
    ];
    let schema = schema();
    for (field, value, takes) in cases {
        let mut policy = policy();
        set(&mut policy, field, value.clone());
        assert_eq!(schema.is_valid(&policy), takes, "schema: {field} = {value}");
        assert_eq!(
            serde_json::from_value::<Policy>(policy).is_ok(),
            takes,
            "code: {field} = {value}"
        );
    }
}

fn set(policy: &mut Value, path: &str, value: Value) {
    let (object, field) = path.rsplit_once('/').unwrap_or(("", path));
    let object = if object.is_empty() {
        policy
    } else {
        policy.pointer_mut(&format!("/{object}")).unwrap()
    };
    object[field] = value;
}

#[test]
fn schema_and_check_agree_on_empty_and_repeated_lists() {
    let schema = schema();
    for field in [
        "tees",
        "simulated_roots",
        "measurements",
        "sev_snp/vmpls",
        "tdx/tcb_statuses",
    ] {
        let mut twice = policy();
        let list = twice.pointer_mut(&format!("/{field}")).unwrap();
        let entry = list[0].clone();
        *list = json!([entry, entry]);
        both_refuse(&schema, twice, field);
    }
    for field in [
        "tees",
        "measurements",
        "signers",
        "sev_snp/vmpls",
        "sev_snp/id_keys",
        "sev_snp/author_keys",
        "sev_snp/signing_keys",
        "sev_snp/chip_ids",
        "tdx/mrtd",
        "tdx/rtmr0",
        "tdx/rtmr1",
        "tdx/rtmr2",
        "tdx/rtmr3",
        "tdx/mr_config_id",
        "tdx/mr_owner",
        "tdx/mr_owner_config",
        "tdx/xfam",
        "tdx/td_attributes",
        "tdx/mr_seam",
        "tdx/mr_signer_seam",
        "tdx/tcb_statuses",
        "tdx/platform_instance_ids",
    ] {
        let mut empty = policy();
        set(&mut empty, field, json!([]));
        both_refuse(&schema, empty, field);
    }
    let mut no_floor = policy();
    set(&mut no_floor, "sev_snp/minimum_reported_tcb", json!({}));
    both_refuse(&schema, no_floor, "minimum_reported_tcb");
}

/// What the code reads and then refuses, since lists are checked as a whole.
fn both_refuse(schema: &jsonschema::Validator, policy: Value, field: &str) {
    assert!(!schema.is_valid(&policy), "{field}");
    let policy: Policy = serde_json::from_value(policy).unwrap();
    assert!(policy.check().is_err(), "{field}");
}

#[test]
fn a_policy_that_lacks_a_field_is_refused_by_both() {
    let schema = schema();
    let whole = policy();
    assert!(schema.is_valid(&whole));
    for object in [
        "",
        "/sev_snp",
        "/sev_snp/guest_policy",
        "/sev_snp/platform_info",
        "/tdx",
    ] {
        for field in whole.pointer(object).unwrap().as_object().unwrap().keys() {
            let mut part = whole.clone();
            let parent = part.pointer_mut(object).unwrap().as_object_mut().unwrap();
            parent.remove(field);
            // The sections may be left out: which of them must be there depends on the kinds of TEE.
            let takes = object.is_empty() && ["sev_snp", "tdx"].contains(&field.as_str());
            assert_eq!(schema.is_valid(&part), takes, "{object}/{field}");
            assert_eq!(
                serde_json::from_value::<Policy>(part).is_ok(),
                takes,
                "{object}/{field}"
            );
        }
    }
}
