//! Homes, models, and contracts before they are registered.

use serde_json::{Value, json};
use tributary_attest::{Policy, TdxPolicy};
use tributary_console::Exit;
use tributary_protocol::{Authorisation, Identity, OfferedEntities, SignedContract};

use super::scene::{AGENT_PROGRAM, NEW, Scene, measurement, offer};

#[test]
fn a_home_is_made_once_and_opens_with_its_passphrase_only() {
    let scene = Scene::bare();
    let made = scene.ok("init --home HOME --party tdc --passphrase-file PASS");
    assert_eq!(made["party"], "tdc");
    assert!(made["key"].as_str().unwrap().starts_with("ed25519:"));
    assert!(!made["simulated"].as_bool().unwrap());
    let before = scene.read("tdc/sealing.key");
    scene
        .run("init --home HOME --party tdc --passphrase-file PASS")
        .error(Exit::Failure, "file-exists");
    assert_eq!(scene.read("tdc/sealing.key"), before);
    scene.put("wrong", b"another\n");
    scene.ok("model new mnist-cnn --out DIR/mnist.onnx");
    scene
        .run(&NEW.replace("--passphrase-file PASS", "--passphrase-file DIR/wrong"))
        .error(Exit::Failure, "passphrase-wrong");
}

#[test]
fn a_home_that_cannot_be_finished_leaves_nothing_behind() {
    let scene = Scene::bare();
    scene
        .run("init --home HOME --party tdc --passphrase-file PASS --simulated DIR/nowhere")
        .error(Exit::Failure, "file-missing");
    assert!(!scene.path("tdc").exists());
    scene
        .run("init --home HOME --party Tdc --passphrase-file PASS")
        .error(Exit::Usage, "usage");
    scene
        .run("init --home HOME --party tdc --passphrase-file DIR/nowhere")
        .error(Exit::Failure, "file-missing");
}

#[test]
fn a_seed_fixes_the_model_and_a_file_is_not_overwritten() {
    let scene = Scene::bare();
    let first = scene.ok("model new mnist-cnn --seed 7 --out DIR/a.onnx");
    let again = scene.ok("model new mnist-cnn --seed 7 --out DIR/b.onnx");
    let other = scene.ok("model new mnist-cnn --out DIR/c.onnx");
    assert_eq!(first["digest"], again["digest"]);
    assert_ne!(first["digest"], other["digest"]);
    scene
        .run("model new mnist-cnn --out DIR/a.onnx")
        .error(Exit::Failure, "file-exists");
    for name in [
        "mnist-cnn-relu",
        "mnist-scatter",
        "lenet",
        "unet",
        "resnet18gn",
    ] {
        let made = scene.ok(&format!("model new {name} --seed 1 --out DIR/{name}.onnx"));
        assert_eq!(made["network"], name);
    }
    scene
        .run("model new resnet --out DIR/d.onnx")
        .error(Exit::Usage, "usage");
}

#[test]
fn a_contract_is_what_was_asked_for_and_lacks_the_providers_signatures_only() {
    let scene = Scene::new();
    let written = scene.ok(NEW);
    assert_eq!(written["missing"], json!(["alice", "bob"]));
    let document = &written["contract"];
    assert_eq!(document["purpose"], "Read digits");
    assert_eq!(document["ledger"]["members"], json!(["alice"]));
    assert_eq!(document["datasets"][1]["records"], 600);
    // Only the columns that are read; the third stays in the vault.
    assert_eq!(
        document["datasets"][0]["columns"].as_array().unwrap().len(),
        2
    );
    let refused = scene
        .run("contract validate DIR/contract.dsse --home HOME")
        .error(Exit::ContractRefused, "contract-unfit");
    assert_eq!(codes(&refused), ["contract-unsigned"]);
    assert!(refused["message"].as_str().unwrap().contains("alice, bob"));
    scene.sign("contract.dsse");
    assert_eq!(
        scene.ok("contract validate DIR/contract.dsse --home HOME")["valid"],
        true
    );
}

#[test]
fn noise_that_is_left_out_is_the_least_that_keeps_all_runs_within_epsilon() {
    let scene = Scene::new();
    scene.ok(&format!("{NEW} --runs 3"));
    let contract = scene.contract("contract.dsse");
    for dataset in contract.contract().plan().unwrap().datasets {
        assert!(dataset.all_runs <= dataset.limit);
        assert!(dataset.all_runs.get() > 2.99, "{}", dataset.all_runs);
    }
}

