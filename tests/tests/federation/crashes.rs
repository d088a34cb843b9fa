//! An aggregator that is killed, at any point, and resumed: never more steps than the contract allows.

use std::fs;
use std::path::PathBuf;

use tributary_protocol::Digest;
use tributary_protocol::ledger::RunStatus;
use tributary_tests::{CONSUMER, Federation, PROVIDERS, STEPS};

use crate::{federation, number, restarted, stop, trained};

/// Checkpoints of a run by their steps, the newest first.
fn checkpoints(federation: &Federation<'_>, contract: u64, run: u32) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(federation.run_file(contract, run, ""))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let step = path
                .file_name()?
                .to_str()?
                .strip_prefix("checkpoint-")?
                .strip_suffix(".sealed")?
                .parse()
                .ok()?;
            Some((step, path))
        })
        .collect();
    found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    found
}

#[test]
fn an_aggregator_killed_before_its_first_checkpoint_begins_with_the_steps_that_are_left() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    federation
        .train(&both)
        .dies_at("durable::write", 1)
        .run()
        .killed();
    assert!(checkpoints(&federation, 1, 1).is_empty());

    let refused = federation.train(&both).run();
    refused.refused(2, "usage", &["run 1", "--resume"]);
    trained(federation.train(&both).words(&["--resume"]).start());
    let report = federation.report(1, 1);
    assert!(
        number(&report, "/steps") < STEPS as f64,
        "what was leased before the crash is not trained on"
    );
    stop(agents);
    let run = federation.ledger().run(1, 1).unwrap();
    assert!(run.leased <= STEPS, "{run:#?}");
    assert!(matches!(run.view.status, RunStatus::Closed { .. }));
}

#[test]
fn a_resumed_run_starts_from_the_newest_settled_checkpoint() {
    let federation = federation();
    let mut agents = federation.agents();
    // The eighth checkpoint is on the disk, and the ledger may or may not know it.
    federation
        .train(&[&agents[0], &agents[1]])
        .dies_at("durable::write", 9)
        .run()
        .killed();
    let addresses: Vec<String> = agents.iter().map(|agent| agent.listen()).collect();
    stop(agents);

    let before = federation.ledger().run(1, 1).unwrap();
    let settled = before.view.checkpoint.expect("a settled checkpoint");
    let kept = checkpoints(&federation, 1, 1);
    let (step, _) = kept
        .iter()
        .find(|(_, path)| Digest::of(&fs::read(path).unwrap()) == settled)
        .expect("the file of the settled checkpoint");
    assert_eq!(before.settled, *step);
    let lost: Vec<u64> = before
        .view
        .datasets
        .iter()
        .map(|dataset| dataset.leased - step)
        .collect();

    agents = vec![restarted(&federation, PROVIDERS[0], &addresses[0], None)];
    agents.push(restarted(
        &federation,
        PROVIDERS[1],
        &addresses[1],
        agents.first(),
    ));
    trained(
        federation
            .train(&[&agents[0], &agents[1]])
            .words(&["--resume"])
            .start(),
    );
    let report = federation.report(1, 1);
    let most_lost = lost.iter().max().unwrap();
    assert_eq!(
        number(&report, "/steps"),
        (STEPS - most_lost) as f64,
        "lost {lost:?}\n{report:#}"
    );
    stop(agents);
    let after = federation.ledger().run(1, 1).unwrap();
    assert!(
        after.leased <= STEPS && after.settled >= before.settled,
        "{after:#?}"
    );
}

#[test]
fn an_aggregator_killed_again_and_again_spends_no_more_than_the_contract() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    let deaths = [
        ("durable::rename", 2),
        ("durable::write", 1),
        ("durable::sync", 3),
        ("durable::rename", 1),
        ("durable::write", 2),
    ];
    let mut lives = 0;
    for (life, (point, pass)) in deaths.into_iter().enumerate() {
        let line = federation.train(&both).dies_at(point, pass);
        let line = if life == 0 {
            line
        } else {
            line.words(&["--resume"])
        };
        line.run().killed();
        lives += 1;
    }
    trained(federation.train(&both).words(&["--resume"]).start());
    let report = federation.report(1, 1);
    stop(agents);
    let run = federation.ledger().run(1, 1).unwrap();
    for dataset in &run.view.datasets {
        assert!(
            dataset.leased <= STEPS && dataset.settled <= dataset.leased,
            "after {lives} lives: {run:#?}"
        );
    }
    for index in 0..PROVIDERS.len() {
        let at = |field: &str| number(&report, &format!("/datasets/{index}/{field}"));
        assert!(
            at("steps") <= at("spent_steps") && at("spent_steps") <= STEPS as f64,
            "{report:#}"
        );
        assert!(at("epsilon") <= at("limit"), "{report:#}");
    }
}

