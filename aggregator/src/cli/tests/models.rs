//! What a run leaves: receipts checked, models opened and measured.

use std::collections::BTreeMap;

use chrono::Utc;
use serde_json::{Value, json};
use tributary_attest::{LaunchConfig, PlatformConfig};
use tributary_console::Exit;
use tributary_idx::{IdxEncoding, write_idx_images, write_idx_labels};
use tributary_protocol::{
    Contract, DatasetUse, Digest, Identity, ModelArchive, NoiseStatic, Receipt, RunNumber,
    RunSummary, SealedFor, SealingKey, SequenceNumber, seal_model,
};

use super::federation::registered;
use super::scene::{AGGREGATOR_PROGRAM, Scene, measurement};
use crate::home::ConsumerHome;

/// What an aggregator did at the end of a run, with what a test wants otherwise.
struct Ending<'a> {
    program: &'a [u8],
    run: RunNumber,
    recipient: Option<SealingKey>,
    sealer: Option<NoiseStatic>,
    proof: bool,
}

impl Default for Ending<'_> {
    fn default() -> Self {
        Self {
            program: AGGREGATOR_PROGRAM,
            run: RunNumber::FIRST,
            recipient: None,
            sealer: None,
            proof: true,
        }
    }
}

/// A scene with a registered contract whose first run ended.
fn ended() -> Scene {
    let (scene, _) = registered("");
    end(&scene, Ending::default());
    scene
}

/// Writes `model.sealed` and `receipt.dsse` of a run into the consumer's home.
fn end(scene: &Scene, ending: Ending<'_>) {
    let home = ConsumerHome::open(&scene.path("tdc")).unwrap();
    let registered = home.contract(SequenceNumber::FIRST).unwrap();
    let contract = registered.signed.contract();
    let model = ModelArchive::new(
        scene.read("mnist.onnx"),
        b"weights".to_vec(),
        b"{}".to_vec(),
    )
    .unwrap();
    let noise = NoiseStatic::generate();
    let purpose = SealedFor {
        contract: contract.digest(),
        run: ending.run,
    };
    let recipient = ending
        .recipient
        .as_ref()
        .unwrap_or(&contract.document().sealing_key);
    let sealed = seal_model(
        &model,
        recipient,
        ending.sealer.as_ref().unwrap_or(&noise),
        &purpose,
        Vec::new(),
    )
    .unwrap();
    let summary = RunSummary {
        number: registered.number,
        run: ending.run,
        datasets: used(contract),
        model: &model,
        noise_key: noise.public(),
        ledger: if ending.proof {
            vec![serde_json::to_vec(&registered.receipt).unwrap()]
        } else {
            Vec::new()
        },
    };
    let platform = scene
        .root
        .certify(PlatformConfig::new("tdc", Utc::now()).unwrap())
        .unwrap();
    // What would be refused is issued under a contract that allows it.
    let machine = platform.launch(measurement(ending.program), LaunchConfig::default());
    let receipt = Receipt::issue(
        &summary,
        contract,
        &machine,
        &Identity::generate(),
        Utc::now(),
    )
    .unwrap();
    let folder = home.run_path(registered.number, ending.run);
    tributary_durable::create_private_folder(&folder).unwrap();
    std::fs::write(folder.join("model.sealed"), sealed).unwrap();
    std::fs::write(folder.join("receipt.dsse"), receipt.to_json()).unwrap();
}

fn used(contract: &Contract) -> BTreeMap<tributary_protocol::DatasetRef, DatasetUse> {
    let steps = contract.steps().get();
    contract
        .datasets()
        .map(|(id, _)| {
            (
                id,
                DatasetUse {
                    steps,
                    spent_steps: steps,
                },
            )
        })
        .collect()
}

const UNSEAL: &str =
    "unseal --contract 1 --run 1 --out DIR/model --home HOME --passphrase-file PASS";

#[test]
fn the_consumer_opens_the_model_of_its_run() {
    let scene = ended();
    let opened = scene.ok(UNSEAL);
    assert_eq!((&opened["number"], &opened["run"]), (&json!(1), &json!(1)));
    assert!(opened["epsilon"]["alice/digits"].as_f64().unwrap() <= 3.0);
    assert_eq!(scene.read("model/model.onnx"), scene.read("mnist.onnx"));
    assert_eq!(scene.read("model/model.safetensors"), b"weights");
    // By file, with the contract found by the receipt.
    let copy = scene.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["model.sealed", "receipt.dsse"] {
        std::fs::copy(scene.path("tdc/runs/1-1").join(name), copy.join(name)).unwrap();
    }
    scene.ok("unseal DIR/copy/model.sealed --out DIR/again --home HOME --passphrase-file PASS");
    assert_eq!(scene.read("again/metrics.json"), b"{}");
}

