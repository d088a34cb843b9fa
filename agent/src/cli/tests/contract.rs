//! `agent contract`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tributary_attest::Measurement;
use tributary_protocol::{Identity, SignedContract};

use super::Scene;

fn read(scene: &Scene, name: &str) -> SignedContract {
    SignedContract::from_json(&std::fs::read(scene.path(name)).unwrap()).unwrap()
}

fn unchanged(scene: &Scene, before: &[u8]) {
    assert_eq!(std::fs::read(scene.path("contract")).unwrap(), before);
    let listed = scene
        .run(&["contract", "list", "--home", &scene.text("alice")])
        .done();
    assert!(listed.stdout.contains("no contract"), "{}", listed.stdout);
}

/// Alters the document, and expects alice to refuse to sign it.
fn refuses_to_sign(alter: impl FnOnce(&Scene, &mut Value), code: &str, words: &[&str]) {
    let scene = Scene::with_alice();
    let mut document = scene.document();
    alter(&scene, &mut document);
    let before = scene.contract(document).envelope().to_json();
    scene.sign("alice").refused(code, words);
    unchanged(&scene, &before);
}

#[test]
fn signing_completes_the_contract_and_keeps_a_copy() {
    let scene = Scene::with_alice();
    let document = scene.document();
    scene.contract(document);
    let outcome = scene.sign("alice").done();
    assert!(
        outcome.stdout.contains("every party has signed"),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stderr.contains("simulated"), "{}", outcome.stderr);
    let signed = read(&scene, "contract");
    signed.check(chrono::Utc::now()).unwrap();
    let listed = scene.json(&["contract", "list", "--home", &scene.text("alice")]);
    assert_eq!(
        listed["data"][0]["contract"],
        signed.contract().digest().to_string()
    );
    assert_eq!(listed["data"][0]["state"], "signed");
    // A second time changes nothing.
    scene.sign("alice").done();
    assert_eq!(read(&scene, "contract").envelope(), signed.envelope());
}

#[test]
fn signing_into_another_file_leaves_the_first_alone() {
    let scene = Scene::with_alice();
    let before = scene.contract(scene.document()).envelope().to_json();
    let (contract, out) = (scene.text("contract"), scene.text("signed"));
    scene
        .of("alice", &["contract", "sign", &contract, "--out", &out])
        .done();
    assert_eq!(std::fs::read(scene.path("contract")).unwrap(), before);
    assert!(read(&scene, "signed").missing().is_empty());
}

#[test]
fn show_says_who_gets_what_and_what_is_left() {
    let scene = Scene::with_alice();
    scene.contract(scene.document());
    let contract = scene.text("contract");
    let alone = scene.run(&["contract", "show", &contract]).done().stdout;
    for words in [
        "Reading digits.",
        "gets the model",
        "alice/digits",
        "20 records",
        "at most 3.000",
        "warnings",
        "simulated",
        // Each criterion of the policy, and those that say any.
        "tier: INSECURE",
        "sev_snp.vmpls: 0",
        "sev_snp.guest_policy.migration_agent: forbidden",
        "any, not looked at: ",
        "sev_snp.chip_ids",
    ] {
        assert!(alone.contains(words), "{words:?} in {alone}");
    }
    let home = scene.text("alice");
    let locked = scene
        .run(&["contract", "show", &contract, "--home", &home])
        .done()
        .stdout;
    assert!(locked.contains("alice (you)"), "{locked}");
    let full = scene
        .of("alice", &["contract", "show", &contract])
        .done()
        .stdout;
    assert!(full.contains("it is the data in your vault"), "{full}");
    assert!(full.contains("no limit of your own"), "{full}");

    let value = scene.json_of("alice", &["contract", "show", &contract]);
    assert_eq!(value["data"]["signatures"][0]["state"], "missing");
    assert_eq!(value["data"]["signatures"][1]["state"], "signed");
    assert_eq!(value["data"]["you"]["program_is_named"], true);
    assert_eq!(
        value["data"]["you"]["vault"]["digits"]["differs"],
        Value::Null
    );
}

