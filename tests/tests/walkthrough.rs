//! The README's walk-through, word for word.

#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- walk-through -->";
const END: &str = "<!-- /walk-through -->";

/// What a reader's terminal does when it is closed: servers that were started in it end, each by its process id.
const TERMINAL: &str = r#"
trap 'servers=$(jobs -p); [ -z "$servers" ] || { kill $servers; wait $servers; } 2>/dev/null || true' EXIT
"#;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The `sh` blocks between the markers, in order.
fn blocks(readme: &str) -> Vec<String> {
    let (_, after) = readme.split_once(BEGIN).expect(BEGIN);
    let (section, _) = after.split_once(END).expect(END);
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in section.lines() {
        match &mut open {
            None if line == "```sh" => open = Some(String::new()),
            None => {}
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block of the walk-through is not closed");
    blocks
}

/// A folder of the programs' names, all of which are the one binary that holds them.
fn install(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for program in ["agent", "aggregator", "attest", "simulations"] {
        let binary = env!("CARGO_BIN_EXE_tributary-parties");
        std::os::unix::fs::symlink(binary, folder.join(program)).unwrap();
    }
}

/// Free ports of the loopback address. They were free a moment ago, which is as much as anybody can say.
fn free_ports<const N: usize>() -> [String; N] {
    let sockets: [UdpSocket; N] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port().to_string())
}

#[test]
fn the_walk_through_works_word_for_word() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("bin");
    install(&programs);
    let blocks = blocks(&readme());
    assert!(blocks.len() > 3, "{blocks:?}");
    let script = format!("{TERMINAL}{}", blocks.concat());
    let [alice, aggregator] = free_ports();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-e", "-u", "-o", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("ALICE_PORT", alice)
        .env("AGGREGATOR_PORT", aggregator)
        .env_remove("TRIBUTARY_HOME")
        .env_remove("TRIBUTARY_PASSPHRASE_FILE")
        .env_remove("TRIBUTARY_CONFIG")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let logs = ["alice.log", "bob.log"].map(|log| {
        std::fs::read_to_string(folder.path().join("walk/").join(log)).unwrap_or_default()
    });
    assert!(
        output.status.success(),
        "{:?}\nstdout:\n{out}\nstderr:\n{err}\nservers:\n{}",
        output.status.code(),
        logs.join("\n")
    );
    for file in [
        "model/model.onnx",
        "model/model.safetensors",
        "model/metrics.json",
    ] {
        assert!(
            folder.path().join("walk").join(file).exists(),
            "{file} is missing:\n{out}\n{err}"
        );
    }
}

#[test]
fn the_walk_through_shows_every_command_of_a_first_run() {
    let text = blocks(&readme()).concat();
    for command in [
        "agent init",
        "agent dataset import",
        "agent dataset list",
        "agent dataset show",
        "agent dataset verify",
        "agent dataset offer",
        "agent contract show",
        "agent contract sign",
        "agent contract refuse",
        "agent budget",
        "agent serve",
        "--listen",
        "--dial",
        "aggregator init",
        "aggregator model new mnist-cnn",
        "aggregator contract new",
        "aggregator contract validate",
        "aggregator contract register",
        "aggregator contract show",
        "aggregator plan",
        "aggregator train",
        "aggregator unseal",
        "aggregator evaluate",
        "aggregator receipt verify",
    ] {
        assert!(text.contains(command), "the walk-through lacks `{command}`");
    }
}

#[test]
fn blocks_of_other_languages_and_outside_the_markers_are_left_out() {
    let text = format!(
        "```sh\nno\n```\n{BEGIN}\n```sh\none\n```\n```text\nno\n```\n```sh\ntwo\n```\n{END}\n```sh\nno\n```\n"
    );
    assert_eq!(blocks(&text), ["one\n", "two\n"]);
}
