//! Programs and platforms that the contract does not name.

use tributary_attest::{Criterion, Measurement};
use tributary_protocol::Envelope;
use tributary_tests::{CONSUMER, PROVIDERS};

use crate::{federation, other_program, stop};

#[test]
fn an_agent_that_runs_another_program_gets_no_aggregator() {
    let federation = federation();
    let other = other_program(&federation, "agent");
    let keeper = federation.agent(PROVIDERS[0], None);
    let any = federation.any_port();
    let changed = federation.agent_at(PROVIDERS[1], &any, Some(&keeper), |line| {
        line.program(&other)
    });
    let expected = Measurement::of_file(std::path::Path::new(env!(
        "CARGO_BIN_EXE_tributary-parties"
    )))
    .unwrap()
    .to_string();
    let got = Measurement::of_file(&other).unwrap().to_string();
    let refused = federation.train(&[&keeper, &changed]).run();
    refused.refused(10, "measurement-refused", &[PROVIDERS[1], &expected, &got]);
    stop(vec![keeper, changed]);
    assert!(federation.ledger().run(1, 1).is_none(), "no step was spent");
}

#[test]
fn an_aggregator_that_runs_another_program_gets_no_record() {
    let federation = federation();
    let other = other_program(&federation, "aggregator");
    let agents = federation.agents();
    let refused = federation
        .train(&[&agents[0], &agents[1]])
        .program(&other)
        .run();
    refused.refused(10, "refused-by-peer", &["measurement"]);
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn a_platform_that_another_root_certified_is_refused() {
    let federation = federation();
    let platform = federation.path(PROVIDERS[1]).join("platform");
    std::fs::remove_file(&platform).unwrap();
    let certify = [
        "attest",
        "simulated",
        "new-platform",
        "--root",
        "other-root",
        "--name",
        "tdp-2",
        "--out",
    ];
    federation
        .line(&certify)
        .words(&[&platform.display().to_string()])
        .run()
        .data();
    let agents = federation.agents();
    let refused = federation.train(&[&agents[0], &agents[1]]).run();
    refused.refused(10, "attestation-refused", &[PROVIDERS[1], "root"]);
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn an_aggregators_platform_that_another_root_certified_is_refused() {
    let federation = federation();
    let platform = federation.path(CONSUMER).join("platform");
    std::fs::remove_file(&platform).unwrap();
    let certify = [
        "attest",
        "simulated",
        "new-platform",
        "--root",
        "other-root",
        "--name",
        "tdc",
        "--out",
    ];
    federation
        .line(&certify)
        .words(&[&platform.display().to_string()])
        .run()
        .data();
    let agents = federation.agents();
    federation
        .train(&[&agents[0], &agents[1]])
        .run()
        .refused(10, "refused-by-peer", &["root"]);
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn a_contract_that_names_hardware_without_saying_what_it_must_show_is_refused() {
    let federation = federation();
    let bytes = std::fs::read(federation.path("contract.dsse")).unwrap();
    let envelope = Envelope::from_json(&bytes).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(envelope.payload()).unwrap();
    let agents = document["attestation"]["agents"].as_object_mut().unwrap();
    agents.insert("tees".to_owned(), serde_json::json!(["sev-snp"]));
    agents.insert("simulated_roots".to_owned(), serde_json::json!([]));
    agents.remove("sev_snp");
    let payload = serde_json::to_vec(&document).unwrap();
    let signed = Envelope::sign(
        envelope.payload_type(),
        payload,
        &federation.identity(CONSUMER),
    );
    std::fs::write(federation.path("hardware.dsse"), signed.to_json()).unwrap();
    let sign = federation.unlocked(
        PROVIDERS[1],
        &["agent", "contract", "sign", "hardware.dsse"],
    );
    sign.run()
        .refused(11, "contract-invalid", &["sev-snp", "attestation.agents"]);
}

#[test]
fn a_chip_that_the_contract_does_not_name_is_refused() {
    let federation = federation();
    let contract = federation.agreed("pinned.dsse", |document| {
        let snp = document.attestation.agents.sev_snp.as_mut().unwrap();
        snp.chip_ids = Criterion::Stated(vec!["07".repeat(64).parse().unwrap()]);
    });
    let keeper = federation.agent(PROVIDERS[0], None);
    let refused = federation.try_register(&contract, &keeper);
    refused.refused(10, "attestation-refused", &["chip", &"07".repeat(64)]);
    stop(vec![keeper]);
}

#[test]
fn a_home_without_a_platform_cannot_attest() {
    let federation = federation();
    std::fs::remove_file(federation.path(PROVIDERS[0]).join("platform")).unwrap();
    let serve = federation
        .serve(PROVIDERS[0])
        .words(&["--listen", &federation.any_port()]);
    serve
        .run()
        .refused(10, "attestation-missing", &["--simulated"]);
}

#[test]
fn a_rehearsals_home_on_a_machine_without_a_tee_attests_by_name_only() {
    if tributary_attest::Machine::local().attester(None).is_ok() {
        println!("skipped: this machine has a TEE");
        return;
    }
    let federation = federation();
    for tee in ["auto", "sev-snp", "tdx"] {
        federation
            .serve(PROVIDERS[0])
            .words(&["--listen", &federation.any_port(), "--tee", tee])
            .run()
            .refused(10, "attestation-missing", &["attest doctor"]);
    }
    federation
        .unlocked(
            CONSUMER,
            &["aggregator", "train", "--contract", "1", "--tee", "auto"],
        )
        .run()
        .refused(10, "attestation-missing", &["attest doctor"]);
}