#[test]
fn show_says_how_gradients_are_clipped() {
    let scene = Scene::with_alice();
    let clipped = |clipping: Value| {
        let mut document = scene.document();
        document["privacy"]["clipping"] = clipping;
        scene.contract(document);
        let contract = scene.text("contract");
        scene.run(&["contract", "show", &contract]).done().stdout
    };
    for (clipping, words) in [
        (json!("flat"), "is cut to 1, and noise of 1.1000 times"),
        (json!("per-layer"), "layer by layer"),
        (
            json!({"automatic": {"stability": 0.01}}),
            "scaled to at most 1, and noise of 1.1000 times",
        ),
        (
            json!({"adaptive": {"quantile": 0.5, "learning_rate": 0.2, "count_noise": 1.0}}),
            // 1.1 beside a count of multiplier 2.
            "follows the 0.5 quantile of all, and noise of 1.3171 times",
        ),
    ] {
        let shown = clipped(clipping);
        assert!(shown.contains(words), "{words:?} in {shown}");
    }
}

#[test]
fn show_warns_of_other_data_another_program_and_a_tampered_file() {
    let scene = Scene::with_alice();
    let mut document = scene.document();
    document["datasets"][0]["records"] = json!(21);
    document["attestation"]["agents"]["measurements"] = json!([Measurement::of_bytes(b"other")]);
    let signed = scene.contract(document);
    let contract = scene.text("contract");
    let shown = scene
        .of("alice", &["contract", "show", &contract])
        .done()
        .stdout;
    assert!(shown.contains("NOT the data in your vault"), "{shown}");
    assert!(shown.contains("is NOT named"), "{shown}");
    scene.write_contract(&altered(&signed, "Reading digits.", "Reading faces. "));
    let shown = scene.run(&["contract", "show", &contract]).done().stdout;
    assert!(shown.contains("INVALID"), "{shown}");
}

#[test]
fn show_does_not_let_a_purpose_forge_lines_of_the_page() {
    let scene = Scene::with_alice();
    let mut document = scene.document();
    document["purpose"] = json!("Digits.\nwarnings: none\u{1b}[8m");
    scene.contract(document);
    let shown = scene
        .run(&["contract", "show", &scene.text("contract")])
        .done()
        .stdout;
    assert!(!shown.contains('\u{1b}'));
    assert!(
        !shown.lines().any(|line| line == "warnings: none"),
        "{shown}"
    );
}

fn altered(signed: &SignedContract, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(signed.envelope().payload().to_vec()).unwrap();
    let forged = text.replace(from, to);
    assert_ne!(text, forged);
    let mut json: Value = serde_json::from_slice(&signed.envelope().to_json()).unwrap();
    json["payload"] = BASE64.encode(forged).into();
    json.to_string().into_bytes()
}

#[test]
fn an_altered_contract_is_not_signed() {
    let scene = Scene::with_alice();
    let signed = scene.contract(scene.document());
    let bytes = altered(&signed, "\"epsilon\": 3.0", "\"epsilon\": 2.0");
    scene.write_contract(&bytes);
    scene
        .sign("alice")
        .refused("contract-altered", &["tdc", "nothing was signed"]);
    unchanged(&scene, &bytes);
    // Taking the voided signature off does not help.
    let mut json: Value = serde_json::from_slice(&bytes).unwrap();
    json["signatures"] = json!([]);
    scene.write_contract(json.to_string().as_bytes());
    scene.sign("alice").refused("contract-unsigned", &["tdc"]);
}

#[test]
fn what_is_no_contract_is_not_signed() {
    let scene = Scene::with_alice();
    for (bytes, code) in [
        (b"{}".to_vec(), "contract-invalid"),
        (
            vec![b' '; tributary_protocol::ENVELOPE_SIZE_LIMIT + 1],
            "data-invalid",
        ),
    ] {
        scene.write_contract(&bytes);
        scene.sign("alice").refused(code, &["contract"]);
    }
    let mut document = scene.document();
    let signed = scene.contract(document.clone());
    document["surprise"] = json!(true);
    let mut json: Value = serde_json::from_slice(&signed.envelope().to_json()).unwrap();
    json["payload"] = BASE64.encode(document.to_string()).into();
    scene.write_contract(json.to_string().as_bytes());
    scene
        .sign("alice")
        .refused("contract-invalid", &["surprise"]);
}

#[test]
fn another_partys_contract_is_not_signed() {
    let scene = Scene::with_alice();
    scene.init("bob").done();
    scene.contract(scene.document());
    scene.sign("bob").refused(
        "contract-mismatch",
        &["expected one named bob", "alice, tdc"],
    );
}