#[test]
fn flags_win_over_the_recipe_and_without_it_all_that_is_missing_is_named() {
    let scene = Scene::new();
    let flags = "--steps 50 --learning-rate 0.25 --optimiser adam --mean 0.5 --runs 2 --valid-days 3 --ledger bob --without-metrics";
    let written = scene.ok(&format!("{NEW} {flags}"));
    let document = &written["contract"];
    assert_eq!(document["pipeline"]["steps"], 50);
    assert_eq!(document["pipeline"]["optimiser"]["kind"], "adam");
    assert_eq!(document["pipeline"]["optimiser"]["learning_rate"], 0.25);
    assert_eq!(document["pipeline"]["input"]["mean"], 0.5);
    assert_eq!(document["ledger"]["members"], json!(["bob"]));
    assert_eq!(document["disclosure"]["metrics"], "none");
    let bare = NEW
        .replace("--recipe mnist", "")
        .replace("contract.dsse", "other.dsse");
    let refused = scene.run(&bare).error(Exit::Usage, "usage");
    for flag in [
        "--sampling-rate",
        "--clipping-norm",
        "--steps",
        "--delta",
        "--divisor",
        "--mean",
        "--deviation",
        "--learning-rate",
    ] {
        assert!(
            refused["message"].as_str().unwrap().contains(flag),
            "{flag}"
        );
    }
    scene
        .run(&NEW.replace("--recipe mnist", "--recipe imagenet"))
        .error(Exit::Usage, "usage");
}

#[test]
fn what_is_asked_of_training_stands_in_the_contract() {
    let scene = Scene::new();
    let flags = "--optimiser nesterov --learning-rate 0.1 --momentum 0.8 --weight-decay 0.001 --schedule cosine \
                 --warm-up 4 --ema 0.9";
    let loss = r#"--loss {"huber":{"delta":0.5}}"#;
    let written = scene.ok(&format!("{NEW} {flags} {loss}"));
    let pipeline = &written["contract"]["pipeline"];
    assert_eq!(pipeline["loss"], json!({"huber": {"delta": 0.5}}));
    assert_eq!(
        pipeline["optimiser"],
        json!({"kind": "sgd", "learning_rate": 0.1, "momentum": 0.8, "nesterov": true, "weight_decay": 0.001})
    );
    assert_eq!(
        pipeline["schedule"],
        json!({"warm_up": {"steps": 4, "from": 0.2}, "course": {"kind": "cosine", "end": 0.0}})
    );
    assert_eq!(pipeline["average"], json!({"decay": 0.9}));
    let other = NEW.replace("contract.dsse", "other.dsse");
    for bad in [
        "--loss hinge",
        "--optimiser lbfgs",
        "--schedule linear",
        "--recipe DIR/none.toml",
    ] {
        scene
            .run(&format!("{} {bad}", other.replace("--recipe mnist", "")))
            .error(Exit::Usage, "usage");
    }
    check_refused(
        &Scene::new(),
        &format!("{NEW} --ema 1"),
        "contract-invalid",
        "pipeline.average.decay",
    );
}

