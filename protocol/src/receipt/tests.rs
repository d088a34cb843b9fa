use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tributary_attest::{
    CheckName, Collateral, LaunchConfig, PlatformConfig, Policy, SimulatedMachine, SimulatedRoot,
};

use super::*;
use crate::contract::tests::good;
use crate::noise_key::NoiseStatic;

/// A contract, an aggregator that runs what it names, and a model.
struct Scene {
    contract: Contract,
    document: Value,
    machine: SimulatedMachine,
    signer: Identity,
    noise: NoiseStatic,
    model: ModelArchive,
    now: DateTime<Utc>,
}

impl Scene {
    fn new() -> Self {
        let now = Utc::now();
        let root = SimulatedRoot::generate().unwrap();
        let program = Measurement::of_bytes(b"aggregator");
        let platform = root
            .certify(PlatformConfig::new("cloud", now).unwrap())
            .unwrap();
        let (mut document, _) = good();
        let policy = Policy::simulated(root.public_key(), [program]);
        document["attestation"]["aggregator"] = serde_json::to_value(policy).unwrap();
        Self {
            contract: Contract::parse(document.to_string().as_bytes()).unwrap(),
            document,
            machine: platform.launch(program, LaunchConfig::default()),
            signer: Identity::generate(),
            noise: NoiseStatic::generate(),
            model: ModelArchive::new(b"onnx".to_vec(), b"weights".to_vec(), b"{}".to_vec())
                .unwrap(),
            now,
        }
    }

    fn summary(&self) -> RunSummary<'_> {
        let used = DatasetUse {
            steps: 500,
            spent_steps: 520,
        };
        RunSummary {
            number: SequenceNumber::FIRST,
            run: RunNumber::FIRST,
            datasets: self.contract.datasets().map(|(id, _)| (id, used)).collect(),
            model: &self.model,
            noise_key: self.noise.public(),
            ledger: vec![b"{\"a\":\"ledger receipt\"}".to_vec()],
        }
    }

    fn issue(&self) -> Envelope {
        self.issue_for(&self.summary()).unwrap()
    }

    fn issue_for(&self, summary: &RunSummary<'_>) -> Result<Envelope, ReceiptError> {
        Receipt::issue(
            summary,
            &self.contract,
            &self.machine,
            &self.signer,
            self.now,
        )
    }

    fn verify(&self, envelope: &Envelope) -> Result<Receipt, ReceiptError> {
        Receipt::verify(envelope, &self.contract, &Collateral::empty(), self.now)
    }

    fn sign(&self, payload: impl Into<Vec<u8>>) -> Envelope {
        Envelope::sign(RECEIPT_PAYLOAD_TYPE, payload.into(), &self.signer)
    }

    /// A statement that the measured code would never make, with evidence of its own all the same.
    fn attested(&self, change: impl FnOnce(&mut RawPredicate)) -> Envelope {
        let statement: ReadStatement = serde_json::from_slice(self.issue().payload()).unwrap();
        let mut predicate = statement.predicate;
        predicate.evidence.clear();
        change(&mut predicate);
        let write = |predicate: &RawPredicate| {
            RawStatement::new(statement.subject.clone(), predicate)
                .to_json()
                .unwrap()
        };
        let data = report_data(&Digest::of(&write(&predicate)));
        predicate.evidence = BASE64.encode(self.machine.attest(&data).unwrap().to_bytes());
        self.sign(write(&predicate))
    }

    fn refuses(&self, envelope: &Envelope, part: &str) {
        let message = self.verify(envelope).unwrap_err().to_string();
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}

#[test]
fn a_receipt_says_who_trained_what_on_which_data_at_what_cost() {
    let scene = Scene::new();
    let envelope = Envelope::from_json(&scene.issue().to_json()).unwrap();
    let receipt = scene.verify(&envelope).unwrap();
    assert_eq!(receipt.contract, scene.contract.digest());
    assert_eq!(receipt.noise_key, scene.noise.public());
    assert_eq!(receipt.signing_key, scene.signer.public());
    assert_eq!(
        receipt.verdict.measurement,
        Measurement::of_bytes(b"aggregator")
    );
    assert_eq!(receipt.ledger, [b"{\"a\":\"ledger receipt\"}".to_vec()]);
    assert_eq!(receipt.digest, envelope.payload_digest());
    let paid = &receipt.datasets[0];
    assert_eq!(
        (paid.owner.as_str(), paid.steps, paid.spent_steps),
        ("alice", 500, 520)
    );
    assert!(paid.epsilon > 0.1 && paid.epsilon < 3.0, "{}", paid.epsilon);
    receipt.expect_model(&scene.model).unwrap();
    let other = ModelArchive::new(b"onnx".to_vec(), b"other".to_vec(), b"{}".to_vec()).unwrap();
    let error = receipt.expect_model(&other).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn it_is_an_in_toto_statement() {
    let scene = Scene::new();
    let statement: Value = serde_json::from_slice(scene.issue().payload()).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], RECEIPT_PREDICATE_TYPE);
    assert_eq!(statement["subject"][0]["name"], "model.onnx");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        hex::encode(Digest::of(b"onnx").as_bytes())
    );
}

