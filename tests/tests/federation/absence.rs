//! Agents that are not there at the start, or go away and come back.

use tributary_tests::{CONSUMER, PROVIDERS, STEPS};

use crate::{federation, free_address, number, restarted, stop, trained};

#[test]
fn an_agent_that_is_not_there_at_the_start_costs_nothing() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let address = free_address(&federation);
    let agents = [keeper.named(), format!("{}={address}", PROVIDERS[1])];

    let refused = federation.train_at(&agents).words(&["--wait", "1"]).run();
    refused.refused(3, "peer-absent", &[PROVIDERS[1], &address, "agent serve"]);
    assert!(
        refused
            .stderr
            .contains(&format!("waiting for agent {}", PROVIDERS[1])),
        "{}",
        refused.stderr
    );
    let keeper_address = keeper.listen();
    stop(vec![keeper]);
    assert!(
        federation.ledger().run(1, 1).is_none(),
        "no run was opened, nothing leased"
    );

    let keeper = restarted(&federation, PROVIDERS[0], &keeper_address, None);
    let late = federation.agent_at(PROVIDERS[1], &address, Some(&keeper), |line| line);
    trained(federation.train_at(&agents).start());
    stop(vec![keeper, late]);
    assert_eq!(federation.ledger().run(1, 1).unwrap().settled, STEPS);
}

#[test]
fn an_agent_that_comes_late_is_waited_for() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let address = free_address(&federation);
    let mut training = federation
        .train_at(&[keeper.named(), format!("{}={address}", PROVIDERS[1])])
        .start();
    training.wait_for(&["waiting for agent", PROVIDERS[1], "at most"]);
    let late = federation.agent_at(PROVIDERS[1], &address, Some(&keeper), |line| line);
    trained(training);
    stop(vec![keeper, late]);
}

#[test]
fn an_agent_at_anothers_address_is_told_from_it() {
    let federation = federation();
    let agents = federation.agents();
    let swapped = [
        format!("{}={}", PROVIDERS[0], agents[1].listen()),
        format!("{}={}", PROVIDERS[1], agents[0].listen()),
    ];
    federation.train_at(&swapped).run().refused(
        10,
        "party-refused",
        &[PROVIDERS[0], PROVIDERS[1], "--agent"],
    );
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn an_agent_that_dies_mid_run_is_waited_for_and_costs_only_its_steps_in_flight() {
    dies_and_returns(PROVIDERS[1], "durable::rename", 11);
}

#[test]
fn an_agent_that_dies_in_the_middle_of_a_write_goes_on_from_what_it_had() {
    dies_and_returns(PROVIDERS[1], "durable::sync", 12);
}

#[test]
fn a_ledgers_keeper_that_dies_mid_run_is_waited_for_by_all() {
    dies_and_returns(PROVIDERS[0], "durable::rename", 20);
}

#[test]
fn a_ledgers_keeper_that_dies_between_its_log_and_its_head_forgets_nothing() {
    dies_and_returns(PROVIDERS[0], "durable::write", 17);
}

/// One agent ends as by a power cut at some write of a small file, is missed, comes back, and the run goes on.
fn dies_and_returns(party: &str, point: &str, pass: u64) {
    let federation = federation();
    let mut agents: Vec<_> = Vec::new();
    for name in PROVIDERS {
        let any = federation.any_port();
        agents.push(federation.agent_at(name, &any, agents.first(), |line| {
            if name == party {
                line.dies_at(point, pass)
            } else {
                line
            }
        }));
    }
    let mut training = federation.train(&agents.iter().collect::<Vec<_>>()).start();
    let index = PROVIDERS.iter().position(|name| *name == party).unwrap();
    let dead = agents.remove(index);
    let address = dead.listen();
    dead.process.end().killed();
    training.wait_for(&["waiting for agent", party, "at most"]);
    let back = restarted(
        &federation,
        party,
        &address,
        if index == 0 { None } else { agents.first() },
    );
    agents.insert(index, back);
    let ended = training.end();
    ended.well();

    let report = federation.report(1, 1);
    let steps = number(&report, "/steps");
    assert!(steps >= 1.0 && steps <= STEPS as f64, "{report:#}");
    if steps < STEPS as f64 {
        assert!(
            ended
                .stderr
                .contains(&format!("trained {steps} of {STEPS} steps")),
            "{}",
            ended.stderr
        );
    }
    stop(agents);
    let ledger = federation.ledger();
    let run = ledger.run(1, 1).unwrap();
    assert!(run.leased <= STEPS, "{run:#?}");
    for spending in ledger.contract(1).leased {
        assert!(spending.steps <= STEPS, "{spending:?}");
    }
    let verify = [
        "aggregator",
        "unseal",
        "--contract",
        "1",
        "--run",
        "1",
        "--out",
        "model",
    ];
    federation.unlocked(CONSUMER, &verify).run().data();
}

#[test]
fn an_agent_that_stays_away_ends_the_run_which_can_be_resumed() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let any = federation.any_port();
    let other = federation.agent_at(PROVIDERS[1], &any, Some(&keeper), |line| {
        line.dies_at("durable::rename", 11)
    });
    let agents = [keeper.named(), other.named()];
    let refused = federation
        .train_at(&agents)
        .words(&["--patience", "1"])
        .run();
    refused.refused(3, "peer-absent", &[PROVIDERS[1], "--resume"]);
    let address = other.listen();
    other.process.end().killed();

    let other = federation.agent_at(PROVIDERS[1], &address, Some(&keeper), |line| line);
    trained(federation.train_at(&agents).words(&["--resume"]).start());
    stop(vec![keeper, other]);
    assert!(federation.ledger().run(1, 1).unwrap().leased <= STEPS);
}