#[test]
fn entities_are_protected_where_every_offer_counts_them() {
    let scene = Scene::new();
    let unit = "--entity note --entity-rows 3";
    check_refused(
        &scene,
        &format!("{NEW} {unit}"),
        "contract-invalid",
        "alice/digits to count the entities of its column `note`, it counts none",
    );
    let count = |owner: &str, identity: &Identity, rows: u64, column: &str| {
        let entities = OfferedEntities {
            column: column.parse().unwrap(),
            count: rows / 4,
        };
        let offer = offer(owner, identity, rows, 28).with_entities(entities);
        scene.put(&format!("{owner}.json"), &offer.unwrap().to_json());
    };
    count("alice", &scene.alice, 400, "note");
    count("bob", &scene.bob, 600, "label");
    check_refused(
        &scene,
        &format!("{NEW} {unit}"),
        "contract-invalid",
        "it counts those of `label`",
    );
    count("bob", &scene.bob, 600, "note");
    for (flags, words) in [
        ("--entity pixels --entity-rows 3", "image, label, note"),
        ("--entity note --entity-rows 0", "privacy.unit.entity.rows"),
    ] {
        check_refused(&scene, &format!("{NEW} {flags}"), "contract-invalid", words);
    }
    scene
        .run(&format!("{NEW} --entity note"))
        .error(Exit::Usage, "usage");

    let written = scene.ok(&format!("{NEW} {unit}"));
    let document = &written["contract"];
    assert_eq!(
        document["privacy"]["unit"],
        json!({"entity": {"column": {"name": "note", "type": {"utf8": {"max_bytes": 80}}}, "rows": 3}})
    );
    assert_eq!(document["datasets"][0]["entities"], 100);
    assert_eq!(document["datasets"][1]["entities"], 150);
    // Who they are is not streamed.
    assert_eq!(
        document["datasets"][0]["columns"].as_array().unwrap().len(),
        2
    );
    let contract = scene.contract("contract.dsse");
    for dataset in contract.contract().plan().unwrap().datasets {
        assert!(dataset.all_runs <= dataset.limit && dataset.all_runs.get() > 2.99);
    }
    let shown = scene.say("contract show DIR/contract.dsse");
    for words in [
        "entity by `note`, with at most 3 records",
        "400 of 100 entities",
    ] {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }
    let plan = scene.ok("plan --contract DIR/contract.dsse --home HOME --threads 1");
    let dataset = &plan["datasets"][0];
    assert!(dataset["expected_batch"].as_f64().unwrap() > 0.0);
}

