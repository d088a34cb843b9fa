//! From agents that listen and dial to a model that is opened and measured.

use std::fs;

use tributary_accounting::Steps;
use tributary_tests::{CONSUMER, PROVIDERS, STEPS};
use tributary_trainer::Graph;

use crate::{federation, free_address, number, stop};

#[test]
fn agents_that_listen_and_agents_that_dial_train_a_model_that_its_consumer_opens() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let aggregator = free_address(&federation);
    let dialling =
        federation
            .serve(PROVIDERS[1])
            .words(&["--dial", &aggregator, "--ledger", &keeper.named()]);
    let dialling = federation.ready(PROVIDERS[1], dialling.start());
    assert_eq!(dialling.address, None);

    let validation = [
        "--validation-images",
        "data/validation-images.idx",
        "--validation-labels",
        "data/validation-labels.idx",
    ];
    let said = federation
        .train(&[&keeper])
        .words(&["--listen", &aggregator])
        .words(&validation)
        .run();
    said.well();
    for party in PROVIDERS {
        assert!(
            said.stderr.contains(&format!(
                "agent {party} attested this program and was attested"
            )),
            "{}",
            said.stderr
        );
    }
    assert!(
        said.stderr.contains("simulated"),
        "simulated evidence is named as such: {}",
        said.stderr
    );

    let unseal = [
        "aggregator",
        "unseal",
        "--contract",
        "1",
        "--run",
        "1",
        "--out",
        "model",
    ];
    federation.unlocked(CONSUMER, &unseal).run().data();
    let onnx = fs::read(federation.path("model/model.onnx")).unwrap();
    Graph::from_onnx(&onnx).unwrap();
    assert_ne!(
        onnx,
        fs::read(federation.path("initial.onnx")).unwrap(),
        "the weights were trained"
    );
    assert!(
        fs::metadata(federation.path("model/model.safetensors"))
            .unwrap()
            .len()
            > 0
    );

    let evaluate = [
        "aggregator",
        "evaluate",
        "--contract",
        "1",
        "--model",
        "model/model.onnx",
    ];
    let data = [
        "--images",
        "data/validation-images.idx",
        "--labels",
        "data/validation-labels.idx",
    ];
    let measured = federation
        .line(&evaluate)
        .words(&data)
        .home(CONSUMER)
        .run()
        .data();
    assert_eq!(number(&measured, "/examples"), 100.0);

    let report = federation.report(1, 1);
    assert_eq!(
        number(&report, "/validation_accuracy"),
        number(&measured, "/accuracy")
    );
    let metrics: serde_json::Value =
        serde_json::from_slice(&fs::read(federation.path("model/metrics.json")).unwrap()).unwrap();
    assert_eq!(
        metrics["validation_accuracy"],
        report["validation_accuracy"]
    );
    assert_eq!(
        metrics,
        serde_json::from_slice::<serde_json::Value>(
            &fs::read(federation.run_file(1, 1, "metrics.json")).unwrap()
        )
        .unwrap()
    );
    expect_well_formed(&fs::read_to_string(federation.run_file(1, 1, "curves.svg")).unwrap());

    let contract = federation.contract().contract();
    let plan = contract.plan().unwrap();
    assert_eq!(number(&report, "/steps"), STEPS as f64);
    for (index, dataset) in plan.datasets.iter().enumerate() {
        let owner = dataset.dataset.owner.as_str();
        let expected = contract
            .epsilon_after(Steps::new(STEPS), dataset.capacity.remaining_delta)
            .unwrap()
            .get();
        assert_eq!(
            number(&report, &format!("/epsilon/{owner}")),
            expected,
            "the accountant's own number"
        );
        assert_eq!(
            number(&report, &format!("/datasets/{index}/spent_steps")),
            STEPS as f64
        );
        assert!(expected <= dataset.limit.get());
    }

    let verify = ["aggregator", "receipt", "verify"];
    let receipt = federation
        .run_file(1, 1, "receipt.dsse")
        .display()
        .to_string();
    let verified = federation
        .line(&verify)
        .words(&[&receipt, "--contract", "contract.dsse"])
        .run()
        .data();
    assert_eq!(verified["run"], 1);
    let steps: Vec<_> = verified["datasets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dataset| dataset["spent_steps"].as_u64())
        .collect();
    assert_eq!(steps, [Some(STEPS); 2]);

    stop(vec![keeper, dialling]);
    let run = federation.ledger().run(1, 1).unwrap();
    for dataset in &run.view.datasets {
        assert_eq!(
            (dataset.leased, dataset.settled),
            (STEPS, STEPS),
            "{}",
            dataset.dataset
        );
    }
    assert!(matches!(
        run.view.status,
        tributary_protocol::ledger::RunStatus::Closed { .. }
    ));
    for party in PROVIDERS {
        let budget = federation
            .unlocked(party, &["agent", "budget"])
            .run()
            .data();
        assert!(
            budget.to_string().contains(&format!("{STEPS}")),
            "{budget:#}"
        );
    }
}

/// Every element is closed by its own name, and nothing follows the first.
fn expect_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut elements = 0;
    for tag in xml.split('<').skip(1) {
        let (tag, text) = tag
            .split_once('>')
            .unwrap_or_else(|| panic!("`<` without `>`: {tag}"));
        assert!(!text.contains('&') || text.contains(';'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{xml}");
        } else {
            assert!(elements == 0 || !open.is_empty(), "a second root: {tag}");
            elements += 1;
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap());
            }
        }
    }
    assert!(elements > 3 && open.is_empty(), "{xml}");
}
