//! Evidence that real machines with TDX made: what is accepted, and what is refused for which reason.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod hardware;

use std::{fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use hardware::{judge, package, shared};
use tributary_attest::{
    CheckName, CheckResult, Collateral, Criterion, Fmspc, Policy, Refusal, TdVersion,
    TdxCollateral, TdxQuote, TdxTcbStatus, Tee, Verdict,
};

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

const UP_TO_DATE: i64 = 1_751_000_000;

fn tdx(
    quote: &Path,
    collateral: &Path,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<Verdict, Box<Refusal>> {
    let endorsement = vec![fs::read(collateral).unwrap()];
    judge(
        Tee::Tdx,
        &fs::read(quote).unwrap(),
        endorsement,
        &Collateral::empty(),
        policy,
        now,
    )
}

/// The default policy, whatever Intel says of the platform's TCB.
fn any_status() -> Policy {
    let mut policy = Policy::default_for_verify();
    let tdx = policy.tdx.as_mut().unwrap();
    tdx.tcb_statuses = Criterion::Any;
    tdx.advisory_ids = Criterion::Any;
    policy
}

#[test]
fn a_quote_is_accepted_within_the_time_of_its_collateral_and_not_outside() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let quote = folder.join("v4-uptodate.quote.bin");
    let json = folder.join("v4-uptodate.collateral.json");
    let policy = Policy::default_for_verify();
    let verdict = tdx(&quote, &json, &policy, time(UP_TO_DATE));
    let verdict = verdict.unwrap_or_else(|refusal| panic!("{refusal}"));
    let claims = verdict.platform.tdx().unwrap();
    assert_eq!(claims.td_version, TdVersion::Td10);
    assert_eq!(claims.tcb.as_ref().unwrap().status, TdxTcbStatus::UpToDate);
    for days in [-400, -30, 60, 600, 10_000] {
        let now = time(UP_TO_DATE) + TimeDelta::days(days);
        let refusal = tdx(&quote, &json, &policy, now).unwrap_err();
        assert_eq!(
            refusal.check(),
            CheckName::Validity,
            "{days} days: {refusal}"
        );
    }
    let before_1970 = tdx(&quote, &json, &policy, time(-1)).unwrap_err();
    assert_eq!(before_1970.check(), CheckName::Validity);
}

#[test]
fn the_quotes_of_the_package_dcap_qvl_are_judged_by_their_collateral() {
    let folder = package("dcap-qvl").join("sample");
    for (quote, version) in [
        ("tdx_quote", TdVersion::Td10),
        ("tdx_quote_td15ex", TdVersion::Td15),
    ] {
        let json = folder.join(format!("{quote}_collateral.json"));
        let issued = TdxCollateral::parse(&fs::read(&json).unwrap())
            .unwrap()
            .issued_at();
        let now = issued + TimeDelta::days(1);
        let verdict = tdx(&folder.join(quote), &json, &any_status(), now);
        let verdict = verdict.unwrap_or_else(|refusal| panic!("{quote}: {refusal}"));
        assert_eq!(verdict.platform.tdx().unwrap().td_version, version);
    }
    let quote = folder.join("tdx_quote_outdated");
    let json = folder.join("tdx_quote_outdated_collateral.json");
    let issued = TdxCollateral::parse(&fs::read(&json).unwrap())
        .unwrap()
        .issued_at();
    let refusal = tdx(&quote, &json, &any_status(), issued + TimeDelta::days(1)).unwrap_err();
    assert!(refusal.got().contains("TCB level"), "{refusal}");
}

#[test]
fn a_quote_of_sgx_is_refused() {
    let folder = package("dcap-qvl").join("sample");
    let json = folder.join("sgx_quote_collateral.json");
    let refusal = tdx(
        &folder.join("sgx_quote"),
        &json,
        &any_status(),
        time(UP_TO_DATE),
    )
    .unwrap_err();
    assert_eq!(refusal.check(), CheckName::ReportVersion);
}

#[test]
fn a_platform_below_every_level_is_refused_at_every_time() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let quote = folder.join("v4-no-matching-tcb.quote.bin");
    let json = folder.join("v4-no-matching-tcb.collateral.json");
    let issued = TdxCollateral::parse(&fs::read(&json).unwrap())
        .unwrap()
        .issued_at();
    for days in [-1000, -1, 0, 1, 10, 29, 31, 1000] {
        let now = issued + TimeDelta::days(days);
        tdx(&quote, &json, &any_status(), now).unwrap_err();
    }
}