/// Runs of two steps, each killed one write later than the last, until one ends before it is killed: no write is left out.
#[test]
fn an_aggregator_killed_at_any_write_of_a_run_can_finish_it() {
    let steps = 2;
    let federation = federation();
    let contract = federation.agreed("short.dsse", |document| {
        document.runs = 40;
        document.pipeline.steps = steps;
        for dataset in &mut document.datasets {
            dataset.epsilon = 100.0;
        }
    });
    let agents = federation.agents();
    let seq = federation.register(&contract, &agents[0]);
    let contract = seq.to_string();
    let train = || {
        let mut line = federation.unlocked(
            CONSUMER,
            &[
                "aggregator",
                "train",
                "--contract",
                &contract,
                "--threads",
                "1",
            ],
        );
        for agent in &agents {
            line = line.words(&["--agent", &agent.named()]);
        }
        line.aloud()
    };
    let mut run = 1;
    let mut complete = false;
    while !complete {
        assert!(run < 40, "a run of {steps} steps has fewer writes");
        let ended = train().dies_at("durable::rename", u64::from(run)).run();
        complete = ended.code == Some(0);
        if !complete {
            ended.killed();
            let resumed = train().words(&["--resume"]).run();
            if resumed.code != Some(0) {
                // Killed between the run's end on the ledger and the end of the process: its results are there.
                resumed.refused(2, "usage", &["to resume"]);
            }
        }
        for name in ["model.sealed", "receipt.dsse"] {
            assert!(
                federation.run_file(seq, run, name).exists(),
                "run {run}: {name}"
            );
        }
        let out = format!("model-{run}");
        let unseal = [
            "aggregator",
            "unseal",
            "--contract",
            &contract,
            "--run",
            &run.to_string(),
            "--out",
            &out,
        ];
        federation.unlocked(CONSUMER, &unseal).run().data();
        run += 1;
    }
    assert!(
        run > 5,
        "two checkpoints and the results are more than five writes, got {run}"
    );
    stop(agents);
    let ledger = federation.ledger();
    for run in 1..run {
        let view = ledger.run(seq, run).unwrap();
        assert!(
            view.leased <= steps && matches!(view.view.status, RunStatus::Closed { .. }),
            "{view:#?}"
        );
    }
}

#[test]
fn a_checkpoint_older_than_the_ledger_knows_is_refused() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    federation
        .train(&both)
        .dies_at("durable::write", 7)
        .run()
        .killed();
    let kept = checkpoints(&federation, 1, 1);
    let [(_, newest), (_, older)] = kept.as_slice() else {
        panic!("expected two checkpoints, got {kept:?}")
    };
    // The newest is either settled or not; with both names holding the older bytes, the settled one can be only the older.
    let (newest_bytes, older_bytes) = (fs::read(newest).unwrap(), fs::read(older).unwrap());
    let first = federation
        .train(&both)
        .words(&["--resume"])
        .dies_at("durable::write", 4)
        .run();
    first.killed();
    for (_, path) in checkpoints(&federation, 1, 1) {
        fs::write(path, &older_bytes).unwrap();
    }
    fs::write(newest, &newest_bytes).unwrap();

    let refused = federation.train(&both).words(&["--resume"]).run();
    refused.refused(1, "checkpoint-refused", &["sha256:", "newest", "older"]);
    assert!(!federation.run_file(1, 1, "model.sealed").exists());
    stop(agents);
}

#[test]
fn an_altered_checkpoint_is_refused() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    federation
        .train(&both)
        .dies_at("durable::write", 5)
        .run()
        .killed();
    for (_, path) in checkpoints(&federation, 1, 1) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    federation.train(&both).words(&["--resume"]).run().refused(
        1,
        "checkpoint-refused",
        &["expected the checkpoint"],
    );
    stop(agents);
}

#[test]
fn there_is_nothing_to_resume_before_a_run_and_after_it() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    federation.train(&both).words(&["--resume"]).run().refused(
        2,
        "usage",
        &["to resume", "--resume"],
    );
    trained(federation.train(&both).start());
    federation
        .train(&both)
        .words(&["--resume"])
        .run()
        .refused(2, "usage", &["to resume"]);
    stop(agents);
}
