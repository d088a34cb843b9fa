//! The consumer's authorisation of a run that somebody else's machine starts.

use std::fs;

use tributary_tests::{CONSUMER, Federation};

use crate::{federation, stop, trained};

/// A machine in the cloud: a home of its own, with the contract and the model and without the consumer's key.
const RUNNER: &str = "runner";

fn with_runner(federation: &Federation<'_>) {
    fs::write(federation.path("passphrases").join(RUNNER), "passphrase\n").unwrap();
    let init = [
        "aggregator",
        "init",
        "--party",
        CONSUMER,
        "--simulated",
        "simulated-root",
    ];
    federation.unlocked(RUNNER, &init).run().data();
    for folder in ["contracts/1", "models"] {
        let (from, to) = (
            federation.path(CONSUMER).join(folder),
            federation.path(RUNNER).join(folder),
        );
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn authorise(federation: &Federation<'_>, contract: &str, run: &str, expires: &str, out: &str) {
    let authorise = [
        "aggregator",
        "authorise",
        "--contract",
        contract,
        "--run",
        run,
        "--expires",
        expires,
        "--runner",
        RUNNER,
        "--out",
        out,
    ];
    federation.unlocked(CONSUMER, &authorise).run().data();
}

#[test]
fn a_runner_with_the_consumers_authorisation_trains_and_only_the_consumer_opens_the_model() {
    let federation = federation();
    with_runner(&federation);
    authorise(&federation, "1", "1", "1h", "run-1.dsse");
    let agents = federation.agents();
    let train = [
        "aggregator",
        "train",
        "--contract",
        "1",
        "--threads",
        "1",
        "--authorisation",
        "run-1.dsse",
    ];
    let mut line = federation.unlocked(RUNNER, &train);
    for agent in &agents {
        line = line.words(&["--agent", &agent.named()]);
    }
    trained(line.start());
    stop(agents);

    let sealed = federation
        .path(RUNNER)
        .join("runs/1-1/model.sealed")
        .display()
        .to_string();
    let unseal = [
        "aggregator",
        "unseal",
        &sealed,
        "--contract",
        "1",
        "--out",
        "model",
    ];
    federation
        .unlocked(RUNNER, &unseal)
        .run()
        .refused(1, "sealed-wrong-key", &["--home"]);
    assert!(!federation.path("model").exists());
    federation.unlocked(CONSUMER, &unseal).run().data();
}

#[test]
fn a_runner_without_an_authorisation_starts_nothing() {
    let federation = federation();
    with_runner(&federation);
    let agents = federation.agents();
    let train = federation
        .unlocked(RUNNER, &["aggregator", "train", "--contract", "1"])
        .words(&["--agent", &agents[0].named(), "--agent", &agents[1].named()]);
    train.run().refused(
        11,
        "authorisation-refused",
        &["--authorisation", "authorise"],
    );
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn an_authorisation_that_is_over_or_for_something_else_starts_nothing() {
    let federation = federation();
    with_runner(&federation);
    let second = federation.agreed("second.dsse", |document| document.runs = 2);
    let agents = federation.agents();
    assert_eq!(federation.register(&second, &agents[0]), 2);
    let runner = federation.party(RUNNER).key().to_string();
    authorise(&federation, "1", "1", "1s", "over.dsse");
    authorise(&federation, "2", "1", "1h", "other-contract.dsse");
    let for_itself = [
        "aggregator",
        "authorise",
        "--contract",
        "1",
        "--run",
        "1",
        "--out",
        "other-runner.dsse",
        "--runner",
        CONSUMER,
    ];
    federation.unlocked(CONSUMER, &for_itself).run().data();
    let train = |authorisation: &str| {
        federation
            .unlocked(
                RUNNER,
                &[
                    "aggregator",
                    "train",
                    "--contract",
                    "1",
                    "--authorisation",
                    authorisation,
                    "--wait",
                    "5",
                ],
            )
            .words(&["--agent", &agents[0].named(), "--agent", &agents[1].named()])
            .run()
    };
    train("other-contract.dsse").refused(11, "authorisation-refused", &["contract"]);
    train("other-runner.dsse").refused(11, "authorisation-refused", &["runner", &runner]);
    train("over.dsse").refused(11, "authorisation-refused", &["expired"]);
    stop(agents);
    assert!(federation.ledger().run(1, 1).is_none());
}

#[test]
fn an_authorisation_of_another_run_starts_nothing() {
    let federation = federation();
    with_runner(&federation);
    let contract = federation.agreed("two-runs.dsse", |document| {
        document.runs = 2;
        for dataset in &mut document.datasets {
            dataset.epsilon = 100.0;
        }
    });
    let agents = federation.agents();
    assert_eq!(federation.register(&contract, &agents[0]), 2);
    let (from, to) = (
        federation.path(CONSUMER).join("contracts/2"),
        federation.path(RUNNER).join("contracts/2"),
    );
    fs::create_dir_all(&to).unwrap();
    for name in ["contract.dsse", "receipt"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    authorise(&federation, "2", "2", "1h", "run-2.dsse");
    let train = federation
        .unlocked(
            RUNNER,
            &[
                "aggregator",
                "train",
                "--contract",
                "2",
                "--authorisation",
                "run-2.dsse",
            ],
        )
        .words(&["--agent", &agents[0].named(), "--agent", &agents[1].named()]);
    train.run().refused(11, "authorisation-refused", &["run"]);
    stop(agents);
    assert!(federation.ledger().run(2, 1).is_none());
}