#[test]
fn a_quote_without_collateral_is_read_and_refused() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let debug = fs::read(folder.join("v4-debug-parse-only.quote.bin")).unwrap();
    let parsed = TdxQuote::parse(&debug).unwrap();
    assert_eq!(parsed.body.td_attributes[0] & 1, 1);
    let refusal = judge(
        Tee::Tdx,
        &debug,
        vec![],
        &Collateral::empty(),
        &Policy::default_for_verify(),
        time(UP_TO_DATE),
    )
    .unwrap_err();
    assert_eq!(refusal.check(), CheckName::Certificate);

    // Text follows after this quote, which is no part of it: as it stands, it is refused.
    let with_text = fs::read(folder.join("v4-spr-parse-only.quote.bin")).unwrap();
    let error = TdxQuote::parse(&with_text).unwrap_err();
    assert!(error.contains("the bytes after the quote"), "{error}");
    let quote = TdxQuote::parse(&with_text[..48 + 584 + 4 + 4299]).unwrap();
    const SEPT_VE_DISABLE: u8 = 1 << 4;
    assert_eq!(quote.body.td_attributes[3] & SEPT_VE_DISABLE, 0);
}

#[test]
fn a_collateral_folder_stands_in_for_the_endorsement_and_is_found_by_fmspc() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let quote = fs::read(folder.join("v4-uptodate.quote.bin")).unwrap();
    let json = fs::read(folder.join("v4-uptodate.collateral.json")).unwrap();
    let fmspc: Fmspc = TdxCollateral::parse(&json).unwrap().fmspc();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tdx")).unwrap();
    let file = dir.path().join(format!("tdx/{fmspc}.json"));
    fs::write(&file, &json).unwrap();
    let collateral = Collateral::load(dir.path()).unwrap();
    let policy = Policy::default_for_verify();
    judge(
        Tee::Tdx,
        &quote,
        vec![],
        &collateral,
        &policy,
        time(UP_TO_DATE),
    )
    .unwrap();

    fs::rename(&file, dir.path().join("tdx/000000000000.json")).unwrap();
    let error = Collateral::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("tcb_info.fmspc"), "{error}");
    let none = Collateral::empty();
    let refusal = judge(Tee::Tdx, &quote, vec![], &none, &policy, time(UP_TO_DATE)).unwrap_err();
    assert_eq!(refusal.check(), CheckName::Certificate);
}

#[test]
fn collateral_of_another_platform_or_changed_is_refused() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let quote = fs::read(folder.join("v4-uptodate.quote.bin")).unwrap();
    let json = fs::read_to_string(folder.join("v4-uptodate.collateral.json")).unwrap();
    let other = fs::read(folder.join("v4-no-matching-tcb.collateral.json")).unwrap();
    let check = |json: Vec<u8>| {
        judge(
            Tee::Tdx,
            &quote,
            vec![json],
            &Collateral::empty(),
            &any_status(),
            time(UP_TO_DATE),
        )
        .unwrap_err()
        .check()
    };
    check(other);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let text = |value: &serde_json::Value| serde_json::to_vec(value).unwrap();
    for field in value.as_object().unwrap().keys() {
        let mut without = value.clone();
        without.as_object_mut().unwrap().remove(field);
        if field != "pck_certificate_chain" {
            assert_eq!(check(text(&without)), CheckName::Format, "{field}");
        }
    }
    let mut more = value.clone();
    more["more"] = "".into();
    assert_eq!(check(text(&more)), CheckName::Format);
    for field in [
        "tcb_info_signature",
        "qe_identity_signature",
        "root_ca_crl",
        "pck_crl",
    ] {
        let mut changed = value.clone();
        let last = changed[field].as_str().unwrap().to_owned();
        let flipped = if last.ends_with('0') { "1" } else { "0" };
        changed[field] = format!("{}{flipped}", &last[..last.len() - 1]).into();
        check(text(&changed));
        changed[field] = "no hexadecimal digits".into();
        assert_eq!(check(text(&changed)), CheckName::Format, "{field}");
    }
    for field in ["tcb_info", "qe_identity"] {
        let mut changed = value.clone();
        changed[field] = format!("{} ", value[field].as_str().unwrap()).into();
        assert_eq!(check(text(&changed)), CheckName::Certificate, "{field}");
    }
    assert_eq!(check(vec![b' '; 1000]), CheckName::Format);
}

