//! `agent dataset`.

use super::{Scene, flip};

#[test]
fn import_list_show_and_verify_agree() {
    let scene = Scene::with_alice();
    let listed = scene.json_of("alice", &["dataset", "list"]);
    let shown = scene.json_of("alice", &["dataset", "show", "digits"]);
    assert_eq!(listed["data"][0], shown["data"]);
    assert_eq!(shown["data"]["records"], 20);
    assert_eq!(shown["data"]["version"], 1);
    assert_eq!(shown["data"]["columns"][0]["name"], "image");
    let verified = scene.json_of("alice", &["dataset", "verify"]);
    assert_eq!(verified["data"][0]["manifest"], shown["data"]["manifest"]);

    let words = scene.of("alice", &["dataset", "list"]).done().stdout;
    assert!(words.contains("digits") && words.contains("20"), "{words}");
    let words = scene
        .of("alice", &["dataset", "show", "digits"])
        .done()
        .stdout;
    assert!(words.contains("image-u8 4x4x1"), "{words}");
    let words = scene
        .of("alice", &["dataset", "verify", "digits"])
        .done()
        .stdout;
    assert!(words.contains("digits: sound, 20 records"), "{words}");
}

#[test]
fn append_adds_a_version() {
    let scene = Scene::with_alice();
    scene.digits("more", 5, 5);
    let appended = scene
        .import("alice", "digits", "more", &["--append"])
        .done();
    assert!(
        appended.stdout.contains("5 records encrypted, 25 in all"),
        "{}",
        appended.stdout
    );
    let shown = scene.json_of("alice", &["dataset", "show", "digits"]);
    assert_eq!(shown["data"]["version"], 2);
    assert_eq!(shown["data"]["parts"].as_array().unwrap().len(), 2);
}

#[test]
fn a_dataset_is_not_imported_twice_nor_appended_to_before() {
    let scene = Scene::with_alice();
    scene
        .import("alice", "digits", "train", &[])
        .refused("file-exists", &["append to it"]);
    scene
        .import("alice", "letters", "train", &["--append"])
        .refused("file-missing", &["letters", "digits"]);
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let scene = Scene::with_alice();
    let (home, wrong) = (scene.text("alice"), scene.text("wrong"));
    let words = [
        "dataset",
        "list",
        "--home",
        &home,
        "--passphrase-file",
        &wrong,
    ];
    scene
        .run(&words)
        .refused("passphrase-wrong", &["passphrase"]);
}

#[test]
fn a_folder_that_is_no_home_is_named() {
    let scene = Scene::new();
    scene
        .of("nowhere", &["dataset", "list"])
        .refused("file-missing", &["nowhere", "agent init"]);
}

#[test]
fn idx_files_that_are_truncated_or_disagree_import_nothing() {
    let scene = Scene::new();
    scene.init("alice").done();
    scene.digits("uneven", 20, 19);
    scene
        .import("alice", "digits", "uneven", &[])
        .refused("data-invalid", &["20 images", "19 labels"]);
    let images = scene.path("train-images");
    let bytes = std::fs::read(&images).unwrap();
    std::fs::write(&images, &bytes[..bytes.len() - 3]).unwrap();
    scene
        .import("alice", "digits", "train", &[])
        .refused("data-invalid", &["truncated", "expected"]);
    let listed = scene.of("alice", &["dataset", "list"]).done();
    assert!(listed.stdout.contains("no datasets yet"));
}

#[test]
fn a_label_beyond_the_classes_imports_nothing() {
    let scene = Scene::new();
    scene.init("alice").done();
    scene
        .import("alice", "digits", "train", &["--classes", "5"])
        .refused("data-invalid", &["record 5", "label"]);
    let listed = scene.of("alice", &["dataset", "list"]).done();
    assert!(listed.stdout.contains("no datasets yet"));
}

#[test]
fn verify_names_a_part_with_a_flipped_byte() {
    let scene = Scene::with_alice();
    flip(&scene.part());
    scene
        .of("alice", &["dataset", "verify"])
        .refused("vault-altered", &["digits", "part 1", "expected sha256:"]);
    let failed = scene.json_of("alice", &["dataset", "verify"]);
    assert_eq!(failed["status"], "error");
    assert_eq!(failed["error"]["code"], "vault-altered");
}

#[test]
fn verify_names_a_part_that_is_gone() {
    let scene = Scene::with_alice();
    std::fs::remove_file(scene.part()).unwrap();
    scene
        .of("alice", &["dataset", "verify", "digits"])
        .refused("vault-incomplete", &["part 1", "missing"]);
}

#[test]
fn verify_tells_an_older_vault_from_the_newest() {
    let scene = Scene::with_alice();
    scene.digits("more", 5, 5);
    scene
        .import("alice", "digits", "more", &["--append"])
        .done();
    std::fs::remove_file(scene.path("alice/vault/digits/manifest-00000002.dsse")).unwrap();
    scene
        .of("alice", &["dataset", "verify"])
        .refused("vault-rolled-back", &["version 2", "got 1"]);
}

#[test]
fn an_offer_carries_the_manifest_that_the_vault_published() {
    let scene = Scene::with_alice();
    let offer = scene.offer("alice");
    let shown = scene.json_of("alice", &["dataset", "show", "digits"]);
    assert_eq!(
        shown["data"]["manifest"],
        offer.manifest_digest().to_string()
    );
    assert_eq!(offer.party().as_str(), "alice");
    assert_eq!(offer.manifest().rows(), 20);
}
