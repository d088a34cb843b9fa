//! Programs and platforms that the contract does not name.

use tributary_attest::{Criterion, Measurement, Tee};
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
fn simulated_evidence_is_refused_where_the_contract_does_not_name_it() {
    let federation = federation();
    let contract = federation.agreed("hardware.dsse", |document| {
        document.attestation.agents.tees = vec![Tee::SevSnp];
        document.attestation.agents.simulated_roots.clear();
    });
    let agents = federation.agents();
    let seq = federation.register(&contract, &agents[0]).to_string();
    let train = federation
        .unlocked(CONSUMER, &["aggregator", "train", "--contract", &seq])
        .words(&["--agent", &agents[0].named(), "--agent", &agents[1].named()]);
    train
        .run()
        .refused(10, "simulated-refused", &["simulated", "sev-snp"]);
    stop(agents);
    assert!(federation.ledger().run(2, 1).is_none());
}

#[test]
fn a_chip_that_the_contract_does_not_name_is_refused() {
    let federation = federation();
    let contract = federation.agreed("pinned.dsse", |document| {
        document.attestation.agents.chip_ids =
            Criterion::Stated(vec!["07".repeat(32).parse().unwrap()]);
    });
    let agents = federation.agents();
    let seq = federation.register(&contract, &agents[0]).to_string();
    let train = federation
        .unlocked(CONSUMER, &["aggregator", "train", "--contract", &seq])
        .words(&["--agent", &agents[0].named(), "--agent", &agents[1].named()]);
    train.run().refused(10, "attestation-refused", &["chip"]);
    stop(agents);
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
