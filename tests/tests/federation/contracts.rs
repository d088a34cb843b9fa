//! Contracts that are not what the parties signed, not in force, or refused.

use std::fs;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use tributary_protocol::{Digest, Envelope};
use tributary_tests::{CONSUMER, PROVIDERS, STEPS};

use crate::{federation, stop, train, trained};

#[test]
fn a_contract_without_a_signature_cannot_be_registered() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let contract =
        federation.contract_signed_by("unsigned.dsse", &[CONSUMER, PROVIDERS[0]], |document| {
            document.runs = 3
        });
    let bytes = fs::read(&contract).unwrap();
    let digest = tributary_protocol::SignedContract::from_json(&bytes)
        .unwrap()
        .contract()
        .digest()
        .to_string();
    let book = federation.path(PROVIDERS[0]).join("contracts");
    fs::write(
        book.join(format!("{}.dsse", digest.trim_start_matches("sha256:"))),
        bytes,
    )
    .unwrap();
    federation.try_register(&contract, &keeper).refused(
        11,
        "contract-unsigned",
        &[PROVIDERS[1], "agent contract sign"],
    );
    stop(vec![keeper]);
}

#[test]
fn a_contract_with_an_altered_byte_is_refused_by_everybody() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let bytes = fs::read(federation.path("contract.dsse")).unwrap();
    let envelope = Envelope::from_json(&bytes).unwrap();
    let payload = String::from_utf8(envelope.payload().to_vec()).unwrap();
    let altered = payload.replace("Reading drawn digits", "Reading drawn digitz");
    assert_ne!(payload, altered);
    // The signatures stay, over bytes that are no longer there.
    let mut json: Value = serde_json::from_slice(&bytes).unwrap();
    let unsigned = Envelope::unsigned(envelope.payload_type(), altered.into_bytes());
    json["payload"] =
        serde_json::from_slice::<Value>(&unsigned.to_json()).unwrap()["payload"].take();
    let path = federation.path("altered.dsse");
    fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();

    federation
        .try_register(&path, &keeper)
        .refused(11, "contract-unsigned", &PROVIDERS);
    let sign = ["agent", "contract", "sign", "altered.dsse"];
    federation.unlocked(PROVIDERS[1], &sign).run().refused(
        11,
        "contract-altered",
        &[CONSUMER, "nothing was signed"],
    );
    stop(vec![keeper]);
}

#[test]
fn a_contract_with_an_unknown_field_is_refused() {
    let federation = federation();
    let bytes = fs::read(federation.path("contract.dsse")).unwrap();
    let envelope = Envelope::from_json(&bytes).unwrap();
    let mut document: Value = serde_json::from_slice(envelope.payload()).unwrap();
    document["privacy"]["surprise"] = 1.into();
    let payload = serde_json::to_vec(&document).unwrap();
    let signed = Envelope::sign(
        envelope.payload_type(),
        payload,
        &federation.identity(CONSUMER),
    );
    fs::write(federation.path("surprise.dsse"), signed.to_json()).unwrap();
    for line in [
        federation.unlocked(
            PROVIDERS[0],
            &["agent", "contract", "sign", "surprise.dsse"],
        ),
        federation.line(&["aggregator", "contract", "validate", "surprise.dsse"]),
    ] {
        line.run()
            .refused(11, "contract-invalid", &["surprise", "unknown field"]);
    }
}

#[test]
fn an_expired_contract_starts_nothing() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let now = Utc::now();
    let contract = federation.agreed("expired.dsse", |document| {
        document.validity.not_before = now - TimeDelta::days(2);
        document.validity.not_after = now - TimeDelta::days(1);
    });
    federation
        .try_register(&contract, &keeper)
        .refused(11, "contract-expired", &["expired"]);
    let sign = ["agent", "contract", "sign", "expired.dsse"];
    federation
        .unlocked(PROVIDERS[1], &sign)
        .run()
        .refused(11, "contract-expired", &["expired"]);
    stop(vec![keeper]);
}

#[test]
fn a_contract_that_is_not_yet_in_force_starts_nothing() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let contract = federation.agreed("early.dsse", |document| {
        document.validity.not_before = Utc::now() + TimeDelta::hours(1)
    });
    federation
        .try_register(&contract, &keeper)
        .refused(11, "contract-expired", &["begins at"]);
    stop(vec![keeper]);
}

#[test]
fn a_contract_number_that_the_home_does_not_know_is_named() {
    let federation = federation();
    let agents = federation.agents();
    train(&federation, 7, &agents)
        .run()
        .refused(11, "contract-unknown", &["7", "register"]);
    stop(agents);
}