#[test]
fn clipping_is_a_mode_by_name_or_with_settings() {
    let scene = Scene::new();
    let mut file = 0;
    let mut clipping = |flags: &str| {
        file += 1;
        let line = NEW.replace("contract.dsse", &format!("{file}.dsse"));
        scene.ok(&format!("{line} {flags}"))["contract"]["privacy"].clone()
    };
    assert!(clipping("").get("clipping").is_none());
    assert_eq!(clipping("--clipping per-layer")["clipping"], "per-layer");
    assert_eq!(
        clipping("--clipping automatic")["clipping"],
        json!({"automatic": {"stability": 0.01}})
    );
    // A twentieth of the average batch would be 5.
    let adaptive = clipping("--clipping adaptive --sampling-rate 0.1 --noise-multiplier 8");
    assert_eq!(
        adaptive["clipping"],
        json!({"adaptive": {"quantile": 0.5, "learning_rate": 0.2, "count_noise": 8.0}})
    );
    assert_eq!(
        clipping(r#"--clipping {"automatic":{"stability":0.5}}"#)["clipping"],
        json!({"automatic": {"stability": 0.5}})
    );
    let shown = scene.say(&format!("contract show DIR/{file}.dsse"));
    assert!(
        shown.stdout.contains("clipping: {\"automatic\""),
        "{}",
        shown.stdout
    );
    scene
        .run(&format!("{NEW} --clipping hard"))
        .error(Exit::Usage, "usage");
    let quiet = "divisor = 255.0\nmean = 0.5\ndeviation = 0.5\nsampling_rate = 0.05\nclipping_norm = 1.5\nsteps = 9\n\
                 delta = 1e-5\nloss = \"mse\"\noptimiser = { kind = \"sgd\", learning_rate = 0.1, momentum = 0.9 }\n\
                 [clipping.adaptive]\nquantile = 0.5\nlearning_rate = 0.2\ncount_noise = 0.1\n";
    scene.put("quiet.toml", quiet.as_bytes());
    let line = NEW.replace("--recipe mnist", "--recipe DIR/quiet.toml");
    check_refused(
        &scene,
        &format!("{line} --noise-multiplier 1"),
        "contract-invalid",
        "privacy.clipping.adaptive.count_noise",
    );
}

#[test]
fn a_recipe_can_be_a_file() {
    let scene = Scene::new();
    let recipe = "divisor = 255.0\nmean = 0.5\ndeviation = 0.5\nsampling_rate = 0.05\nclipping_norm = 1.5\nsteps = 9\n\
                  delta = 1e-5\nclipping = { automatic = { stability = 0.5 } }\nloss = \"mse\"\n[optimiser]\nkind = \"rmsprop\"\nlearning_rate = 0.01\ndecay = 0.9\n\
                  epsilon = 1e-8\nmomentum = 0.0\n";
    scene.put("own.toml", recipe.as_bytes());
    let line = NEW.replace("--recipe mnist", "--recipe DIR/own.toml");
    let written = scene.ok(&format!("{line} --steps 7"));
    let document = &written["contract"];
    assert_eq!(document["pipeline"]["steps"], 7);
    assert_eq!(document["pipeline"]["loss"], "mse");
    assert_eq!(document["pipeline"]["optimiser"]["kind"], "rmsprop");
    assert_eq!(document["privacy"]["clipping_norm"], 1.5);
    assert_eq!(
        document["privacy"]["clipping"],
        json!({"automatic": {"stability": 0.5}})
    );
}

#[test]
fn policies_come_from_files_and_those_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    let mut policy = Policy {
        tdx: Some(TdxPolicy::baseline()),
        ..Policy::simulated(scene.root.public_key(), [measurement(b"another program")])
    };
    let line = NEW.replace(
        "--aggregator-program DIR/aggregator-program",
        "--aggregator-policy DIR/policy.json",
    );
    let put = |policy: &Value| scene.put("policy.json", policy.to_string().as_bytes());
    put(&json!({"tees": ["simulated"]}));
    check_refused(&scene, &line, "contract-invalid", "missing field");
    policy.sev_snp = None;
    policy.tdx = None;
    put(&json!(policy));
    check_refused(&scene, &line, "contract-invalid", "no section");
    policy.tdx = Some(TdxPolicy::baseline());
    put(&json!(policy));
    scene
        .run(&format!(
            "{line} --aggregator-program DIR/aggregator-program"
        ))
        .error(Exit::Usage, "usage");
    let without_root = line.replace("--simulated-root ROOT/root.pub", "");
    scene.run(&without_root).error(Exit::Usage, "usage");

    let written = scene.ok(&line);
    let attestation = &written["contract"]["attestation"];
    assert_eq!(attestation["aggregator"], json!(policy));
    assert_eq!(
        attestation["agents"],
        json!(Policy::simulated(
            scene.root.public_key(),
            [measurement(AGENT_PROGRAM)]
        ))
    );
    let shown = scene.say("contract show DIR/contract.dsse");
    for words in [
        "tdx.tcb_statuses: UpToDate",
        "sev_snp.guest_policy.migration_agent: forbidden",
        "any, not looked at: ",
        "sev_snp.chip_ids",
    ] {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }

    // With policies for both, no root is needed.
    let both = without_root
        .replace(
            "--agent-program DIR/agent-program",
            "--agent-policy DIR/policy.json",
        )
        .replace("contract.dsse", "hardware.dsse");
    let written = scene.ok(&both);
    assert_eq!(written["contract"]["attestation"]["agents"], json!(policy));
}

/// What `contract new` refuses, and with which words; nothing is written.
fn check_refused(scene: &Scene, line: &str, code: &str, words: &str) {
    let ran = scene.run(line);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    let error = &value["error"];
    assert_eq!(error["code"], code, "{value:#}");
    assert!(
        error["message"].as_str().unwrap().contains(words),
        "{value:#}"
    );
    assert!(!scene.path("contract.dsse").exists());
}

#[test]
fn offers_that_do_not_hold_or_do_not_fit_each_other_are_refused() {
    let scene = Scene::new();
    let altered = String::from_utf8(scene.read("alice.json")).unwrap();
    let mallory = Identity::generate();
    scene.put(
        "altered.json",
        altered
            .replace(
                &scene.alice.public().to_string(),
                &mallory.public().to_string(),
            )
            .as_bytes(),
    );
    scene.put(
        "impostor.json",
        &offer("alice", &mallory, 400, 28).to_json(),
    );
    scene.put("small.json", &offer("bob", &scene.bob, 600, 14).to_json());
    let with_bob = |file: &str| NEW.replace("bob.json", file);
    check_refused(
        &scene,
        &with_bob("altered.json"),
        "contract-invalid",
        "not signed by its owner's key",
    );
    check_refused(
        &scene,
        &with_bob("impostor.json"),
        "contract-invalid",
        "expected one key of alice",
    );
    check_refused(
        &scene,
        &with_bob("alice.json"),
        "contract-invalid",
        "two offers of alice/digits",
    );
    check_refused(
        &scene,
        &with_bob("small.json"),
        "contract-invalid",
        "bob/digits has image-u8 14x14x1",
    );
    check_refused(
        &scene,
        &with_bob("pass"),
        "contract-invalid",
        "expected the JSON of an offer",
    );
    check_refused(
        &scene,
        &with_bob("nowhere.json"),
        "file-missing",
        "nowhere.json",
    );
    check_refused(
        &scene,
        &format!("{NEW} --input pixels"),
        "contract-invalid",
        "image, label, note",
    );
    check_refused(
        &scene,
        &format!("{NEW} --label note"),
        "contract-invalid",
        "expected labels",
    );
    check_refused(
        &scene,
        &format!("{NEW} --classes 9"),
        "contract-invalid",
        "expected no number of classes, or 10",
    );
}