#[test]
fn a_sealed_model_that_was_altered_cut_or_exchanged_writes_nothing() {
    let scene = ended();
    let sealed = scene.read("tdc/runs/1-1/model.sealed");
    let check = |bytes: &[u8], code: &str| {
        scene.put("tdc/runs/1-1/model.sealed", bytes);
        scene.run(UNSEAL).error(Exit::Failure, code);
        assert!(!scene.path("model").exists());
    };
    for position in [300, 1200, sealed.len() - 20] {
        let mut altered = sealed.clone();
        altered[position] ^= 1;
        check(&altered, "sealed-altered");
    }
    check(&sealed[..sealed.len() - 100], "sealed-altered");
    check(&sealed[..20], "sealed-altered");
    check(b"nothing of the kind", "sealed-altered");
}

#[test]
fn a_model_for_another_key_or_from_another_sender_is_refused() {
    let (scene, _) = registered("");
    scene.ok("init --home DIR/other --party other --passphrase-file PASS");
    let other = ConsumerHome::open(&scene.path("other"))
        .unwrap()
        .sealing_key()
        .unwrap();
    end(
        &scene,
        Ending {
            recipient: Some(other),
            ..Ending::default()
        },
    );
    scene.run(UNSEAL).error(Exit::Failure, "sealed-wrong-key");
    end(
        &scene,
        Ending {
            sealer: Some(NoiseStatic::generate()),
            ..Ending::default()
        },
    );
    scene
        .run(UNSEAL)
        .error(Exit::Failure, "sealed-wrong-sender");
    scene.put("wrong", b"another\n");
    end(&scene, Ending::default());
    scene
        .run(&UNSEAL.replace("PASS", "DIR/wrong"))
        .error(Exit::Failure, "passphrase-wrong");
    assert!(!scene.path("model").exists());
}

#[test]
fn model_and_receipt_of_two_runs_do_not_open() {
    let (scene, _) = registered("--runs 2 --steps 20");
    end(&scene, Ending::default());
    end(
        &scene,
        Ending {
            run: RunNumber::FIRST.next(),
            ..Ending::default()
        },
    );
    std::fs::copy(
        scene.path("tdc/runs/1-2/model.sealed"),
        scene.path("tdc/runs/1-1/model.sealed"),
    )
    .unwrap();
    scene
        .run(UNSEAL)
        .error(Exit::Failure, "sealed-wrong-contract");
    std::fs::copy(
        scene.path("tdc/runs/1-2/receipt.dsse"),
        scene.path("tdc/runs/1-1/receipt.dsse"),
    )
    .unwrap();
    scene
        .run(UNSEAL)
        .error(Exit::Failure, "sealed-wrong-contract");
    scene
        .run(&UNSEAL.replace("--run 1", "--run 3"))
        .error(Exit::Failure, "file-missing");
    scene
        .run("unseal --contract DIR/contract.dsse --run 1 --out DIR/model --home HOME --passphrase-file PASS")
        .error(Exit::Usage, "usage");
}

#[test]
fn a_receipt_verifies_offline_against_the_contract() {
    let scene = ended();
    for line in [
        "receipt verify DIR/tdc/runs/1-1/receipt.dsse --home HOME",
        "receipt verify DIR/tdc/runs/1-1/receipt.dsse --contract DIR/contract.dsse",
        "receipt verify DIR/tdc/runs/1-1/receipt.dsse --contract 1 --home HOME --ledger-receipt DIR/tdc/contracts/1/receipt",
    ] {
        let verified = scene.ok(line);
        assert_eq!(verified["number"], 1);
        assert_eq!(verified["ledger"]["cosigners"], json!(["alice"]));
        assert_eq!(verified["datasets"][1]["owner"], "bob");
        assert_eq!(
            verified["model"][0]["digest"],
            json!(Digest::of(&scene.read("mnist.onnx")))
        );
    }
    let said =
        scene.say("receipt verify DIR/tdc/runs/1-1/receipt.dsse --contract DIR/contract.dsse");
    assert!(
        said.stdout.contains("the receipt holds") && said.stderr.contains("SIMULATED"),
        "{said:?}"
    );
}

