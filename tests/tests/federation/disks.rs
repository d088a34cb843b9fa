//! Full disks, ports in use, files in the way: what was there before is still there.

use std::fs::{self, OpenOptions};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use tributary_tests::{CONSUMER, PROVIDERS, STEPS};

use crate::{federation, restarted, stop, trained};

#[test]
fn an_aggregator_on_a_full_disk_ends_and_can_be_resumed_when_there_is_room() {
    let federation = federation();
    let agents = federation.agents();
    let both = [&agents[0], &agents[1]];
    federation
        .train(&both)
        .disk_full_from(4)
        .run()
        .refused(1, "disk-full", &["checkpoint"]);
    assert!(!federation.run_file(1, 1, "model.sealed").exists());
    trained(federation.train(&both).words(&["--resume"]).start());
    stop(agents);
    assert!(federation.ledger().run(1, 1).unwrap().leased <= STEPS);
}

#[test]
fn an_agent_on_a_full_disk_serves_nothing_that_it_could_not_remember() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let any = federation.any_port();
    let full = federation.agent_at(PROVIDERS[1], &any, Some(&keeper), |line| {
        line.disk_full_from(9)
    });
    let refused = federation
        .train(&[&keeper, &full])
        .words(&["--patience", "2"])
        .run();
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.stderr.contains("full") || refused.stderr.contains("space"),
        "{}",
        refused.stderr
    );
    let address = full.listen();
    full.process.stop();
    let roomy = restarted(&federation, PROVIDERS[1], &address, Some(&keeper));
    trained(
        federation
            .train(&[&keeper, &roomy])
            .words(&["--resume"])
            .start(),
    );
    stop(vec![keeper, roomy]);
    assert!(federation.ledger().run(1, 1).unwrap().leased <= STEPS);
}

#[test]
fn a_ledger_on_a_full_disk_leases_nothing_and_opens_again() {
    let federation = federation();
    let any = federation.any_port();
    let keeper = federation.agent_at(PROVIDERS[0], &any, None, |line| line.disk_full_from(15));
    let other = federation.agent(PROVIDERS[1], Some(&keeper));
    let refused = federation
        .train(&[&keeper, &other])
        .words(&["--patience", "2"])
        .run();
    refused.refused(13, "ledger-unavailable", &["tdp-1"]);
    let address = keeper.listen();
    keeper.process.stop();
    let keeper = restarted(&federation, PROVIDERS[0], &address, None);
    trained(
        federation
            .train(&[&keeper, &other])
            .words(&["--resume"])
            .start(),
    );
    stop(vec![keeper, other]);
    assert!(federation.ledger().run(1, 1).unwrap().leased <= STEPS);
}

#[test]
fn an_import_on_a_full_disk_leaves_the_vault_as_it_was() {
    let federation = federation();
    let list = || {
        federation
            .unlocked(PROVIDERS[0], &["agent", "dataset", "list"])
            .run()
            .data()
    };
    let before = list();
    let import = ["agent", "dataset", "import", "more", "--format", "idx"];
    let data = [
        "--images",
        "data/validation-images.idx",
        "--labels",
        "data/validation-labels.idx",
    ];
    let import = || federation.unlocked(PROVIDERS[0], &import).words(&data);
    let full = import().disk_full_from(1).run();
    full.refused(1, "disk-full", &[]);
    assert_eq!(list(), before);
    import().run().data();
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let federation = federation();
    let program = federation.path("agent-link");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tributary-parties"), &program).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = Command::new(program)
        .args(["agent", "contract", "show"])
        .arg(federation.path("contract.dsse"))
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("disk-full"), "{said}");
}

#[test]
fn a_port_in_use_is_named_with_its_address() {
    let federation = federation();
    let taken = UdpSocket::bind(federation.any_port()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = federation
        .serve(PROVIDERS[0])
        .words(&["--listen", &address]);
    serve.run().refused(1, "address-in-use", &[&address]);
    let train = federation.train_at(&[]).words(&["--listen", &address]);
    train.run().refused(1, "address-in-use", &[&address]);
}

#[test]
fn a_home_is_served_by_one_process_at_a_time() {
    let federation = federation();
    let keeper = federation.agent(PROVIDERS[0], None);
    let second = federation
        .serve(PROVIDERS[0])
        .words(&["--listen", &federation.any_port()])
        .run();
    assert_eq!(second.code, Some(13), "{second:#?}");
    second.refused(13, "ledger-unavailable", &["process"]);
    stop(vec![keeper]);
}

#[test]
fn a_home_is_never_made_over_another() {
    let federation = federation();
    let key = fs::read(federation.path(CONSUMER).join("identity.pem")).unwrap();
    for (program, home) in [("aggregator", CONSUMER), ("agent", PROVIDERS[0])] {
        let init = [
            program,
            "init",
            "--party",
            "again",
            "--simulated",
            "simulated-root",
        ];
        federation
            .unlocked(home, &init)
            .run()
            .refused(1, "file-exists", &[home]);
    }
    assert_eq!(
        fs::read(federation.path(CONSUMER).join("identity.pem")).unwrap(),
        key
    );
}

#[test]
fn a_model_is_not_trained_where_the_homes_copy_was_altered() {
    let federation = federation();
    for entry in fs::read_dir(federation.path(CONSUMER).join("models")).unwrap() {
        fs::write(entry.unwrap().path(), b"another model").unwrap();
    }
    let agents = federation.agents();
    federation
        .train(&[&agents[0], &agents[1]])
        .run()
        .refused(1, "model-invalid", &["sha256:"]);
    stop(agents);
}