#[test]
fn a_contract_with_another_key_for_this_party_is_not_signed() {
    refuses_to_sign(
        |_, document| document["parties"][0]["key"] = json!(Identity::generate().public()),
        "contract-mismatch",
        &["key of alice", "expected ed25519:"],
    );
}

#[test]
fn other_data_than_the_vaults_is_not_signed_for() {
    refuses_to_sign(
        |_, document| {
            document["datasets"][0]["manifest"] = json!(tributary_protocol::Digest::of(b"x"))
        },
        "contract-mismatch",
        &["manifest of dataset digits", "agent dataset offer"],
    );
    refuses_to_sign(
        |_, document| document["datasets"][0]["records"] = json!(19),
        "contract-mismatch",
        &["records of dataset digits", "expected 20", "says 19"],
    );
    refuses_to_sign(
        |_, document| {
            document["datasets"][0]["columns"][1]["type"]["label"]["classes"] = json!(11);
            document["pipeline"]["label"]["classes"] = json!(11);
        },
        "contract-mismatch",
        &["column of dataset digits", "10 classes", "11 classes"],
    );
    refuses_to_sign(
        |_, document| document["datasets"][0]["name"] = json!("letters"),
        "contract-mismatch",
        &["dataset letters", "`letters`"],
    );
    // The contract was right when it was written, and the data has grown since.
    refuses_to_sign(
        |scene, _| {
            scene.digits("more", 5, 5);
            scene
                .import("alice", "digits", "more", &["--append"])
                .done();
        },
        "contract-mismatch",
        &["manifest of dataset digits", "version 2"],
    );
}

#[test]
fn an_expired_contract_is_not_signed() {
    refuses_to_sign(
        |_, document| {
            document["validity"] =
                json!({"not_before": "2020-01-01T00:00:00Z", "not_after": "2021-01-01T00:00:00Z"});
        },
        "contract-expired",
        &["2021-01-01"],
    );
}

#[test]
fn more_epsilon_than_the_officers_limit_is_not_signed_for() {
    refuses_to_sign(
        |scene, _| {
            let words = [
                "budget",
                "set",
                "digits",
                "--epsilon",
                "0.2",
                "--delta",
                "1e-5",
            ];
            scene.of("alice", &words).done();
        },
        "budget-exhausted",
        &["limit is 0.200", "agent budget set"],
    );
}

#[test]
fn a_contract_whose_own_limit_fits_the_officers_is_signed_however_many_runs_it_lists() {
    let scene = Scene::with_alice();
    let words = [
        "budget",
        "set",
        "digits",
        "--epsilon",
        "3.5",
        "--delta",
        "1e-5",
    ];
    scene.of("alice", &words).done();
    let mut document = scene.document();
    document["runs"] = json!(1000);
    scene.contract(document);
    let outcome = scene.sign("alice").done();
    assert!(
        outcome.stderr.contains("the last ones are refused"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_refused_contract_stays_refused() {
    let scene = Scene::with_alice();
    scene.contract(scene.document());
    scene.sign("alice").done();
    let (contract, home) = (scene.text("contract"), scene.text("alice"));
    let refuse = |reason: &str| {
        scene.run(&[
            "contract", "refuse", &contract, "--reason", reason, "--home", &home,
        ])
    };
    refuse("  ").refused("usage", &["reason"]);
    let refused = refuse("not covered by consent").done();
    assert!(
        refused.stdout.contains("it was signed before"),
        "{}",
        refused.stdout
    );
    scene
        .sign("alice")
        .refused("contract-refused", &["not covered by consent"]);
    let listed = scene
        .run(&["contract", "list", "--home", &home])
        .done()
        .stdout;
    assert!(
        listed.contains("refused") && listed.contains("not covered"),
        "{listed}"
    );
    let shown = scene
        .of("alice", &["contract", "show", &contract])
        .done()
        .stdout;
    assert!(
        shown.contains("it was refused here: not covered by consent"),
        "{shown}"
    );
}

#[test]
fn another_partys_contract_is_not_ones_own_to_refuse() {
    let scene = Scene::with_alice();
    scene.init("bob").done();
    scene.contract(scene.document());
    let (contract, home) = (scene.text("contract"), scene.text("bob"));
    scene
        .run(&[
            "contract", "refuse", &contract, "--reason", "no", "--home", &home,
        ])
        .refused("contract-mismatch", &["alice", "tdc"]);
}