#[test]
fn a_receipt_without_the_ledgers_proof_needs_one() {
    let (scene, _) = registered("");
    end(
        &scene,
        Ending {
            proof: false,
            ..Ending::default()
        },
    );
    let line = "receipt verify DIR/tdc/runs/1-1/receipt.dsse --home HOME";
    scene
        .run(line)
        .error(Exit::LedgerUnavailable, "ledger-proof-refused");
    scene.ok(&format!(
        "{line} --ledger-receipt DIR/tdc/contracts/1/receipt"
    ));
    scene
        .run(&format!("{line} --ledger-receipt DIR/pass"))
        .error(Exit::LedgerUnavailable, "ledger-proof-refused");
}

#[test]
fn a_receipt_that_does_not_hold_is_refused() {
    let scene = ended();
    let line = "receipt verify DIR/receipt.dsse --contract DIR/contract.dsse";
    let envelope: Value = serde_json::from_slice(&scene.read("tdc/runs/1-1/receipt.dsse")).unwrap();
    let base64 = &base64::engine::general_purpose::STANDARD;
    let payload = base64::Engine::decode(base64, envelope["payload"].as_str().unwrap()).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let mut altered = envelope.clone();
    altered["payload"] =
        base64::Engine::encode(base64, payload.replacen("alice", "carol", 1)).into();
    scene.put("receipt.dsse", altered.to_string().as_bytes());
    scene.run(line).error(Exit::Failure, "receipt-refused");
    scene.put("receipt.dsse", b"{}");
    scene.run(line).error(Exit::Failure, "receipt-refused");

    // A contract of the same parties that another run belongs to.
    scene.put("receipt.dsse", envelope.to_string().as_bytes());
    scene.ok(&format!(
        "{} --runs 2",
        super::scene::NEW.replace("contract.dsse", "other.dsse")
    ));
    scene.sign("other.dsse");
    scene
        .run(&line.replace("contract.dsse", "other.dsse"))
        .error(Exit::Failure, "receipt-refused");
    scene
        .run("receipt verify DIR/receipt.dsse")
        .error(Exit::ContractRefused, "contract-unknown");
    let mut unsigned: Value = serde_json::from_slice(&scene.read("contract.dsse")).unwrap();
    unsigned["signatures"].as_array_mut().unwrap().pop();
    scene.put("unsigned.dsse", unsigned.to_string().as_bytes());
    scene
        .run(&line.replace("contract.dsse", "unsigned.dsse"))
        .error(Exit::ContractRefused, "contract-unsigned");
}

#[test]
fn a_receipt_of_another_program_is_refused() {
    let (scene, _) = registered("");
    end(
        &scene,
        Ending {
            program: b"another program",
            ..Ending::default()
        },
    );
    scene
        .run("receipt verify DIR/tdc/runs/1-1/receipt.dsse --home HOME")
        .error(Exit::AttestationRefused, "measurement-refused");
    scene
        .run(UNSEAL)
        .error(Exit::AttestationRefused, "measurement-refused");
    assert!(!scene.path("model").exists());
}

