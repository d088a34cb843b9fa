//! `attest collateral fetch` against a service on loopback that answers with Intel's own documents.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tributary_attest_program::program_at;
use tributary_console::{Console, run_with};

fn vectors() -> Option<PathBuf> {
    support::vectors().map(|folder| folder.join("tdx"))
}
/// A PCCS that holds this collateral; gives its address.
fn pccs(collateral: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let (chain, body) = answer(&collateral, first.split(' ').nth(1).unwrap());
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{chain}\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&body);
        }
    });
    format!("http://{address}")
}

/// The header and the body for a request's target.
fn answer(collateral: &Value, target: &str) -> (String, Vec<u8>) {
    let text = |name: &str| collateral[name].as_str().unwrap();
    let chain = |header: &str, name: &str| {
        let encoded = text(name).replace('\n', "%0A").replace(' ', "%20");
        format!("{header}: {encoded}\r\n")
    };
    let signed = |field: &str, document: &str, signature: &str| {
        format!(
            "{{\"{field}\":{},\"signature\":\"{}\"}}",
            text(document),
            text(signature)
        )
        .into_bytes()
    };
    let path = target.split('?').next().unwrap();
    match path.rsplit('/').next().unwrap() {
        "pckcrl" => (
            chain("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"),
            hex::decode(text("pck_crl")).unwrap(),
        ),
        "tcb" => (
            chain("TCB-Info-Issuer-Chain", "tcb_info_issuer_chain"),
            signed("tcbInfo", "tcb_info", "tcb_info_signature"),
        ),
        "identity" => (
            chain(
                "SGX-Enclave-Identity-Issuer-Chain",
                "qe_identity_issuer_chain",
            ),
            signed("enclaveIdentity", "qe_identity", "qe_identity_signature"),
        ),
        "rootcacrl" => (String::new(), text("root_ca_crl").as_bytes().to_vec()),
        other => panic!("unexpected request for {other}"),
    }
}

fn attest(folder: &Path, line: &str) -> (u8, Value) {
    let at = |word: &str| word.replace('@', &format!("{}/", folder.display()));
    let words = line.split_whitespace().map(at);
    let args = ["attest".to_owned(), "--json".to_owned()]
        .into_iter()
        .chain(words);
    let (console, captured) = Console::captured(true);
    let exit = run_with(args, &console, |line, console| {
        program_at(line, console, now())
    });
    let json = serde_json::from_str(&captured.stdout()).unwrap();
    (exit.code(), json)
}

/// A time at which the recorded documents are in date.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_751_000_000, 0).unwrap()
}