#[test]
fn a_contract_that_could_not_be_trained_is_not_written() {
    let scene = Scene::new();
    check_refused(
        &scene,
        &format!("{NEW} --noise-multiplier 0.5"),
        "contract-unfit",
        "epsilon",
    );
    check_refused(
        &scene,
        &NEW.replace("--epsilon 3", "--epsilon 0"),
        "contract-invalid",
        "epsilon",
    );
    check_refused(
        &scene,
        &format!("{NEW} --ledger carol"),
        "contract-invalid",
        "ledger.members[0]",
    );
    check_refused(
        &scene,
        &format!("{NEW} --delta 2"),
        "contract-invalid",
        "delta",
    );
    check_refused(
        &scene,
        &format!("{NEW} --clipping-norm 0"),
        "contract-invalid",
        "clipping_norm",
    );
    check_refused(
        &scene,
        &format!("{NEW} --runs 0"),
        "contract-invalid",
        "runs",
    );
    check_refused(
        &scene,
        &NEW.replace("Read_digits", "__"),
        "contract-invalid",
        "purpose",
    );
    scene.put("no.onnx", b"not an onnx file");
    check_refused(
        &scene,
        &NEW.replace("mnist.onnx", "no.onnx"),
        "model-unsupported",
        "",
    );
    scene.put(
        "alice.json",
        &offer("alice", &scene.alice, 400, 14).to_json(),
    );
    scene.put("bob.json", &offer("bob", &scene.bob, 400, 14).to_json());
    check_refused(&scene, NEW, "contract-unfit", "1x14x14");
}

#[test]
fn every_reason_to_refuse_a_contract_is_told_at_once() {
    let scene = Scene::with_contract("");
    let mut document = scene
        .contract("contract.dsse")
        .contract()
        .document()
        .clone();
    document.validity.not_after = document.validity.not_before + chrono::TimeDelta::seconds(1);
    document.privacy.noise_multiplier = 0.3;
    document.pipeline.model.onnx = tributary_protocol::Digest::of(b"another model");
    let signed = SignedContract::write(&document, &scene.alice).unwrap();
    scene.put("bad.dsse", &signed.envelope().to_json());
    let refused = scene
        .run("contract validate DIR/bad.dsse --model DIR/mnist.onnx")
        .error(Exit::ContractRefused, "contract-unfit");
    let expected = [
        "contract-unsigned",
        "contract-expired",
        "model-invalid",
        "budget-exhausted",
        "budget-exhausted",
    ];
    assert_eq!(codes(&refused), expected);
    for finding in refused["details"].as_array().unwrap() {
        assert!(
            finding["hint"]
                .as_str()
                .is_some_and(|hint| !hint.is_empty())
        );
        assert!(
            refused["message"]
                .as_str()
                .unwrap()
                .contains(finding["message"].as_str().unwrap())
        );
    }
    let without_model = scene
        .run("contract validate DIR/contract.dsse")
        .error(Exit::ContractRefused, "contract-unfit");
    assert_eq!(codes(&without_model), ["model-invalid"]);
}

