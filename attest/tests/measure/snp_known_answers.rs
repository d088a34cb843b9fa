//! Digests that others published, over the images they published with them.
//!
//! The two images are the last pages of builds of OVMF; they and the digests come from the package `sev` (tests/measurement),
//! which has them from the tool sev-snp-measure; both are under Apache-2.0.

use std::{path::PathBuf, process::Command};

use tributary_attest::{FileDigest, KernelHashes, SnpFirmware, SnpGuest, VcpuType};

#[test]
fn published_launch_digests_are_computed() {
    let folder = package_sev().join("tests/measurement");
    let empty = Some("");
    for (image, command_line, vcpus, features, expected) in [
        (
            "ovmf_AmdSev_suffix.bin",
            empty,
            1,
            "1",
            "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            empty,
            1,
            "21",
            "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            Some("console=ttyS0 loglevel=7"),
            1,
            "1",
            "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            Some("console=ttyS0 loglevel=7"),
            1,
            "21",
            "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            None,
            1,
            "1",
            "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            None,
            1,
            "21",
            "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            empty,
            4,
            "1",
            "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5",
        ),
        (
            "ovmf_AmdSev_suffix.bin",
            empty,
            4,
            "21",
            "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942",
        ),
        (
            "ovmf_OvmfX64_suffix.bin",
            None,
            1,
            "1",
            "da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005",
        ),
    ] {
        let bytes = std::fs::read(folder.join(image)).unwrap();
        let nothing = FileDigest::of_bytes(b"");
        let kernel_hashes =
            command_line.map(|line| KernelHashes::new(&nothing, Some(&nothing), line).unwrap());
        let guest = SnpGuest {
            firmware: &SnpFirmware::parse(&bytes).unwrap(),
            kernel_hashes: kernel_hashes.as_ref(),
            vcpus,
            cpu: VcpuType::EpycV4.signature(),
            guest_features: features.parse().unwrap(),
        };
        assert_eq!(
            guest.digest().unwrap().to_string(),
            expected,
            "{image} {command_line:?} {vcpus} {features}"
        );
    }
}

/// Where cargo keeps the sources of the package, which this crate's tests depend on.
fn package_sev() -> PathBuf {
    let ran = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "sev")
        .unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap())
        .parent()
        .unwrap()
        .to_owned()
}