#[test]
fn a_model_is_measured_class_by_class() {
    let scene = Scene::with_contract("");
    let pixels: Vec<u8> = (0..20 * 784).map(|index| (index % 256) as u8).collect();
    let labels: Vec<u8> = (0..20).map(|index| index % 10).collect();
    write_idx_images(&scene.path("images.gz"), 28, 28, &pixels, IdxEncoding::Gzip).unwrap();
    write_idx_labels(&scene.path("labels.gz"), &labels, IdxEncoding::Gzip).unwrap();
    let line = "evaluate --model DIR/mnist.onnx --images DIR/images.gz --labels DIR/labels.gz";
    let by_contract = scene.ok(&format!("{line} --contract DIR/contract.dsse"));
    let by_flags = scene.ok(&format!("{line} --divisor 127.5 --mean 1"));
    assert_eq!(by_contract, by_flags);
    assert_eq!(by_contract["examples"], 20);
    assert_eq!(by_contract["classes"].as_array().unwrap().len(), 10);
    assert!((0.0..=1.0).contains(&by_contract["accuracy"].as_f64().unwrap()));
    let found = &by_contract["metrics"]["classification"];
    assert_eq!(found["accuracy"], by_contract["accuracy"]);
    assert_eq!(found["confusion"].as_array().unwrap().len(), 10);
    assert_eq!(found["top_k"][0]["accuracy"], by_contract["accuracy"]);
    assert!(found["macro_roc_auc"].is_number() && by_contract["classes"][3]["pr_auc"].is_number());
    scene.run(line).error(Exit::Usage, "usage");
    scene
        .run(&format!("{line} --divisor 0"))
        .error(Exit::Usage, "usage");
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let scene = Scene::new();
    write_idx_images(&scene.path("small"), 14, 14, &[0; 196], IdxEncoding::Plain).unwrap();
    write_idx_images(&scene.path("images"), 28, 28, &[0; 784], IdxEncoding::Plain).unwrap();
    write_idx_labels(&scene.path("label"), &[1], IdxEncoding::Plain).unwrap();
    write_idx_labels(&scene.path("labels"), &[1, 2], IdxEncoding::Plain).unwrap();
    write_idx_labels(&scene.path("large"), &[10], IdxEncoding::Plain).unwrap();
    let cut = scene.read("images");
    scene.put("cut", &cut[..cut.len() - 1]);
    let check = |images: &str, labels: &str, words: &str| {
        let line = format!(
            "evaluate --model DIR/mnist.onnx --images DIR/{images} --labels DIR/{labels} --divisor 255"
        );
        let error = scene.run(&line).error(Exit::Failure, "data-invalid");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error:#}"
        );
    };
    check("small", "label", "14x14");
    check("images", "labels", "expected as many of each");
    check("cut", "label", "truncated");
    check("images", "large", "label 10");
    check("label", "label", "expected IDX images");
    scene
        .run("evaluate --model DIR/pass --images DIR/images --labels DIR/label --divisor 255")
        .error(Exit::Failure, "model-unsupported");
}

#[test]
fn model_check_lists_the_layers_of_a_model_and_all_that_is_refused() {
    let scene = Scene::bare();
    scene.ok("model new mnist-cnn --seed 1 --out DIR/mnist.onnx");
    let checked = scene.ok("model check DIR/mnist.onnx --batch 3 --threads 1");
    let measured = &checked["measured"];
    assert_eq!(measured["batch"], 3);
    assert_eq!(measured["threads"], 1);
    for mode in ["private", "plain"] {
        assert!(measured[mode]["seconds"].as_f64().unwrap() > 0.0);
        assert!(measured[mode]["memory"].as_u64().unwrap() > 1 << 20);
    }
    let said = scene.say("model check DIR/mnist.onnx --batch 3 --threads 1");
    assert!(
        said.stdout
            .contains("a step of 3 examples with 1 threads, measured on this machine now"),
        "{said:?}"
    );
    let listed = scene.ok("model check DIR/mnist.onnx --without-measuring");
    assert_eq!(listed["measured"], Value::Null);
    for more in [
        "--batch 0",
        "--batch 1000000000",
        "--without-measuring --batch 2",
    ] {
        scene
            .run(&format!("model check DIR/mnist.onnx {more}"))
            .error(Exit::Usage, "usage");
    }
    assert_eq!(checked["input"], "1x28x28");
    assert_eq!(checked["parameters"], 26_010);
    assert_eq!(checked["layers"][0]["operator"], "Conv");
    assert_eq!(checked["tensors"][0]["name"], "conv1.weight");

    // The same file with other operators of as many letters: two of them are not supported.
    let mut model = scene.read("mnist.onnx");
    let mut changed = 0;
    for start in 0..model.len() - 4 {
        if changed < 2 && model[start..].starts_with(b"\x22\x04Tanh") {
            model[start + 2..start + 6].copy_from_slice(b"Selu");
            changed += 1;
        }
    }
    assert_eq!(changed, 2);
    scene.put("other.onnx", &model);
    let error = scene
        .run("model check DIR/other.onnx")
        .error(Exit::Failure, "model-unsupported");
    let reasons = error["details"].as_array().unwrap();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(
        reasons
            .iter()
            .all(|reason| reason.as_str().unwrap().contains("Selu"))
    );
}
