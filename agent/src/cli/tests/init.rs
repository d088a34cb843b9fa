//! `agent init`.

use super::Scene;

#[test]
fn init_makes_a_home_whose_key_and_vault_open() {
    let scene = Scene::new();
    let made = scene.init("alice").done();
    assert!(made.stdout.starts_with("alice ed25519:"), "{}", made.stdout);
    assert!(made.stderr.contains("SIMULATED"), "{}", made.stderr);
    let listed = scene.of("alice", &["dataset", "list"]).done();
    assert!(listed.stdout.contains("no datasets yet"));
    assert!(scene.path("alice/platform").exists());
}

#[test]
fn init_says_in_json_what_a_contract_needs() {
    let scene = Scene::new();
    let made = scene.json_of("alice", &["init", "--party", "alice"]);
    assert_eq!(made["data"]["party"], "alice");
    assert!(
        made["data"]["key"]
            .as_str()
            .unwrap()
            .starts_with("ed25519:")
    );
    assert_eq!(made["data"]["simulated"], false);
    assert!(!scene.path("alice/platform").exists());
}

#[test]
fn a_home_is_never_overwritten() {
    let scene = Scene::new();
    scene.init("alice").done();
    let before = std::fs::read(scene.path("alice/identity.pem")).unwrap();
    scene
        .init("alice")
        .refused("file-exists", &["nothing was changed"]);
    assert_eq!(
        std::fs::read(scene.path("alice/identity.pem")).unwrap(),
        before
    );
    // Somebody else's files are in the way just so.
    std::fs::create_dir(scene.path("bob")).unwrap();
    std::fs::write(scene.path("bob/notes"), "").unwrap();
    scene
        .init("bob")
        .refused("file-exists", &["nothing was changed"]);
}

#[test]
fn an_empty_folder_is_taken() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("alice")).unwrap();
    scene.init("alice").done();
}

#[test]
fn what_is_missing_leaves_no_half_a_home() {
    let scene = Scene::new();
    let nowhere = scene.text("nowhere");
    scene
        .of(
            "alice",
            &["init", "--party", "alice", "--simulated", &nowhere],
        )
        .refused("file-missing", &["attest simulated new-root"]);
    assert!(!scene.path("alice").exists());
    let home = scene.text("alice");
    let words = [
        "init",
        "--home",
        &home,
        "--party",
        "alice",
        "--passphrase-file",
        &nowhere,
    ];
    scene.run(&words).refused("file-missing", &["nowhere"]);
    assert!(!scene.path("alice").exists());
}

#[test]
fn a_name_that_contracts_cannot_write_is_a_usage_error() {
    let scene = Scene::new();
    let outcome = scene.of("alice", &["init", "--party", "Alice Ltd"]);
    outcome.refused("usage", &["Alice Ltd"]);
}
