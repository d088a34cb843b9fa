//! Contracts whose unit of privacy is an entity, from the import of its records to the sealed model.

use std::fs;

use tributary_protocol::{Document, SignedContract, Unit};
use tributary_tests::{CONSUMER, Federation, PROVIDERS};

use crate::{federation, number, stop, train};

const STEPS: u64 = 4;

/// Of the template's digits.
const RECORDS: usize = 300;

/// Each with five records.
const PEOPLE: usize = 60;

/// Both providers import their digits with the person who wrote each, and the consumer writes a contract that protects
/// persons.
fn founded(federation: &Federation<'_>) -> Document {
    let mut new: Vec<String> = Vec::new();
    for party in PROVIDERS {
        let names: String = (0..RECORDS)
            .map(|record| format!("person-{}\n", record % PEOPLE))
            .collect();
        let names_file = format!("{party}.names");
        fs::write(federation.path(&names_file), names).unwrap();
        let images = format!("data/{party}-images.idx");
        let labels = format!("data/{party}-labels.idx");
        let import = ["agent", "dataset", "import", "people", "--format", "idx"];
        let files = ["--images", &images, "--labels", &labels];
        let names = ["--entities", &names_file, "--entity-column", "person"];
        let line = federation.unlocked(party, &import);
        line.words(&files).words(&names).run().data();
        let offer = format!("{party}.people.json");
        let line = ["agent", "dataset", "offer", "people", "--entity", "person"];
        let offered = federation
            .unlocked(party, &line)
            .words(&["--out", &offer])
            .run();
        assert_eq!(number(&offered.data(), "/entities"), PEOPLE as f64);
        new.extend(["--offer".to_owned(), offer]);
    }
    let program = env!("CARGO_BIN_EXE_tributary-parties");
    let line = ["aggregator", "contract", "new", "--recipe", "mnist"];
    let terms = ["--purpose", "Reading digits", "--epsilon", "20"];
    let steps = STEPS.to_string();
    let sampling = ["--sampling-rate", "0.1", "--steps", &steps];
    let unit = ["--entity", "person", "--entity-rows", "3"];
    let root = ["--simulated-root", "simulated-root/root.pub"];
    let files = ["--model", "initial.onnx", "--out", "people.dsse"];
    let programs = ["--aggregator-program", program, "--agent-program", program];
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let written = federation.unlocked(CONSUMER, &line);
    written
        .words(&terms)
        .words(&sampling)
        .words(&unit)
        .words(&root)
        .words(&files)
        .words(&programs)
        .words(&new)
        .run()
        .data();
    let bytes = fs::read(federation.path("people.dsse")).unwrap();
    let signed = SignedContract::from_json(&bytes).unwrap();
    signed.contract().document().clone()
}

#[test]
fn a_model_is_trained_on_entities_at_the_epsilon_of_entities() {
    let federation = federation();
    let document = founded(&federation);
    assert!(
        document
            .datasets
            .iter()
            .all(|dataset| dataset.entities == Some(PEOPLE as u64) && dataset.columns.len() == 2)
    );
    for party in PROVIDERS {
        let show = ["agent", "contract", "show", "people.dsse"];
        let shown = federation.unlocked(party, &show).aloud().run();
        for words in ["of 60 entities", "at most 3 records of each", "`person`"] {
            assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
        }
        let sign = ["agent", "contract", "sign", "people.dsse"];
        federation.unlocked(party, &sign).run().data();
    }
    let agents = federation.agents();
    let seq = federation.register(&federation.path("people.dsse"), &agents[0]);
    train(&federation, seq, &agents).aloud().run().well();
    stop(agents);
    let report = federation.report(seq, 1);
    let contract = fs::read(federation.path("people.dsse")).unwrap();
    let contract = SignedContract::from_json(&contract).unwrap();
    let plan = contract.contract().plan().unwrap();
    for (index, dataset) in plan.datasets.iter().enumerate() {
        let at = |field: &str| number(&report, &format!("/datasets/{index}/{field}"));
        assert_eq!(at("steps"), STEPS as f64);
        assert_eq!(at("epsilon"), dataset.run.get());
        assert_eq!(dataset.rows, 3 * dataset.capacity.rows);
    }
    let seq = seq.to_string();
    let unseal = ["aggregator", "unseal", "--contract", &seq, "--run", "1"];
    let unseal = federation.unlocked(CONSUMER, &unseal);
    unseal.words(&["--out", "model"]).run().data();
}

#[test]
fn entities_that_the_vault_counts_or_names_otherwise_are_not_served() {
    let federation = federation();
    let made = founded(&federation);
    // More entities would look like less privacy lost, and fewer like a larger share of each.
    let miscounted = federation.contract_signed_by("miscounted.dsse", &[CONSUMER], |document| {
        *document = made.clone();
        document.datasets[1].entities = Some(PEOPLE as u64 + 1);
    });
    let sign = ["agent", "contract", "sign", "miscounted.dsse"];
    assert!(miscounted.exists());
    federation.unlocked(PROVIDERS[1], &sign).run().refused(
        11,
        "contract-mismatch",
        &["entities", "60", "61"],
    );

    let agents = federation.agents();
    let check = |name: &str, words: &[&str], change: &dyn Fn(&mut Document)| {
        let contract = federation.agreed(name, |document| {
            *document = made.clone();
            change(document);
        });
        let seq = federation.register(&contract, &agents[0]);
        let refused = train(&federation, seq, &agents).aloud().run();
        refused.refused(11, "contract-refused", words);
        seq
    };
    let owner = PROVIDERS[1];
    let more = check("more.dsse", &[owner, "61 entities", "60"], &|document| {
        document.datasets[1].entities = Some(PEOPLE as u64 + 1);
    });
    let nowhere = check("nowhere.dsse", &[PROVIDERS[0], "no column"], &|document| {
        if let Unit::Entity(entity) = &mut document.privacy.unit {
            entity.column.name = "patient".parse().unwrap();
        }
    });
    stop(agents);
    for number in [more, nowhere] {
        let leased = federation.ledger().contract(number).leased;
        assert!(leased.iter().all(|spent| spent.steps == 0), "{number}");
    }
}

#[test]
fn a_record_without_an_entity_is_not_imported() {
    let federation = federation();
    let party = PROVIDERS[0];
    let names: String = (0..RECORDS)
        .map(|record| match record {
            7 => "\n".to_owned(),
            record => format!("person-{record}\n"),
        })
        .collect();
    fs::write(federation.path("names"), names).unwrap();
    let import = ["agent", "dataset", "import", "people", "--format", "idx"];
    let images = format!("data/{party}-images.idx");
    let labels = format!("data/{party}-labels.idx");
    let files = ["--images", &images, "--labels", &labels];
    federation
        .unlocked(party, &import)
        .words(&files)
        .words(&["--entities", "names"])
        .run()
        .refused(1, "data-invalid", &["line 8", "name"]);
}
