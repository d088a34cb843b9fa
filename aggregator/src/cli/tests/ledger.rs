//! Registering, and asking the ledger, over a channel.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tributary_console::Exit;
use tributary_protocol::ledger::{Request, Requester};
use tributary_protocol::{Authorisation, Role};

use super::federation::{MemoryLedger, Provider, registered};
use super::scene::{NEW, Scene};

const REGISTER: &str =
    "contract register --contract DIR/contract.dsse --home HOME --passphrase-file PASS --ledger";

#[test]
fn a_contract_gets_its_number_and_a_proof_that_holds_offline() {
    let scene = Scene::with_contract("");
    let signed = scene.contract("contract.dsse");
    let ledger = Arc::new(MemoryLedger::new(signed.contract(), &scene.alice));
    let alice = Provider::alice(&scene, signed.contract(), ledger);
    let line = format!("{REGISTER} {}", alice.address);
    let told = scene.ok(&line);
    assert_eq!(told["number"], 1);
    assert_eq!(told["ledger"], "alice");
    // The same contract keeps its number.
    assert_eq!(scene.ok(&line)["number"], 1);
    drop(alice);
    let shown = scene.ok("contract show 1 --home HOME");
    assert_eq!(shown["digest"], json!(signed.contract().digest()));
    let planned = scene.ok("plan --contract 1 --home HOME --threads 1");
    assert_eq!(
        (&planned["contract"], &planned["would_start"]),
        (&json!(1), &json!(true))
    );
}

#[test]
fn a_contract_that_lacks_a_signature_is_refused_before_anybody_is_asked() {
    let scene = Scene::new();
    scene.ok(NEW);
    let refused = scene
        .run(&format!("{REGISTER} 127.0.0.1:9"))
        .error(Exit::ContractRefused, "contract-unsigned");
    assert!(refused["message"].as_str().unwrap().contains("alice, bob"));
}

#[test]
fn a_keeper_that_is_not_there_is_waited_for_and_then_named() {
    let scene = Scene::with_contract("");
    // Nobody reads what arrives at this socket.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let refused = scene
        .run(&format!("{REGISTER} {address} --wait 1s"))
        .error(Exit::Timeout, "peer-absent");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("agent alice") && message.contains(&address.to_string()),
        "{message}"
    );
    scene
        .run(&format!("{REGISTER} nonsense"))
        .error(Exit::Usage, "usage");
}

#[test]
fn a_keeper_with_another_program_party_or_contract_is_refused() {
    let scene = Scene::with_contract("");
    let signed = scene.contract("contract.dsse");
    let contract = signed.contract();
    let ledger = Arc::new(MemoryLedger::new(contract, &scene.alice));
    let check = |provider: Provider, exit: Exit, code: &str| {
        scene
            .run(&format!("{REGISTER} {}", provider.address))
            .error(exit, code);
        assert!(!scene.path("tdc/contracts/1").exists());
    };
    let serve = |name: &str, identity, program: &[u8], contract| {
        Provider::serve(
            &scene,
            name,
            identity,
            program,
            contract,
            Arc::clone(&ledger),
        )
    };
    check(
        serve("alice", &scene.alice, b"another program", Some(contract)),
        Exit::AttestationRefused,
        "measurement-refused",
    );
    check(
        serve(
            "bob",
            &scene.bob,
            super::scene::AGENT_PROGRAM,
            Some(contract),
        ),
        Exit::AttestationRefused,
        "party-refused",
    );
    // It finds out itself, from the contract, that its key is not alice's.
    check(
        serve(
            "alice",
            &scene.bob,
            super::scene::AGENT_PROGRAM,
            Some(contract),
        ),
        Exit::ContractRefused,
        "contract-mismatch",
    );
    check(
        serve("alice", &scene.alice, super::scene::AGENT_PROGRAM, None),
        Exit::ContractRefused,
        "contract-mismatch",
    );
}

#[test]
fn the_ledger_tells_what_became_of_a_contract() {
    let (scene, ledger) = registered("");
    let signed = scene.contract("contract.dsse");
    let alice = Provider::alice(&scene, signed.contract(), Arc::clone(&ledger));
    let asking = format!(
        "--home HOME --passphrase-file PASS --ledger {}",
        alice.address
    );
    let shown = scene.ok(&format!("contract show 1 {asking}"));
    assert_eq!(shown["ledger"]["runs_opened"], 0);
    let planned = scene.ok(&format!("plan --contract 1 --threads 1 {asking}"));
    assert_eq!(
        (&planned["would_start"], &planned["asked_ledger"]),
        (&json!(true), &json!(true))
    );

    open_first_run(&scene, &ledger);
    let shown = scene.ok(&format!("contract show 1 {asking}"));
    assert_eq!(shown["ledger"]["open_run"], 1);
    let planned = scene.ok(&format!("plan --contract 1 --threads 1 {asking}"));
    let codes: Vec<&Value> = planned["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refusal| &refusal["code"])
        .collect();
    assert_eq!(codes, ["contract-used-up"]);
    scene
        .run(&format!(
            "contract show 1 --home HOME --ledger {}",
            alice.address
        ))
        .error(Exit::Usage, "usage");
}

#[test]
fn a_damaged_proof_in_the_home_is_refused() {
    let (scene, _) = registered("");
    let mut receipt = scene.read("tdc/contracts/1/receipt");
    let middle = receipt.len() / 2;
    receipt[middle] ^= 1;
    scene.put("tdc/contracts/1/receipt", &receipt);
    scene
        .run("contract show 1 --home HOME")
        .error(Exit::LedgerUnavailable, "ledger-proof-refused");
}

fn open_first_run(scene: &Scene, ledger: &MemoryLedger) {
    let home = crate::home::ConsumerHome::open(&scene.path("tdc")).unwrap();
    let passphrase = tributary_protocol::Passphrase::read(&scene.path("pass")).unwrap();
    let identity = home.party().identity(&passphrase).unwrap();
    let contract = scene.contract("contract.dsse").contract().digest();
    let (run, expires) = ("1".parse().unwrap(), Utc::now() + TimeDelta::hours(1));
    let authorisation =
        Authorisation::issue(contract, run, identity.public(), expires, &identity).unwrap();
    let aggregator = Requester {
        party: "tdc".parse().unwrap(),
        role: Role::Aggregator,
    };
    let request = Request::OpenRun {
        contract: "1".parse().unwrap(),
        run,
        authorisation,
    };
    ledger.take(&aggregator, &request, Utc::now()).unwrap();
}
