//! `attest measure snp` and `attest measure tdx`, called as the program's `main` calls them.
#![allow(clippy::unwrap_used)]
// Modules shared with the library's tests.
#![allow(unreachable_pub)]

#[path = "../../tests/measure/images.rs"]
#[allow(dead_code)]
mod images;

use std::{fs, path::Path};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha384};
use tributary_attest::{
    DirectBoot, FileDigest, FirmwareGeneration, GuestFeatures, KernelHashes, PageOrder, Policy,
    SnpFirmware, SnpGuest, TdxFirmware, Tee, VcpuType,
};
use tributary_attest_program::program_at;
use tributary_console::{Console, run_with};

use images::{sev_image, tdx_image};

struct Ran {
    code: u8,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn data(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        serde_json::from_str::<Value>(&self.stdout).unwrap()["data"].clone()
    }

    fn error(&self) -> (u8, String) {
        let json: Value = serde_json::from_str(&self.stdout).unwrap();
        (
            self.code,
            json["error"]["message"].as_str().unwrap().to_owned(),
        )
    }
}

/// Runs the program; `@` stands for the folder, `~` for a space inside a word.
fn attest(folder: &Path, line: &str) -> Ran {
    let at = |word: &str| {
        word.replace('@', &format!("{}/", folder.display()))
            .replace('~', " ")
    };
    let args = std::iter::once("attest".to_owned()).chain(line.split_whitespace().map(at));
    let (console, captured) = Console::captured(line.contains("--json"));
    let exit = run_with(args, &console, |line, console| {
        program_at(line, console, DateTime::<Utc>::UNIX_EPOCH)
    });
    Ran {
        code: exit.code(),
        stdout: captured.stdout(),
        stderr: captured.stderr(),
    }
}

fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("snp.fd", &sev_image().build());
    write("tdx.fd", &tdx_image().build());
    write("kernel", &kernel());
    write("initrd", b"an initrd");
    write("cmdline", b"console=ttyS0 quiet\n");
    folder
}

/// The smallest image that firmware measures: headers, no sections.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x40;
    bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
    bytes[0x40 + 20] = 160;
    bytes[0x40 + 24..0x40 + 26].copy_from_slice(&0x20b_u16.to_le_bytes());
    bytes[0x40 + 24 + 60..0x40 + 24 + 64].copy_from_slice(&0x200_u32.to_le_bytes());
    bytes[0x40 + 24 + 108] = 6;
    bytes
}

#[test]
fn snp_prints_the_launch_digest() {
    let folder = files();
    let image = sev_image().build();
    let hashes = KernelHashes::new(
        &FileDigest::of_bytes(&kernel()),
        Some(&FileDigest::of_bytes(b"an initrd")),
        "console=ttyS0 quiet",
    )
    .unwrap();
    let guest = SnpGuest {
        firmware: &SnpFirmware::parse(&image).unwrap(),
        kernel_hashes: Some(&hashes),
        vcpus: 3,
        cpu: VcpuType::EpycMilan.signature(),
        guest_features: GuestFeatures::SNP_ACTIVE,
    };
    let expected = guest.digest().unwrap().to_string();
    let machine = "measure snp --firmware @snp.fd --vcpus 3 --vcpu-type EPYC-Milan";
    let boot = "--kernel @kernel --initrd @initrd";
    for line in [
        format!("{machine} {boot} --cmdline console=ttyS0~quiet"),
        format!("{machine} {boot} --cmdline-file @cmdline"),
        format!(
            "measure snp --firmware @snp.fd --vcpus 3 --vcpu-sig 0x00a00f11 --vmm qemu {boot} --cmdline-file @cmdline"
        ),
    ] {
        let ran = attest(folder.path(), &line);
        assert_eq!(
            (ran.stdout, ran.stderr),
            (format!("{expected}\n"), String::new())
        );
        let data = attest(folder.path(), &format!("{line} --json")).data();
        assert_eq!(
            (&data["tee"], &data["measurement"]),
            (&"sev-snp".into(), &expected.clone().into())
        );
        assert_eq!(data["kernel_covered"], true);
    }
    let without = attest(folder.path(), machine);
    assert_ne!(without.stdout, format!("{expected}\n"));
    assert!(
        without.stderr.contains("a kernel is not in it"),
        "{}",
        without.stderr
    );
    let other = attest(
        folder.path(),
        &format!("{machine} {boot} --cmdline-file @cmdline --guest-features 21"),
    );
    assert_ne!(other.stdout, format!("{expected}\n"));
}