#[test]
fn it_verifies_years_later_for_it_is_judged_as_of_its_moment() {
    let scene = Scene::new();
    let envelope = scene.issue();
    let later = scene.now + TimeDelta::days(3 * 365);
    Receipt::verify(&envelope, &scene.contract, &Collateral::empty(), later).unwrap();
}

/// Every leaf of a JSON value, as pointer and a value of the same kind that differs.
fn alterations(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                alterations(value, &format!("{path}/{key}"), out);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                alterations(value, &format!("{path}/{index}"), out);
            }
        }
        Value::String(text) => {
            // A hexadecimal digit or a letter near the end stays one.
            let mut altered = text.clone().into_bytes();
            let at = altered.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
            altered[at] = if altered[at] == b'1' { b'2' } else { b'1' };
            out.push((path.to_owned(), String::from_utf8(altered).unwrap().into()));
        }
        Value::Number(number) => {
            let altered = match number.as_u64() {
                Some(whole) => json!(whole + 1),
                None => json!(number.as_f64().unwrap() * 1.01),
            };
            out.push((path.to_owned(), altered));
        }
        other => panic!("{path}: a receipt has no {other}"),
    }
}

#[test]
fn each_altered_field_is_refused_even_where_the_attested_key_signs_it() {
    let scene = Scene::new();
    let envelope = scene.issue();
    let statement: Value = serde_json::from_slice(envelope.payload()).unwrap();
    let mut list = Vec::new();
    alterations(&statement, "", &mut list);
    assert!(list.len() > 25, "{}", list.len());
    let text = std::str::from_utf8(envelope.payload()).unwrap();
    for (pointer, altered) in list {
        let old = statement.pointer(&pointer).unwrap();
        // In place in the text, so that nothing but this field changes.
        let key = pointer
            .rsplit('/')
            .find(|key| key.parse::<usize>().is_err())
            .unwrap();
        let at = text.find(&format!("\"{key}\":")).unwrap();
        let changed = text[at..].replacen(&old.to_string(), &altered.to_string(), 1);
        let payload = format!("{}{changed}", &text[..at]);
        assert_ne!(payload, text, "{pointer}");

        let mut unsigned: Value = serde_json::from_slice(&envelope.to_json()).unwrap();
        unsigned["payload"] = BASE64.encode(&payload).into();
        let unsigned = Envelope::from_json(unsigned.to_string().as_bytes()).unwrap();
        assert!(scene.verify(&unsigned).is_err(), "{pointer}");
        assert!(
            scene.verify(&scene.sign(payload)).is_err(),
            "{pointer} signed"
        );
    }
}

#[test]
fn every_flipped_byte_of_the_payload_is_refused() {
    let scene = Scene::new();
    let envelope = scene.issue();
    let json: Value = serde_json::from_slice(&envelope.to_json()).unwrap();
    for position in 0..envelope.payload().len() {
        let mut payload = envelope.payload().to_vec();
        payload[position] ^= 1 << (position % 7);
        let mut altered = json.clone();
        altered["payload"] = BASE64.encode(&payload).into();
        let altered = Envelope::from_json(altered.to_string().as_bytes()).unwrap();
        assert!(scene.verify(&altered).is_err(), "{position}");
    }
}

