//! What a contract allows to be spent, and no more.

use tributary_accounting::Steps;
use tributary_tests::{CONSUMER, PROVIDERS, STEPS};

use crate::{federation, stop, trained};

#[test]
fn a_run_too_many_is_refused_before_anything_is_leased() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    trained(federation.train(&both).start());
    federation
        .train(&both)
        .run()
        .refused(11, "contract-used-up", &["1 runs", "new contract"]);
    stop(agents);
    assert!(federation.ledger().run(1, 2).is_none());
}

#[test]
fn a_second_run_that_would_exceed_the_budget_is_refused_before_anything_is_leased() {
    let federation = federation();
    let contract = federation.agreed("two-runs.dsse", |document| document.runs = 2);
    let bytes = std::fs::read(&contract).unwrap();
    let costs = tributary_protocol::SignedContract::from_json(&bytes).unwrap();
    let costs = costs.contract();
    let plan = costs.plan().unwrap();
    let enough_for_a_run_and_a_half = costs
        .epsilon_after(
            Steps::new(STEPS + STEPS / 2),
            plan.datasets[1].capacity.remaining_delta,
        )
        .unwrap()
        .get();
    let contract = federation.agreed("tight.dsse", |document| {
        document.runs = 2;
        document.datasets[0].epsilon = 100.0;
        document.datasets[1].epsilon = enough_for_a_run_and_a_half;
    });
    let agents = federation.agents();
    let seq = federation.register(&contract, &agents[0]).to_string();
    let train = || {
        federation
            .unlocked(
                CONSUMER,
                &["aggregator", "train", "--contract", &seq, "--threads", "1"],
            )
            .words(&["--agent", &agents[0].named(), "--agent", &agents[1].named()])
    };
    train().run().well();
    train().run().refused(
        12,
        "budget-exhausted",
        &[
            PROVIDERS[1],
            "epsilon",
            &format!("{STEPS} steps"),
            "new contract",
        ],
    );
    stop(agents);
    let ledger = federation.ledger();
    assert!(ledger.run(2, 2).is_none());
    assert!(
        ledger
            .contract(2)
            .leased
            .iter()
            .all(|spent| spent.steps == STEPS)
    );
}

#[test]
fn an_officers_own_limit_stops_a_run_that_the_contract_allows() {
    let federation = federation();
    let limit = [
        "agent",
        "budget",
        "set",
        "digits",
        "--epsilon",
        "0.01",
        "--delta",
        "1e-5",
    ];
    federation.unlocked(PROVIDERS[1], &limit).run().data();
    let agents = federation.agents();
    let refused = federation.train(&[&agents[0], &agents[1]]).run();
    refused.refused(12, "budget-exhausted", &[PROVIDERS[1]]);
    stop(agents);
    let ledger = federation.ledger();
    assert!(
        ledger
            .contract(1)
            .leased
            .iter()
            .all(|spent| spent.steps == 0),
        "{:?}",
        ledger.contract(1).leased
    );
}

#[test]
fn a_meter_set_back_to_an_older_copy_cannot_spend_again() {
    let federation = federation();
    let contract = federation.agreed("two-runs.dsse", |document| document.runs = 2);
    let bytes = std::fs::read(&contract).unwrap();
    let costs = tributary_protocol::SignedContract::from_json(&bytes).unwrap();
    let plan = costs.contract().plan().unwrap();
    let limit = costs
        .contract()
        .epsilon_after(
            Steps::new(STEPS + 1),
            plan.datasets[1].capacity.remaining_delta,
        )
        .unwrap();
    let contract = federation.agreed("tight.dsse", |document| {
        document.runs = 2;
        document.datasets[0].epsilon = 100.0;
        document.datasets[1].epsilon = limit.get();
    });
    let meter = federation.path(PROVIDERS[1]).join("meter/meter");
    let old = std::fs::read(&meter).unwrap();
    let mut agents = federation.agents();
    let seq = federation.register(&contract, &agents[0]).to_string();
    let train = |first: &str, second: &str| {
        federation
            .unlocked(
                CONSUMER,
                &["aggregator", "train", "--contract", &seq, "--threads", "1"],
            )
            .words(&["--agent", first, "--agent", second])
            .run()
    };
    train(&agents[0].named(), &agents[1].named()).well();
    let restored = agents.pop().unwrap();
    let address = restored.listen();
    restored.process.stop().well();
    std::fs::write(&meter, old).unwrap();
    let restored = crate::restarted(&federation, PROVIDERS[1], &address, agents.first());
    agents.push(restored);
    train(&agents[0].named(), &agents[1].named()).refused(12, "budget-exhausted", &[PROVIDERS[1]]);
    stop(agents);
    assert!(
        federation
            .ledger()
            .contract(2)
            .leased
            .iter()
            .all(|spent| spent.steps == STEPS)
    );
}