#[test]
fn an_altered_byte_an_unknown_field_and_another_kind_of_file_are_refused() {
    let scene = Scene::with_contract("");
    let envelope: Value = serde_json::from_slice(&scene.read("contract.dsse")).unwrap();
    let payload = String::from_utf8(
        scene
            .contract("contract.dsse")
            .envelope()
            .payload()
            .to_vec(),
    )
    .unwrap();
    let with_payload = |payload: String| {
        let mut altered = envelope.clone();
        altered["payload"] =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, payload).into();
        scene.put("altered.dsse", altered.to_string().as_bytes());
        scene.run("contract validate DIR/altered.dsse --home HOME")
    };
    let refused = with_payload(payload.replace("Read digits", "Read Digits"))
        .error(Exit::ContractRefused, "contract-unfit");
    assert_eq!(codes(&refused), ["contract-unsigned"]);
    with_payload(payload.replacen('{', "{\"extra\": 1,", 1))
        .error(Exit::ContractRefused, "contract-invalid");
    scene
        .run("contract validate DIR/alice.json --home HOME")
        .error(Exit::ContractRefused, "contract-invalid");
    scene
        .run("contract validate DIR/nowhere --home HOME")
        .error(Exit::Failure, "file-missing");
}

#[test]
fn a_model_that_was_exchanged_in_the_home_is_not_taken_for_the_contracts() {
    let scene = Scene::with_contract("");
    scene.ok("contract validate DIR/contract.dsse --home HOME");
    let models: Vec<_> = std::fs::read_dir(scene.path("tdc/models"))
        .unwrap()
        .collect();
    assert_eq!(models.len(), 1);
    for model in models {
        std::fs::copy(scene.path("agent-program"), model.unwrap().path()).unwrap();
    }
    let refused = scene
        .run("contract validate DIR/contract.dsse --home HOME")
        .error(Exit::ContractRefused, "contract-unfit");
    assert_eq!(codes(&refused), ["model-invalid"]);
}

#[test]
fn halves_of_two_sealing_keys_are_refused() {
    let scene = Scene::new();
    scene.ok("init --home DIR/other --party tdc --passphrase-file PASS");
    std::fs::copy(
        scene.path("other/sealing.key"),
        scene.path("tdc/sealing.key"),
    )
    .unwrap();
    let home = crate::home::ConsumerHome::open(&scene.path("tdc")).unwrap();
    let passphrase = tributary_protocol::Passphrase::read(&scene.path("pass")).unwrap();
    assert!(matches!(
        home.sealing_secret(&passphrase),
        Err(crate::home::HomeError::OtherKey { .. })
    ));
    scene.put("tdc/sealing.json", &vec![b' '; 1 << 20]);
    scene.run(NEW).error(Exit::Failure, "key-unreadable");
}

#[test]
fn signatures_of_copies_are_put_together_and_those_of_another_contract_are_not() {
    let scene = Scene::new();
    scene.ok(NEW);
    for (name, identity) in [("a.dsse", &scene.alice), ("b.dsse", &scene.bob)] {
        let mut copy = scene.contract("contract.dsse");
        copy.sign(identity);
        scene.put(name, &copy.envelope().to_json());
    }
    let merged = scene.ok("contract merge DIR/a.dsse DIR/b.dsse --out DIR/all.dsse");
    assert_eq!(merged["missing"], json!([]));
    scene.ok("contract validate DIR/all.dsse --home HOME");
    scene.ok(&format!(
        "{} --runs 2",
        NEW.replace("contract.dsse", "other.dsse")
    ));
    scene
        .run("contract merge DIR/a.dsse DIR/other.dsse --out DIR/mixed.dsse")
        .error(Exit::ContractRefused, "contract-mismatch");
    assert!(!scene.path("mixed.dsse").exists());
}

#[test]
fn a_contract_is_shown_in_words_with_its_warnings() {
    let scene = Scene::with_contract("--runs 2 --noise-multiplier 2");
    let shown = scene.say("contract show DIR/contract.dsse");
    assert_eq!(shown.exit, Exit::Done);
    for words in [
        "Read digits",
        "alice/digits",
        "gets the model",
        "what leaves: the model, sealed",
        "kept by alice",
        "simulated",
    ] {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }
    assert!(shown.stderr.contains("protect nothing"), "{}", shown.stderr);
    let data = scene.ok("contract show DIR/contract.dsse");
    assert_eq!(data["document"]["runs"], 2);
    assert_eq!(data["missing"], json!([]));
    scene.run("contract show 1").error(Exit::Usage, "usage");
    let refused = scene
        .run("contract show 1 --home HOME")
        .error(Exit::ContractRefused, "contract-unknown");
    assert!(refused["message"].as_str().unwrap().contains("found none"));
}

