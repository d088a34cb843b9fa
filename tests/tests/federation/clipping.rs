//! Every way of clipping that a contract may name, from the contract to the sealed model.

use tributary_protocol::{AdaptiveClipping, Clipping, Contract, Document};
use tributary_tests::{Federation, Serving};

use crate::{federation, number, stop, train};

const STEPS: u64 = 4;

/// A short contract, registered; and its number.
fn agreed(
    federation: &Federation<'_>,
    keeper: &Serving,
    name: &str,
    change: impl FnOnce(&mut Document),
) -> u64 {
    let contract = federation.agreed(name, |document| {
        document.pipeline.steps = STEPS;
        change(document);
    });
    federation.register(&contract, keeper)
}

/// Trains under a mode, and gives what it cost.
fn epsilon_of(
    federation: &Federation<'_>,
    agents: &[Serving],
    name: &str,
    clipping: Clipping,
    run: impl FnOnce(u64),
) -> f64 {
    let seq = agreed(federation, &agents[0], name, |document| {
        document.privacy.clipping = clipping;
    });
    run(seq);
    assert!(
        federation.run_file(seq, 1, "model.sealed").exists(),
        "{name}"
    );
    number(&federation.report(seq, 1), "/datasets/0/epsilon")
}

#[test]
fn every_mode_trains_at_the_same_epsilon() {
    let federation = federation();
    let agents = federation.agents();
    let mut epsilons = Vec::new();
    for (name, clipping) in [
        ("flat.dsse", Clipping::Flat),
        ("per-layer.dsse", Clipping::PerLayer),
        ("automatic.dsse", Clipping::Automatic { stability: 0.01 }),
    ] {
        let run = |seq| {
            train(&federation, seq, &agents).aloud().run().well();
        };
        epsilons.push(epsilon_of(&federation, &agents, name, clipping, run));
    }
    stop(agents);
    assert!(
        epsilons.iter().all(|epsilon| *epsilon == epsilons[0]),
        "{epsilons:?}"
    );
}

#[test]
fn an_adaptive_run_that_was_killed_resumes_at_the_epsilon_of_a_flat_one() {
    let federation = federation();
    let agents = federation.agents();
    let adaptive = Clipping::Adaptive(AdaptiveClipping {
        quantile: 0.5,
        learning_rate: 0.2,
        count_noise: 10.0,
    });
    let epsilon = epsilon_of(&federation, &agents, "adaptive.dsse", adaptive, |seq| {
        // After its second checkpoint.
        train(&federation, seq, &agents)
            .aloud()
            .dies_at("durable::write", 4)
            .run()
            .killed();
        train(&federation, seq, &agents)
            .aloud()
            .words(&["--resume"])
            .run()
            .well();
    });
    stop(agents);
    // The count of adaptive clipping is paid for by noise, not by epsilon.
    let mut flat = federation.contract().contract().document().clone();
    flat.pipeline.steps = STEPS;
    let flat = Contract::parse(&serde_json::to_vec(&flat).unwrap()).unwrap();
    assert_eq!(epsilon, flat.plan().unwrap().datasets[0].run.get());
}