#[test]
fn mallory_cannot_take_over_the_evidence_with_a_key_of_her_own() {
    let scene = Scene::new();
    let mallory = Identity::generate();
    let text = String::from_utf8(scene.issue().payload().to_vec()).unwrap();
    let taken = text.replace(
        &scene.signer.public().to_string(),
        &mallory.public().to_string(),
    );
    let envelope = Envelope::sign(RECEIPT_PAYLOAD_TYPE, taken.into_bytes(), &mallory);
    let error = scene.verify(&envelope).unwrap_err();
    assert!(
        matches!(&error, ReceiptError::Attestation(refusal) if refusal.check() == CheckName::ReportData),
        "{error}"
    );
    let by_mallory = Envelope::sign(
        RECEIPT_PAYLOAD_TYPE,
        scene.issue().payload().to_vec(),
        &mallory,
    );
    assert!(matches!(
        scene.verify(&by_mallory),
        Err(ReceiptError::Signature(_))
    ));
}

#[test]
fn evidence_of_another_statement_of_the_same_program_is_refused() {
    let scene = Scene::new();
    let (first, second) = (
        scene.issue(),
        scene.attested(|predicate| predicate.ledger.clear()),
    );
    let evidence = |envelope: &Envelope| {
        let value: Value = serde_json::from_slice(envelope.payload()).unwrap();
        value["predicate"]["evidence"].as_str().unwrap().to_owned()
    };
    let text = String::from_utf8(first.payload().to_vec()).unwrap();
    let mixed = text.replace(&evidence(&first), &evidence(&second));
    let error = scene.verify(&scene.sign(mixed)).unwrap_err();
    assert!(
        matches!(error, ReceiptError::Attestation(refusal) if refusal.check() == CheckName::ReportData)
    );
}

#[test]
fn another_program_and_another_root_are_refused() {
    let scene = Scene::new();
    let mut other = Scene::new();
    other.contract = scene.contract.clone();
    let error = scene.verify(&other.issue()).unwrap_err();
    assert!(
        matches!(error, ReceiptError::Attestation(refusal) if refusal.check() == CheckName::Root)
    );

    let mut other = Scene::new();
    let root = SimulatedRoot::generate().unwrap();
    let platform = root
        .certify(PlatformConfig::new("cloud", other.now).unwrap())
        .unwrap();
    other.machine = platform.launch(
        Measurement::of_bytes(b"another program"),
        LaunchConfig::default(),
    );
    let policy = Policy::simulated(root.public_key(), [Measurement::of_bytes(b"aggregator")]);
    other.document["attestation"]["aggregator"] = serde_json::to_value(policy).unwrap();
    other.contract = Contract::parse(other.document.to_string().as_bytes()).unwrap();
    let error = other.verify(&other.issue()).unwrap_err();
    assert!(
        matches!(error, ReceiptError::Attestation(refusal) if refusal.check() == CheckName::Measurement)
    );
}

#[test]
fn another_contract_is_refused_by_its_digest() {
    let (scene, other) = (Scene::new(), Scene::new());
    let error = Receipt::verify(
        &scene.issue(),
        &other.contract,
        &Collateral::empty(),
        scene.now,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains(&other.contract.digest().to_string()),
        "{error}"
    );
}

#[test]
fn what_the_contract_does_not_allow_is_refused_though_attested() {
    let scene = Scene::new();
    scene.verify(&scene.attested(|_| {})).unwrap();
    type Change = fn(&mut RawPredicate);
    let cases: [(Change, &str); 14] = [
        (
            |p| p.run = RunNumber::new(3).unwrap(),
            "run is refused: expected a run from 1 to 2, got 3",
        ),
        (|p| p.issued += TimeDelta::hours(1), "issued is refused"),
        (|p| p.issued -= TimeDelta::days(2), "issued is refused"),
        (
            |p| p.datasets[0].manifest = Digest::of(b"x"),
            "datasets[alice/digits].manifest",
        ),
        (|p| p.datasets[1].delta = 1e-6, "datasets[bob/digits].delta"),
        (
            |p| p.datasets[1].steps = 501,
            "datasets[bob/digits].steps is refused: expected at most 500",
        ),
        (
            |p| p.datasets[1].spent_steps = 499,
            "datasets[bob/digits].spent_steps",
        ),
        (
            |p| p.datasets[1].epsilon *= 0.99,
            "datasets[bob/digits].epsilon",
        ),
        (
            |p| p.datasets[1].epsilon = 3.01,
            "3, the contract's limit, got 3.01",
        ),
        (
            |p| p.datasets.swap(0, 1),
            "datasets is refused: expected alice/digits, bob/digits",
        ),
        (|p| drop(p.datasets.pop()), "got alice/digits"),
        (|p| p.code.tee = Tee::SevSnp, "code.tee"),
        (
            |p| p.code.measurement = Some(Measurement::of_bytes(b"x")),
            "code.measurement",
        ),
        (
            |p| p.ledger.push("not base64!".into()),
            "ledger is refused: expected standard base64",
        ),
    ];
    for (change, part) in cases {
        scene.refuses(&scene.attested(change), part);
    }
    // A looser bound than the tightest is honest, and so is a platform that does not know its program's measurement.
    scene
        .verify(&scene.attested(|p| p.datasets[0].epsilon *= 1.01))
        .unwrap();
    scene
        .verify(&scene.attested(|p| p.code.measurement = None))
        .unwrap();
}