#[test]
fn a_plan_says_what_a_run_costs_and_that_nothing_would_refuse_it() {
    let scene = Scene::with_contract("--runs 2 --steps 20 --sampling-rate 0.05");
    let plan = scene.ok("plan --contract DIR/contract.dsse --home HOME --threads 1");
    assert_eq!(plan["would_start"], true, "{plan:#}");
    assert_eq!(plan["steps"], 20);
    let datasets = plan["datasets"].as_array().unwrap();
    let mut bytes = 0;
    for dataset in datasets {
        let of_a_run = dataset["epsilon"].as_f64().unwrap();
        let of_all = dataset["epsilon_of_all_runs"].as_f64().unwrap();
        assert!(0.0 < of_a_run && of_a_run < of_all && of_all <= 3.0);
        assert_eq!(dataset["runs_within_limit"], 2);
        assert!(dataset["rows"].as_f64().unwrap() > dataset["expected_batch"].as_f64().unwrap());
        assert_eq!(
            dataset["bytes"],
            dataset["batch_bytes"].as_u64().unwrap() * 20
        );
        bytes += dataset["bytes"].as_u64().unwrap();
    }
    assert_eq!(plan["bytes"], bytes);
    assert!(plan["time"]["seconds"].as_f64().unwrap() > 0.0);
    assert!(plan["memory"].as_u64().unwrap() > 0);
    let said = scene.say("plan --contract DIR/contract.dsse --home HOME --threads 1");
    assert!(
        said.stdout.contains("nothing would refuse this run"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_plan_lists_every_refusal_and_is_made_without_a_model() {
    let scene = Scene::new();
    scene.ok(NEW);
    let plan = scene.ok("plan --contract DIR/contract.dsse");
    assert_eq!(plan["would_start"], false);
    let codes: Vec<&str> = plan["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["contract-unsigned", "model-invalid"]);
    assert_eq!(plan["time"], Value::Null);
    scene
        .run("plan --contract DIR/contract.dsse --ledger 127.0.0.1:9 --home HOME --passphrase-file PASS")
        .error(Exit::Usage, "usage");
}

#[test]
fn an_authorisation_is_for_its_run_and_runner_and_by_the_consumer_only() {
    let scene = Scene::with_contract("--runs 2");
    let runner = Identity::generate().public();
    let line = "authorise --contract DIR/contract.dsse --home HOME --passphrase-file PASS --out DIR/run.dsse";
    let made = scene.ok(&format!("{line} --run 2 --runner {runner} --expires 2h"));
    let contract = scene.contract("contract.dsse");
    let envelope = tributary_protocol::Envelope::from_json(&scene.read("run.dsse")).unwrap();
    let (_, consumer) = contract.contract().consumer();
    let authorisation = Authorisation::verify(&envelope, consumer, chrono::Utc::now()).unwrap();
    authorisation
        .expect(&contract.contract().digest(), "2".parse().unwrap(), &runner)
        .unwrap();
    assert_eq!(made["authorisation"], json!(authorisation.digest()));

    let again = line.replace("run.dsse", "other.dsse");
    scene
        .run(&format!("{again} --run 3 --runner {runner}"))
        .error(Exit::ContractRefused, "contract-used-up");
    scene
        .run(&format!("{again} --run 1 --runner ed25519:00"))
        .error(Exit::Usage, "usage");
    scene
        .run(&format!("{again} --run 1 --runner DIR/pass"))
        .error(Exit::Usage, "usage");
    scene.ok("init --home DIR/runner --party runner --passphrase-file PASS");
    let by_file = scene.ok(&format!("{again} --run 1 --runner DIR/runner"));
    assert!(by_file["runner"].as_str().unwrap().starts_with("ed25519:"));
    scene
        .run(&format!(
            "{} --run 1 --runner {runner}",
            again.replace("HOME", "DIR/runner")
        ))
        .error(Exit::ContractRefused, "authorisation-refused");
    scene
        .run(&format!("{line} --run 1 --runner {runner}"))
        .error(Exit::Failure, "file-exists");
}

fn codes(error: &Value) -> Vec<&str> {
    error["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}