#[test]
fn a_contract_that_an_officer_refused_starts_nothing() {
    let federation = federation();
    let refuse = [
        "agent",
        "contract",
        "refuse",
        "contract.dsse",
        "--reason",
        "no consent for this purpose",
    ];
    federation.line(&refuse).home(PROVIDERS[1]).run().data();
    let agents = federation.agents();
    let refused = federation.train(&[&agents[0], &agents[1]]).run();
    refused.refused(11, "contract-mismatch", &[PROVIDERS[1]]);
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn a_contract_that_an_officer_refuses_during_a_run_ends_it() {
    let federation = federation();
    // Long enough that the refusal comes in the middle on any machine: what is refused is never finished.
    let contract = federation.agreed("long.dsse", |document| {
        document.pipeline.steps = 20_000;
        for dataset in &mut document.datasets {
            dataset.epsilon = 100_000.0;
        }
    });
    let agents = federation.agents();
    let seq = federation.register(&contract, &agents[0]);
    let mut training = train(&federation, seq, &agents).aloud().start();
    training.wait_for(&["opened on the ledger"]);
    let refuse = [
        "agent",
        "contract",
        "refuse",
        "long.dsse",
        "--reason",
        "a patient withdrew consent",
    ];
    federation.line(&refuse).home(PROVIDERS[1]).run().data();
    training.end().refused(14, "revoked", &[PROVIDERS[1]]);
    stop(agents);
    let run = federation.ledger().run(seq, 1).unwrap();
    assert!(run.leased < 20_000, "{run:#?}");
}

#[test]
fn a_party_with_another_key_than_the_contracts_is_refused() {
    let federation = federation();
    // Somebody calls itself tdp-2 and has the contract, and not the key.
    let impostor = "impostor";
    fs::write(
        federation.path("passphrases").join(impostor),
        "passphrase\n",
    )
    .unwrap();
    let init = [
        "agent",
        "init",
        "--party",
        PROVIDERS[1],
        "--simulated",
        "simulated-root",
    ];
    federation.unlocked(impostor, &init).run().data();
    for entry in fs::read_dir(federation.path(PROVIDERS[1]).join("contracts")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(
            entry.path(),
            federation
                .path(impostor)
                .join("contracts")
                .join(entry.file_name()),
        )
        .unwrap();
    }
    let keeper = federation.agent(PROVIDERS[0], None);
    let serve = federation.unlocked(
        impostor,
        &[
            "agent",
            "serve",
            "--listen",
            &federation.any_port(),
            "--ledger",
            &keeper.named(),
        ],
    );
    let serving = federation.ready(PROVIDERS[1], serve.start());
    let refused = federation.train(&[&keeper, &serving]).run();
    refused.refused(11, "contract-mismatch", &[PROVIDERS[1]]);
    stop(vec![keeper, serving]);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn a_contract_of_another_keeper_is_refused_by_the_ledger() {
    let federation = federation();
    let contract = federation.agreed("elsewhere.dsse", |document| {
        document.ledger.members = vec![PROVIDERS[1].parse().unwrap()];
    });
    let agents = federation.agents();
    let refused = federation.try_register(&contract, &agents[0]);
    refused.refused(
        10,
        "party-refused",
        &[PROVIDERS[0], PROVIDERS[1], "--ledger"],
    );
    stop(agents);
}

#[test]
fn a_contract_that_describes_other_data_is_not_signed() {
    let federation = federation();
    let contract = federation.contract_signed_by("other-data.dsse", &[CONSUMER], |document| {
        document.datasets[1].manifest = Digest::of(b"another manifest");
    });
    let contract = contract.display().to_string();
    let sign = ["agent", "contract", "sign", &contract];
    federation.unlocked(PROVIDERS[1], &sign).run().refused(
        11,
        "contract-mismatch",
        &["digits", "nothing was signed"],
    );
    let dear = federation.contract_signed_by("dear.dsse", &[CONSUMER], |document| {
        document.datasets[1].owner = PROVIDERS[1].parse().unwrap()
    });
    assert!(dear.exists());
}

#[test]
fn registering_again_gives_the_same_number() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let contract = federation.path("contract.dsse");
    assert_eq!(federation.register(&contract, &keeper), 1);
    let second = federation.agreed("second.dsse", |document| {
        document.purpose = "Something else".to_owned()
    });
    assert_eq!(federation.register(&second, &keeper), 2);
    assert_eq!(federation.register(&contract, &keeper), 1);
    stop(vec![keeper]);
}

#[test]
fn a_run_under_a_second_contract_leaves_the_first_untouched() {
    let federation = federation();
    let second = federation.agreed("second.dsse", |document| {
        document.purpose = "Something else".to_owned()
    });
    let agents = federation.agents();
    let seq = federation.register(&second, &agents[0]);
    trained(train(&federation, seq, &agents).start());
    trained(federation.train(&[&agents[0], &agents[1]]).start());
    stop(agents);
    let ledger = federation.ledger();
    for number in [1, seq] {
        assert!(
            ledger
                .contract(number)
                .leased
                .iter()
                .all(|spent| spent.steps == STEPS)
        );
    }
}