#[test]
fn two_endorsements_are_refused() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let quote = fs::read(folder.join("v4-uptodate.quote.bin")).unwrap();
    let json = fs::read(folder.join("v4-uptodate.collateral.json")).unwrap();
    let refusal = judge(
        Tee::Tdx,
        &quote,
        vec![json; 2],
        &Collateral::empty(),
        &Policy::default_for_verify(),
        time(UP_TO_DATE),
    )
    .unwrap_err();
    assert_eq!(refusal.check(), CheckName::Format);
}

#[test]
fn every_changed_byte_of_a_quote_is_refused() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let quote = fs::read(folder.join("v4-uptodate.quote.bin")).unwrap();
    let json = fs::read(folder.join("v4-uptodate.collateral.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tdx")).unwrap();
    let fmspc = TdxCollateral::parse(&json).unwrap().fmspc();
    fs::write(dir.path().join(format!("tdx/{fmspc}.json")), &json).unwrap();
    let collateral = Collateral::load(dir.path()).unwrap();
    let policy = any_status();
    // The certificates' text in the quote is not signed as a whole: line breaks may change what no one reads.
    let chain = 48 + 584 + 4 + 128 + 6 + 448 + 2 + 32 + 6;
    let end = 48 + 584 + 4 + 4300;
    for at in (0..chain).chain(end..quote.len()) {
        let mut changed = quote.clone();
        changed[at] ^= 1 << (at % 8);
        let refusal = judge(
            Tee::Tdx,
            &changed,
            vec![],
            &collateral,
            &policy,
            time(UP_TO_DATE),
        )
        .unwrap_err();
        let said: Vec<_> = refusal
            .checks()
            .iter()
            .filter(|check| check.result == CheckResult::Fail)
            .map(|check| check.name)
            .collect();
        assert!(
            !said.contains(&CheckName::ReportData) && !said.contains(&CheckName::Measurement),
            "{at}: {refusal}"
        );
    }
}

#[test]
fn intels_documents_hold_without_a_quote_where_they_are_signed_and_in_date() {
    let Some(folder) = shared("vectors/tdx") else {
        return;
    };
    let json = fs::read(folder.join("v4-uptodate.collateral.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let now = hardware::at("2025-06-27T04:53:20Z");
    let check = |collateral: &serde_json::Value, now| {
        TdxCollateral::parse(&serde_json::to_vec(collateral).unwrap())
            .and_then(|collateral| collateral.check_signed(now))
    };
    check(&whole, now).unwrap();
    for days in [-60, 60] {
        let error = check(&whole, now + TimeDelta::days(days)).unwrap_err();
        assert!(error.to_string().contains("valid from"), "{error}");
    }
    for (field, from, to) in [
        ("tcb_info", "\"version\":3", "\"version\": 3"),
        ("qe_identity", "\"version\":2", "\"version\": 2"),
        ("tcb_info_signature", "", "00"),
        ("qe_identity_signature", "", "00"),
    ] {
        let mut changed = whole.clone();
        let text = changed[field].as_str().unwrap();
        let text = match from {
            // Another value of the same length.
            "" => format!("{to}{}", &text[2..]),
            from => text.replacen(from, to, 1),
        };
        assert_ne!(changed[field], text.as_str(), "{field}");
        changed[field] = text.into();
        let error = check(&changed, now).unwrap_err().to_string();
        assert!(error.contains("does not verify"), "{field}: {error}");
    }
    for field in [
        "pck_crl_issuer_chain",
        "tcb_info_issuer_chain",
        "qe_identity_issuer_chain",
    ] {
        let text = whole[field].as_str().unwrap();
        let one = &text[..text.len() / 2];
        let end = text.find("-----END CERTIFICATE-----").unwrap() + 26;
        for chain in [
            String::new(),
            one.to_owned(),
            text[..end].to_owned(),
            text.repeat(2),
        ] {
            let mut changed = whole.clone();
            changed[field] = chain.into();
            let error = check(&changed, now).unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
