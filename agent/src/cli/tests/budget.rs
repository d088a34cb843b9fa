//! `agent budget`.

use tributary_accounting::{Delta, Epsilon};
use tributary_protocol::{DatasetRef, Passphrase, RunNumber};

use super::{Scene, flip};
use crate::cli::folder::{METER_KEY, owner, vault_location};
use crate::{AgentHome, LeaseRequest, Meter, OfficerLimit, Vault};

fn meter(scene: &Scene) -> Meter {
    let home = AgentHome::open(&scene.path("alice")).unwrap();
    let passphrase = Passphrase::new("open sesame").unwrap();
    let vault = Vault::open(&vault_location(&home).unwrap(), &passphrase, owner(&home)).unwrap();
    Meter::open(&home.meter(), vault.state_key(METER_KEY)).unwrap()
}

#[test]
fn a_budget_begins_at_zero_and_takes_a_limit() {
    let scene = Scene::with_alice();
    let fresh = scene.of("alice", &["budget"]).done().stdout;
    assert_eq!(fresh, "digits: epsilon 0.000 spent; no limit of your own\n");
    let words = [
        "budget",
        "set",
        "digits",
        "--epsilon",
        "6",
        "--delta",
        "1e-5",
    ];
    let set = scene.of("alice", &words).done().stdout;
    assert_eq!(
        set,
        "digits: epsilon 0.000 spent of your limit of 6.000 (delta 1e-5)\n"
    );
    let limit = meter(&scene).report().unwrap()[0].limit;
    let expected = OfficerLimit {
        epsilon: Epsilon::new(6.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    assert_eq!(limit, Some(expected));
}

#[test]
fn a_budget_says_what_a_contract_has_spent_and_may_spend() {
    let scene = Scene::with_alice();
    let signed = scene.contract(scene.document());
    scene.sign("alice").done();
    let before = scene.json_of("alice", &["budget", "digits"]);
    let digest = signed.contract().digest().to_string();
    assert_eq!(before["data"][0]["signed"][&digest], 3.0);
    let lease = LeaseRequest {
        contract: signed.contract().clone(),
        dataset: DatasetRef {
            owner: "alice".parse().unwrap(),
            name: "digits".parse().unwrap(),
        },
        run: RunNumber::FIRST,
        first_step: 0,
        count: 40,
    };
    assert_eq!(meter(&scene).reserve(&lease).unwrap(), 40);
    let after = scene.json_of("alice", &["budget"]);
    let contract = &after["data"][0]["contracts"][0];
    assert_eq!(contract["contract"], digest);
    assert_eq!(contract["steps"], 40);
    assert!(contract["spent"].as_f64().unwrap() > 0.0);
    assert!(contract["spent"].as_f64().unwrap() < 3.0);
    let words = scene.of("alice", &["budget"]).done().stdout;
    assert!(
        words.contains(&signed.contract().digest().short()),
        "{words}"
    );
}

#[test]
fn limits_that_limit_nothing_are_refused() {
    let scene = Scene::with_alice();
    let set = |dataset: &str, epsilon: &str, delta: &str| {
        scene.of(
            "alice",
            &[
                "budget",
                "set",
                dataset,
                "--epsilon",
                epsilon,
                "--delta",
                delta,
            ],
        )
    };
    set("diggits", "6", "1e-5").refused("file-missing", &["diggits", "digits"]);
    set("digits", "inf", "1e-5").refused("usage", &["above 0"]);
    set("digits", "0", "1e-5").refused("usage", &["above 0"]);
    set("digits", "6", "1").refused("usage", &["delta"]);
    scene
        .of("alice", &["budget", "diggits"])
        .refused("file-missing", &["diggits", "digits"]);
}

#[test]
fn an_altered_meter_is_not_believed() {
    let scene = Scene::with_alice();
    flip(&scene.path("alice/meter/meter"));
    scene
        .of("alice", &["budget"])
        .refused("vault-altered", &["meter", "backup"]);
}

#[test]
fn a_missing_meter_is_not_taken_for_an_empty_one() {
    let scene = Scene::with_alice();
    std::fs::remove_file(scene.path("alice/meter/meter")).unwrap();
    scene
        .of("alice", &["budget"])
        .refused("file-missing", &["meter"]);
}