fn recorded(vectors: &Path) -> Value {
    let bytes = fs::read(vectors.join("v4-uptodate.collateral.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn what_a_quote_needs_is_fetched_and_verifies_it() {
    let Some(vectors) = vectors() else { return };
    let folder = tempfile::tempdir().unwrap();
    let quote = vectors.join("v4-uptodate.quote.bin");
    let quote = quote.display();
    let address = pccs(recorded(&vectors));
    let (code, json) = attest(
        folder.path(),
        &format!("collateral fetch --collateral @held --evidence {quote} --pcs {address}"),
    );
    assert_eq!(code, 0, "{json}");
    let written = json["data"]["written"].as_array().unwrap();
    assert_eq!(written.len(), 1);
    assert!(written[0].as_str().unwrap().ends_with(".json"));
    let entries = fs::read_dir(folder.path().join("held")).unwrap().count();
    assert_eq!(entries, 1, "nothing is left beside the folder tdx");

    let verify = format!("verify --evidence {quote}");
    let (code, json) = attest(folder.path(), &format!("{verify} --collateral @held"));
    assert_eq!(code, 0, "{json}");
    assert_eq!(attest(folder.path(), &verify).0, 10);
}

#[test]
fn what_a_model_of_platforms_needs_is_fetched_without_a_quote() {
    let Some(vectors) = vectors() else { return };
    let folder = tempfile::tempdir().unwrap();
    let collateral = recorded(&vectors);
    let info: Value = serde_json::from_str(collateral["tcb_info"].as_str().unwrap()).unwrap();
    let fmspc = info["fmspc"].as_str().unwrap();
    // The recorded list is of the authority for platforms, whichever is asked for.
    let address = pccs(collateral.clone());
    let line = "collateral fetch --collateral @held --pck-ca processor --fmspc";
    let (code, json) = attest(folder.path(), &format!("{line} {fmspc} --pcs {address}"));
    assert_eq!(code, 1, "{json}");
    let message = json["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("Intel's authority for processor"),
        "{message}"
    );
    for ca in ["", "--pck-ca platform"] {
        let address = pccs(collateral.clone());
        let (code, json) = attest(
            folder.path(),
            &format!("collateral fetch --collateral @held --fmspc {fmspc} {ca} --pcs {address}"),
        );
        assert_eq!(code, 0, "{json}");
        let written = json["data"]["written"][0].as_str().unwrap();
        let name = format!("tdx/{}.json", fmspc.to_lowercase());
        assert!(written.ends_with(&name), "{written}");
    }
    let quote = vectors.join("v4-uptodate.quote.bin");
    let verify = format!("verify --evidence {} --collateral @held", quote.display());
    assert_eq!(attest(folder.path(), &verify).0, 0);
}

#[test]
fn what_is_older_than_what_lies_there_is_not_kept() {
    let Some(vectors) = vectors() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut newer = recorded(&vectors);
    let mut info: Value = serde_json::from_str(newer["tcb_info"].as_str().unwrap()).unwrap();
    let fmspc = info["fmspc"].as_str().unwrap().to_lowercase();
    info["issueDate"] = "2099-01-01T00:00:00Z".into();
    newer["tcb_info"] = info.to_string().into();
    let held = folder.path().join("held/tdx").join(format!("{fmspc}.json"));
    fs::create_dir_all(held.parent().unwrap()).unwrap();
    fs::write(&held, newer.to_string()).unwrap();
    let address = pccs(recorded(&vectors));
    let line = format!("collateral fetch --collateral @held --fmspc {fmspc} --pcs {address}");
    let (code, json) = attest(folder.path(), &line);
    assert_eq!(
        (code, &json["error"]["code"]),
        (1, &"collateral-unavailable".into())
    );
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("older than that of 2099"), "{message}");
    assert_eq!(fs::read_to_string(&held).unwrap(), newer.to_string());
}

#[test]
fn what_intel_did_not_sign_is_not_kept_even_without_a_quote() {
    let Some(vectors) = vectors() else { return };
    let whole = recorded(&vectors);
    let info: Value = serde_json::from_str(whole["tcb_info"].as_str().unwrap()).unwrap();
    let fmspc = info["fmspc"].as_str().unwrap().to_owned();
    let fetch = |collateral: Value| {
        let folder = tempfile::tempdir().unwrap();
        let line = "collateral fetch --collateral @held --fmspc";
        let address = pccs(collateral);
        let (code, json) = attest(folder.path(), &format!("{line} {fmspc} --pcs {address}"));
        let kept = fs::read_dir(folder.path().join("held")).unwrap().count();
        assert_eq!(kept, usize::from(code == 0), "{json}");
        json
    };
    assert_eq!(fetch(whole.clone())["status"], "ok");
    for field in ["root_ca_crl", "pck_crl"] {
        // A bit of the signature, which ends the list.
        let mut changed = whole.clone();
        let text = changed[field].as_str().unwrap();
        let last = if text.ends_with('0') { "1" } else { "0" };
        let text = format!("{}{last}", &text[..text.len() - 1]);
        changed[field] = text.into();
        let json = fetch(changed);
        assert_eq!(json["error"]["code"], "collateral-unavailable", "{field}");
        let message = json["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(field), "{message}");
    }
    for (field, other) in [
        // A chain of Intel's, and not the one of who signed.
        ("tcb_info_issuer_chain", "pck_crl_issuer_chain"),
        ("pck_crl_issuer_chain", "tcb_info_issuer_chain"),
        ("pck_crl", "root_ca_crl"),
        ("root_ca_crl", "pck_crl"),
    ] {
        let mut changed = whole.clone();
        changed[field] = whole[other].clone();
        let json = fetch(changed);
        assert_eq!(json["error"]["code"], "collateral-unavailable", "{field}");
    }
}

#[test]
fn what_does_not_verify_is_not_kept() {
    let Some(vectors) = vectors() else { return };
    let quote = vectors.join("v4-uptodate.quote.bin");
    for (field, from, to) in [
        (
            "tcb_info",
            "\"tcbEvaluationDataNumber\":",
            "\"tcbEvaluationDataNumber\":1",
        ),
        ("qe_identity", "\"isvprodid\":", "\"isvprodid\":1"),
        ("tcb_info_signature", "0", "1"),
    ] {
        let mut changed = recorded(&vectors);
        let text = changed[field].as_str().unwrap().replacen(from, to, 1);
        assert_ne!(
            changed[field],
            text.as_str(),
            "{field} has nothing to change"
        );
        changed[field] = text.into();
        let folder = tempfile::tempdir().unwrap();
        let (code, json) = attest(
            folder.path(),
            &format!(
                "collateral fetch --collateral @held --evidence {} --pcs {}",
                quote.display(),
                pccs(changed)
            ),
        );
        assert_eq!(code, 1, "{field}: {json}");
        assert_eq!(json["error"]["code"], "collateral-unavailable", "{field}");
        let entries = fs::read_dir(folder.path().join("held")).unwrap().count();
        assert_eq!(entries, 0, "{field}");
    }
}

#[test]
fn evidence_a_product_or_a_model_must_be_named() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        "collateral fetch --collateral @held",
        "collateral fetch --collateral @held --product Naples",
        "collateral fetch --collateral @held --fmspc b0c06f",
        "collateral fetch --collateral @held --fmspc b0c06f000000 --pck-ca root",
        "collateral fetch --collateral @held --pck-ca platform",
        "collateral fetch --collateral @held --product Milan --kds http://kds.example",
    ] {
        assert_eq!(attest(folder.path(), line).0, 2, "{line}");
        assert!(!folder.path().join("held").exists());
    }
}