#[test]
fn snp_refuses_what_it_cannot_predict() {
    let folder = files();
    let machine = "measure snp --firmware @snp.fd --vcpus 1";
    for (line, said) in [
        (
            format!("{machine} --vcpu-type EPYC-Milan --vmm ec2"),
            "ec2 starts vCPUs with other registers",
        ),
        (
            format!("{machine} --vcpu-type Skylake"),
            "expected one of EPYC",
        ),
        (
            format!("{machine} --vcpu-type EPYC --vcpu-sig 1"),
            "cannot be used with",
        ),
        (machine.to_owned(), "--vcpu-type"),
        (
            format!("{machine} --vcpu-type EPYC --guest-features 2"),
            "bit 0 (SNPActive)",
        ),
        (
            format!("{machine} --vcpu-type EPYC --initrd @initrd"),
            "--kernel",
        ),
    ] {
        let ran = attest(folder.path(), &line);
        assert_eq!(ran.code, 2, "{line}");
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    for (line, said) in [
        (
            "measure snp --firmware @snp.fd --vcpus 0 --vcpu-type EPYC --json",
            "1 to 4096 vCPUs, got 0",
        ),
        (
            "measure snp --firmware @tdx.fd --vcpus 1 --vcpu-type EPYC --json",
            "expected the entry 00f771de",
        ),
        (
            "measure snp --firmware @initrd --vcpus 1 --vcpu-type EPYC --json",
            "got 9 bytes",
        ),
        (
            "measure snp --firmware @snp.fd --vcpus 1 --vcpu-type EPYC --kernel @kernel --cmdline a\u{e9} --json",
            "outside ASCII",
        ),
    ] {
        let (code, message) = attest(folder.path(), line).error();
        assert!(code == 1 && message.contains(said), "{message}");
    }
}

fn boot() -> DirectBoot {
    let initrd = FileDigest::of_bytes(b"an initrd");
    DirectBoot::new(
        &kernel(),
        Some(&initrd),
        "console=ttyS0 quiet",
        FirmwareGeneration::From202411,
    )
    .unwrap()
}

const BOOT: &str =
    "--kernel @kernel --initrd @initrd --cmdline-file @cmdline --firmware-events edk2-202411";

/// The log of the machine that the files lead to, with another kernel's digest where asked for.
fn log(kernel: Option<[u8; 48]>, configuration: [u8; 48]) -> Vec<u8> {
    let mut bytes = [0, 3].map(u32::to_le_bytes).concat();
    bytes.extend([0; 20]);
    bytes.extend(33_u32.to_le_bytes());
    bytes.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0");
    let mut events = vec![(1, 0x8000_000a, configuration)];
    events.extend(
        boot()
            .rtmr1_events()
            .into_iter()
            .map(|(_, digest)| (2, 0x8000_0007, digest)),
    );
    events.extend(
        boot()
            .rtmr2_events()
            .into_iter()
            .map(|(_, digest)| (3, 0x6, digest)),
    );
    events[1].2 = kernel.unwrap_or(events[1].2);
    for (register, event_type, digest) in events {
        bytes.extend([register, event_type, 1_u32].map(u32::to_le_bytes).concat());
        bytes.extend(0xc_u16.to_le_bytes());
        bytes.extend(digest);
        bytes.extend(0_u32.to_le_bytes());
    }
    bytes.resize(4096, 0xff);
    bytes
}

fn configuration() -> [u8; 48] {
    Sha384::digest(&tdx_image().build()[..4096]).into()
}

#[test]
fn tdx_predicts_what_follows_from_files_and_names_the_rest() {
    let folder = files();
    let image = tdx_image().build();
    let firmware = TdxFirmware::parse(&image).unwrap();
    let ran = attest(folder.path(), "measure tdx --firmware @tdx.fd");
    assert!(
        ran.stdout.starts_with(&format!(
            "mrtd   {}  predicted\n",
            firmware.mrtd(PageOrder::PageByPage)
        )),
        "{}",
        ran.stdout
    );
    for said in [
        "rtmr0  not predicted: it covers",
        "rtmr1  not predicted: give --kernel",
        "rtmr3  not predicted: the guest",
    ] {
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
    }
    let data = attest(
        folder.path(),
        &format!("measure tdx --firmware @tdx.fd --page-order section {BOOT} --json"),
    )
    .data();
    assert_eq!(data["tee"], "tdx");
    assert_eq!(
        data["mrtd"],
        firmware.mrtd(PageOrder::SectionBySection).to_string()
    );
    assert_eq!(data["rtmr1"], boot().rtmr1().to_string());
    assert_eq!(data["rtmr2"], boot().rtmr2().to_string());
    assert_eq!((data.get("rtmr0"), data.get("rtmr3")), (None, None));
    assert_eq!(data["registers"]["rtmr0"]["value"], Value::Null);
    assert_eq!(
        (&data["page_order"], &data["firmware_events"]),
        (&"section".into(), &"edk2-202411".into())
    );
}

#[test]
fn tdx_replays_a_log_and_holds_it_against_files() {
    let folder = files();
    let write = |bytes: &[u8]| fs::write(folder.path().join("CCEL"), bytes).unwrap();
    write(&log(None, configuration()));
    let ran = attest(folder.path(), "measure tdx --event-log @CCEL");
    assert!(
        ran.stdout
            .contains(&format!("rtmr1  {}  event-log", boot().rtmr1())),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
        "{}",
        ran.stdout
    );

    let both = format!("measure tdx --event-log @CCEL --firmware @tdx.fd {BOOT} --json");
    let data = attest(folder.path(), &both).data();
    assert_eq!(data["rtmr2"], boot().rtmr2().to_string());
    assert_eq!(data["registers"]["rtmr2"]["source"], "event-log");
    assert_eq!(data["events"].as_array().unwrap().len(), 8);
    assert_eq!(data["events"][0]["register"], "rtmr0");

    write(&log(Some([7; 48]), configuration()));
    let (code, message) = attest(folder.path(), &both).error();
    assert!(
        code == 1 && message.starts_with("event 0 of rtmr1 (kernel): expected"),
        "{message}"
    );
    write(&log(None, [7; 48]));
    let (_, message) = attest(folder.path(), &both).error();
    assert!(
        message.contains("do not hold the firmware's configuration volume"),
        "{message}"
    );
    write(&log(None, configuration())[..300]);
    let (_, message) = attest(folder.path(), &both).error();
    assert!(message.contains("the file is cut short"), "{message}");
    // Another release of the firmware has fewer events.
    write(&log(None, configuration()));
    let (_, message) = attest(
        folder.path(),
        &both.replace("edk2-202411", "up-to-edk2-202408"),
    )
    .error();
    assert!(
        message.starts_with("event 2 of rtmr1 (Exit Boot Services Invocation): expected"),
        "{message}"
    );
}

#[test]
fn tdx_wants_a_source() {
    let folder = files();
    for line in [
        "measure tdx",
        "measure tdx --kernel @kernel",
        "measure tdx --event-log @initrd --page-order section",
        "measure tdx --firmware @tdx.fd --firmware-events edk2-202411",
        "measure tdx --firmware @tdx.fd --page-order random",
    ] {
        assert_eq!(attest(folder.path(), line).code, 2, "{line}");
    }
    let (_, message) = attest(folder.path(), "measure tdx --firmware @snp.fd --json").error();
    assert!(message.contains("expected the entry e47a6535"), "{message}");
    let (_, message) = attest(
        folder.path(),
        "measure tdx --firmware @tdx.fd --kernel @kernel --json",
    )
    .error();
    assert!(
        message.contains("expected a command line, got an empty one"),
        "{message}"
    );
}

fn policy(folder: &Path, line: &str) -> Policy {
    let ran = attest(folder, line);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn policy_new_names_exactly_what_was_measured() {
    let folder = files();
    let save = |name: &str, line: &str| {
        let ran = attest(folder.path(), &format!("{line} --json"));
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        fs::write(folder.path().join(name), &ran.stdout).unwrap();
        ran.data()
    };
    let measure = |vcpus| {
        format!(
            "measure snp --firmware @snp.fd --vcpus {vcpus} --vcpu-type EPYC-Milan --kernel @kernel --cmdline quiet"
        )
    };
    let small = save("small.json", &measure(1));
    let large = save("large.json", &measure(2));
    let tdx = save(
        "tdx.json",
        &format!("measure tdx --firmware @tdx.fd {BOOT}"),
    );

    let made = policy(
        folder.path(),
        "policy new --from @small.json --from @large.json --from @tdx.json",
    );
    assert_eq!(made.tees, [Tee::SevSnp, Tee::Tdx]);
    let measured = |data: &Value, name: &str| data[name].as_str().unwrap().to_owned();
    let json = serde_json::to_value(&made).unwrap();
    let expected = [
        measured(&small, "measurement"),
        measured(&large, "measurement"),
        measured(&tdx, "mrtd"),
    ];
    assert_eq!(json["measurements"], serde_json::json!(expected));
    assert_eq!(
        (&json["debug"], &json["tier"]),
        (&"forbidden".into(), &"SECURE".into())
    );
    assert_eq!(json["tdx"]["mrtd"], serde_json::json!([expected[2]]));
    assert_eq!(
        json["tdx"]["rtmr1"],
        serde_json::json!([measured(&tdx, "rtmr1")])
    );
    assert_eq!(
        (&json["tdx"]["rtmr0"], &json["tdx"]["rtmr3"]),
        (&"any".into(), &"any".into())
    );

    let typed = policy(
        folder.path(),
        &format!("policy new --snp-measurement {}", expected[0]),
    );
    assert_eq!(
        (typed.tees.as_slice(), typed.tdx.is_none()),
        (&[Tee::SevSnp][..], true)
    );

    // A file is written once, and is the policy that would have been printed.
    let line = "policy new --from @small.json --out @policy.json";
    assert_eq!(attest(folder.path(), line).code, 0);
    let written: Policy =
        serde_json::from_slice(&fs::read(folder.path().join("policy.json")).unwrap()).unwrap();
    assert_eq!(
        written,
        policy(folder.path(), "policy new --from @small.json")
    );
    assert_eq!(attest(folder.path(), line).code, 1);
}

#[test]
fn policy_new_for_the_simulated_tee_names_its_root() {
    let folder = files();
    let measured = attest(folder.path(), "measure simulated @kernel --json").stdout;
    fs::write(folder.path().join("simulated.json"), measured).unwrap();
    assert_eq!(
        attest(folder.path(), "simulated new-root --out @fed").code,
        0
    );
    let root = fs::read_to_string(folder.path().join("fed/root.pub")).unwrap();
    let root = root.trim();
    let made = policy(
        folder.path(),
        &format!("policy new --from @simulated.json --simulated-root {root}"),
    );
    assert_eq!(made.tees, [Tee::Simulated]);
    let hardware = "00".repeat(48);
    for (line, said) in [
        (
            "policy new --from @simulated.json --json".to_owned(),
            "no root of it is named",
        ),
        (
            format!("policy new --snp-measurement {hardware} --simulated-root {root} --json"),
            "no measurement is of the simulated",
        ),
        (
            format!(
                "policy new --from @simulated.json --snp-measurement {hardware} --simulated-root {root} --json"
            ),
            "a policy that takes both protects nothing",
        ),
    ] {
        let (code, message) = attest(folder.path(), &line).error();
        assert!(code == 1 && message.contains(said), "{message}");
    }
}

#[test]
fn policy_new_refuses_what_is_no_measurement() {
    let folder = files();
    let digest = "ab".repeat(48);
    let short = "ab".repeat(47);
    for (content, said) in [
        ("{}".to_owned(), "schema_version 1"),
        (
            r#"{"schema_version":1,"status":"error"}"#.to_owned(),
            "status \"ok\"",
        ),
        (
            r#"{"schema_version":1,"status":"ok","data":{"tee":"sgx"}}"#.to_owned(),
            "expected `tee`",
        ),
        (
            r#"{"schema_version":1,"status":"ok","data":{"tee":"sev-snp"}}"#.to_owned(),
            "expected `measurement`, got none",
        ),
        (
            r#"{"schema_version":1,"status":"ok","data":{"tee":"sev-snp","measurement":1}}"#
                .to_owned(),
            "as hexadecimal, got 1",
        ),
        (
            format!(
                r#"{{"schema_version":1,"status":"ok","data":{{"tee":"sev-snp","measurement":"{short}"}}}}"#
            ),
            "must be 48 bytes",
        ),
        (
            format!(
                r#"{{"schema_version":1,"status":"ok","data":{{"tee":"tdx","rtmr1":"{digest}"}}}}"#
            ),
            "expected `mrtd`, got none",
        ),
        ("not json".to_owned(), "expected ident"),
    ] {
        fs::write(folder.path().join("m.json"), content).unwrap();
        let (code, message) = attest(folder.path(), "policy new --from @m.json --json").error();
        assert!(code == 1 && message.contains(said), "{message}");
    }
    let content = |rtmr: &str| {
        format!(
            r#"{{"schema_version":1,"status":"ok","data":{{"tee":"tdx","mrtd":"{digest}"{rtmr}}}}}"#
        )
    };
    fs::write(folder.path().join("a.json"), content("")).unwrap();
    fs::write(
        folder.path().join("b.json"),
        content(&format!(r#","rtmr2":"{digest}""#)),
    )
    .unwrap();
    let (_, message) = attest(
        folder.path(),
        "policy new --from @a.json --from @b.json --json",
    )
    .error();
    assert!(
        message.contains("rtmr2 is known of 1 of 2 machines"),
        "{message}"
    );
    assert_eq!(attest(folder.path(), "policy new").code, 2);
}