#[test]
fn another_layout_of_the_same_statement_is_refused() {
    let scene = Scene::new();
    let payload = scene.issue().payload().to_vec();
    let value: Value = serde_json::from_slice(&payload).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    scene.refuses(&scene.sign(pretty), "the last field of the statement");
    let text = String::from_utf8(payload).unwrap();
    let spaced = text.replacen(",\"subject\"", ", \"subject\"", 1);
    assert!(matches!(
        scene.verify(&scene.sign(spaced)),
        Err(ReceiptError::Attestation(_))
    ));
    let unknown = text.replacen("{\"_type\"", "{\"more\":1,\"_type\"", 1);
    assert!(matches!(
        scene.verify(&scene.sign(unknown)),
        Err(ReceiptError::Json(_))
    ));
    let other_kind = text.replacen("Statement/v1", "Statement/v2", 1);
    scene.refuses(&scene.sign(other_kind), "_type is refused");
    let other_predicate = text.replacen("receipt/v1", "receipt/v2", 1);
    scene.refuses(&scene.sign(other_predicate), "predicateType is refused");
    let fewer = text.replacen("\"name\":\"model.onnx\"", "\"name\":\"model.on\"", 1);
    scene.refuses(&scene.sign(fewer), "subject is refused");
    let envelope = Envelope::sign(
        "application/json",
        scene.issue().payload().to_vec(),
        &scene.signer,
    );
    assert!(matches!(
        scene.verify(&envelope),
        Err(ReceiptError::Envelope(_))
    ));
}

#[test]
fn a_summary_that_does_not_fit_the_contract_gets_no_receipt() {
    let scene = Scene::new();
    let alice: DatasetRef = scene.contract.datasets().next().unwrap().0;
    let issue = |change: &dyn Fn(&mut RunSummary<'_>)| {
        let mut summary = scene.summary();
        change(&mut summary);
        scene.issue_for(&summary).unwrap_err().to_string()
    };
    let missing = issue(&|summary| {
        summary.datasets.remove(&alice);
    });
    assert!(
        missing.contains("expected alice/digits, got none"),
        "{missing}"
    );
    let unknown = issue(&|summary| {
        let stranger = DatasetRef {
            name: "letters".parse().unwrap(),
            ..alice.clone()
        };
        summary.datasets.insert(
            stranger,
            DatasetUse {
                steps: 1,
                spent_steps: 1,
            },
        );
    });
    assert!(unknown.contains("got alice/letters"), "{unknown}");
    let beyond = issue(&|summary| {
        summary.datasets.insert(
            alice.clone(),
            DatasetUse {
                steps: 500,
                spent_steps: 1_000_000,
            },
        );
    });
    assert!(beyond.contains("the contract's limit"), "{beyond}");
    let large = issue(&|summary| summary.ledger = vec![vec![0; RECEIPT_SIZE_LIMIT]]);
    assert!(large.contains("at most"), "{large}");
    let many = issue(&|summary| summary.ledger = vec![Vec::new(); RECEIPT_LEDGER_LIMIT + 1]);
    assert!(many.contains("65 receipts"), "{many}");
}

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);
static ISSUED: LazyLock<Envelope> = LazyLock::new(|| SCENE.issue());

proptest! {
    #[test]
    fn any_signed_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(SCENE.verify(&SCENE.sign(bytes)).is_err());
    }

    #[test]
    fn bytes_put_into_a_statement_are_refused_without_panic(at in 0usize..2000, bytes in proptest::collection::vec(any::<u8>(), 1..20)) {
        let mut payload = ISSUED.payload().to_vec();
        let at = at.min(payload.len());
        payload.splice(at..at, bytes);
        prop_assert!(SCENE.verify(&SCENE.sign(payload)).is_err());
    }
}
