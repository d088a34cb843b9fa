//! What the verifier of SEV-SNP refuses, one change at a time, with keys that the tests made.

use aws_lc_rs::{rsa::KeySize, signature::RsaKeyPair};
use chrono::TimeDelta;

use super::{chain::Intermediate, store::SnpStore, test_chain::*, verifier::SnpVerifier};
use crate::{
    check::{CheckList, CheckResult},
    check_name::CheckName,
    claims::{Claims, SnpProduct, SnpSigningKey},
    collateral::Collateral,
    evidence::Evidence,
    policy::Policy,
    tee::Tee,
    verifier::Verifier,
};
use SnpSigningKey::{Vcek, Vlek};

/// Presents a chain's report with these endorsements.
fn verify(
    chain: &TestChain,
    endorsements: Vec<Vec<u8>>,
    store: SnpStore,
) -> Result<Claims, (CheckName, String)> {
    let evidence = Evidence::new(Tee::SevSnp, chain.signed_report(), endorsements).unwrap();
    verify_evidence(&evidence, &Collateral::for_tests(store), chain)
}

fn verify_evidence(
    evidence: &Evidence,
    collateral: &Collateral,
    chain: &TestChain,
) -> Result<Claims, (CheckName, String)> {
    let mut checks = CheckList::default();
    let claims = SnpVerifier.verify(&any_policy(), evidence, collateral, chain.now, &mut checks);
    let (checks, _) = checks.into_parts();
    claims.map_err(|_| {
        let failed: Vec<_> = checks
            .iter()
            .filter(|c| c.result == CheckResult::Fail)
            .collect();
        assert_eq!(failed.len(), 1, "{checks:?}");
        (failed[0].name, failed[0].got.clone())
    })
}

/// The verifier of SEV-SNP asks the policy for nothing.
fn any_policy() -> Policy {
    Policy::simulated(crate::SimulatedRootKey::new([0; 32]), [])
}

/// The chain is accepted; after one change the named check refuses it.
fn refused(name: CheckName, change: impl FnOnce(&mut TestChain)) {
    refused_in(TestChain::new(SnpProduct::Milan, Vcek), name, change);
}

fn refused_in(mut chain: TestChain, name: CheckName, change: impl FnOnce(&mut TestChain)) {
    let store = chain.store();
    verify(&chain, vec![chain.leaf_der()], chain.store()).unwrap();
    change(&mut chain);
    let refusal = verify(&chain, vec![chain.leaf_der()], store).unwrap_err();
    assert_eq!(refusal.0, name, "{refusal:?}");
}

fn other_rsa() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

#[test]
fn every_product_is_accepted_with_a_chips_key_and_with_a_providers() {
    for product in SnpProduct::ALL {
        let chain = TestChain::new(product, Vcek);
        let claims = verify(&chain, vec![chain.leaf_der()], chain.store()).unwrap();
        let snp = claims.platform.sev_snp().unwrap().clone();
        assert_eq!((snp.product, snp.signing_key), (product, Vcek));
        let expected = crate::claims::SnpTcb {
            fmc: product.has_fmc().then_some(1),
            ..TCB
        };
        assert_eq!(snp.reported_tcb, expected);

        let chain = TestChain::new(product, Vlek);
        let endorsements = vec![chain.leaf_der(), chain.asvk_der()];
        let claims = verify(&chain, endorsements, chain.store()).unwrap();
        assert_eq!(claims.platform.sev_snp().unwrap().signing_key, Vlek);
    }
}

#[test]
fn endorsements_come_in_any_order_in_pem_and_with_the_pinned_root() {
    let chain = TestChain::new(SnpProduct::Genoa, Vcek);
    let pem = |der: &[u8]| {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let both = pem(&chain.ark_der()) + &pem(&chain.ask_der());
    let endorsements = vec![both.into_bytes(), chain.leaf_der()];
    verify(&chain, endorsements, chain.store()).unwrap();
}

#[test]
fn the_hosts_table_of_certificates_is_an_endorsement() {
    use super::certificate_table::{ASK, VCEK, tests::table};

    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let (leaf, ask) = (chain.leaf_der(), chain.ask_der());
    let whole = table(&[(VCEK, &leaf), (ASK, &ask), ([9; 16], b"the host's")]);
    verify(&chain, vec![whole.clone()], chain.store()).unwrap();
    let cut = whole[..whole.len() - 1].to_vec();
    let refusal = verify(&chain, vec![cut], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Format);
    // Without a key, what the host adds is of no use.
    let foreign = table(&[([9; 16], &leaf)]);
    let refusal = verify(&chain, vec![foreign], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
}

#[test]
fn what_the_evidence_lacks_comes_from_the_collateral() {
    let chain = TestChain::new(SnpProduct::Milan, Vlek);
    let refusal = verify(&chain, vec![chain.leaf_der()], chain.store()).unwrap_err();
    assert_eq!(refusal, (CheckName::Certificate, "none".to_owned()));
    let mut store = chain.store();
    store
        .put_intermediate(chain.product, Intermediate::Asvk, &chain.asvk_der())
        .unwrap();
    store
        .put_vek(chain.product, Vlek, &chain.leaf_der())
        .unwrap();
    verify(&chain, vec![], store).unwrap();

    let chain = TestChain::new(SnpProduct::Turin, Vcek);
    let refusal = verify(&chain, vec![], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
    let mut store = chain.store();
    store
        .put_vek(chain.product, Vcek, &chain.leaf_der())
        .unwrap();
    verify(&chain, vec![], store).unwrap();
}

#[test]
fn the_collateral_takes_nothing_that_its_root_did_not_sign() {
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let mut forged = TestChain::new(SnpProduct::Milan, Vcek);
    let mut store = chain.store();
    let milan = SnpProduct::Milan;
    assert!(store.check_root(milan, &chain.ark_der()).is_ok());
    assert!(store.check_root(milan, &forged.ark_der()).is_err());
    assert!(store.check_root(milan, &chain.ask_der()).is_err());
    for kind in [Intermediate::Ask, Intermediate::Asvk] {
        let (own, foreign) = match kind {
            Intermediate::Ask => (chain.ask_der(), forged.ask_der()),
            Intermediate::Asvk => (chain.asvk_der(), forged.asvk_der()),
        };
        assert!(store.put_intermediate(milan, kind, &foreign).is_err());
        assert!(
            store
                .put_intermediate(SnpProduct::Genoa, kind, &own)
                .is_err()
        );
        assert!(store.put_intermediate(milan, kind, &own).is_ok());
    }
    assert!(
        store
            .put_intermediate(milan, Intermediate::Ask, &chain.asvk_der())
            .is_err()
    );
    let (from, to) = (chain.now, chain.now + TimeDelta::days(1));
    assert!(
        store
            .put_list(milan, Intermediate::Ask, &forged.list(&[], from, to))
            .is_err()
    );
    forged.root = other_rsa();
    assert!(
        store
            .put_list(milan, Intermediate::Ask, &chain.list(&[], from, to))
            .is_ok()
    );
    assert!(store.put_vek(milan, Vlek, &chain.leaf_der()).is_err());
    assert!(
        store
            .put_vek(SnpProduct::Genoa, Vcek, &chain.leaf_der())
            .is_err()
    );
}

#[test]
fn a_self_made_root_is_refused_whether_sent_or_only_used() {
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let forged = TestChain::new(SnpProduct::Milan, Vcek);
    let all = vec![forged.leaf_der(), forged.ask_der(), forged.ark_der()];
    let refusal = verify(&forged, all, chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Root);
    let without = vec![forged.leaf_der(), forged.ask_der()];
    let refusal = verify(&forged, without, chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
    let refusal = verify(&forged, vec![forged.leaf_der()], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
}

#[test]
fn another_products_root_is_refused() {
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let genoa = super::roots::Roots::amd()
        .of(SnpProduct::Genoa)
        .ark
        .der()
        .to_vec();
    let refusal = verify(&chain, vec![chain.leaf_der(), genoa], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Root);
}

#[test]
fn a_chain_with_one_foreign_signature_is_refused() {
    refused(CheckName::Certificate, |chain| {
        chain.intermediate = other_rsa()
    });
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let foreign = TestChain::new(SnpProduct::Milan, Vcek);
    let evidence =
        Evidence::new(Tee::SevSnp, foreign.signed_report(), vec![chain.leaf_der()]).unwrap();
    let collateral = Collateral::for_tests(chain.store());
    let refusal = verify_evidence(&evidence, &collateral, &chain).unwrap_err();
    assert_eq!(refusal.0, CheckName::ReportSignature);
}

#[test]
fn an_intermediate_that_may_not_sign_is_refused() {
    for change in [
        |chain: &mut TestChain| *chain.ask.extension(BASIC_CONSTRAINTS) = tlv(0x30, &[]),
        |chain: &mut TestChain| *chain.ask.extension(KEY_USAGE) = tlv(0x03, &[1, 0b0000_0010]),
        |chain: &mut TestChain| {
            chain
                .ask
                .extensions
                .retain(|(oid, ..)| *oid != BASIC_CONSTRAINTS)
        },
    ] {
        let mut chain = TestChain::new(SnpProduct::Milan, Vcek);
        let store = chain.store();
        change(&mut chain);
        let endorsements = vec![chain.leaf_der(), chain.ask_der()];
        let refusal = verify(&chain, endorsements, store).unwrap_err();
        assert_eq!(refusal.0, CheckName::Certificate);
    }
}

#[test]
fn a_leaf_that_names_another_issuer_is_refused() {
    refused(CheckName::Certificate, |chain| {
        chain.leaf.issuer = "SEV-Genoa".to_owned()
    });
}

#[test]
fn a_providers_key_is_not_taken_for_a_chips_nor_the_reverse() {
    // The report says VCEK, and a VLEK with its whole chain comes along.
    let mut chain = TestChain::new(SnpProduct::Milan, Vlek);
    let store = chain.store();
    let endorsements = vec![chain.leaf_der(), chain.asvk_der()];
    verify(&chain, endorsements.clone(), chain.store()).unwrap();
    chain.report[0x48] = 0;
    let refusal = verify(&chain, endorsements, store).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
    assert!(refusal.1.contains("VLEK of"), "{refusal:?}");

    refused(CheckName::Certificate, |chain| chain.report[0x48] = 1 << 2);

    // A VLEK signed by the ASK, a VCEK by the ASVK.
    let mut chain = TestChain::new(SnpProduct::Milan, Vlek);
    chain.leaf.issuer = "SEV-Milan".to_owned();
    let endorsements = vec![chain.leaf_der(), chain.asvk_der(), chain.ask_der()];
    let refusal = verify(&chain, endorsements, chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
    let mut chain = TestChain::new(SnpProduct::Milan, Vcek);
    chain.leaf.issuer = "SEV-VLEK-Milan".to_owned();
    let endorsements = vec![chain.leaf_der(), chain.asvk_der()];
    let refusal = verify(&chain, endorsements, chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
}

#[test]
fn a_certificate_of_two_kinds_or_none_is_refused() {
    refused(CheckName::Format, |chain| {
        chain.leaf.subject = "SEV-VLEK".to_owned()
    });
    refused(CheckName::Format, |chain| {
        chain.leaf.subject = "SEV-OTHER".to_owned()
    });
    refused(CheckName::Format, |chain| {
        chain
            .leaf
            .extensions
            .push((PROVIDER_ID, false, tlv(0x16, b"CN=cloud")));
    });
    refused(CheckName::Format, |chain| {
        chain
            .leaf
            .extensions
            .retain(|(oid, ..)| *oid != HARDWARE_ID);
    });
}

#[test]
fn two_keys_of_the_kind_that_signed_are_refused() {
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let refusal = verify(&chain, vec![chain.leaf_der(); 2], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
}

#[test]
fn certificates_before_and_after_their_time_are_refused() {
    let day = TimeDelta::days(1);
    refused(CheckName::Validity, |chain| {
        chain.leaf.not_after = chain.now - day
    });
    refused(CheckName::Validity, |chain| {
        chain.leaf.not_before = chain.now + day
    });
    for at in [-31, 31] {
        refused(CheckName::Validity, |chain| {
            chain.now += TimeDelta::days(at)
        });
    }
    for (from, to) in [(-2, -1), (1, 2)] {
        let mut chain = TestChain::new(SnpProduct::Milan, Vcek);
        let store = chain.store();
        chain.ask.not_before = chain.now + TimeDelta::days(from);
        chain.ask.not_after = chain.now + TimeDelta::days(to);
        let endorsements = vec![chain.leaf_der(), chain.ask_der()];
        let refusal = verify(&chain, endorsements, store).unwrap_err();
        assert_eq!(refusal.0, CheckName::Validity);
    }
    let mut chain = TestChain::new(SnpProduct::Milan, Vcek);
    chain.ark.not_after = chain.now - day;
    let refusal = verify(&chain, vec![chain.leaf_der()], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Validity);
}

#[test]
fn validity_is_looked_at_again_where_the_chain_is_remembered() {
    let mut chain = TestChain::new(SnpProduct::Milan, Vcek);
    let collateral = Collateral::for_tests(chain.store());
    let evidence =
        Evidence::new(Tee::SevSnp, chain.signed_report(), vec![chain.leaf_der()]).unwrap();
    verify_evidence(&evidence, &collateral, &chain).unwrap();
    verify_evidence(&evidence, &collateral, &chain).unwrap();
    chain.now += TimeDelta::days(31);
    let refusal = verify_evidence(&evidence, &collateral, &chain).unwrap_err();
    assert_eq!(refusal.0, CheckName::Validity);
}

#[test]
fn a_remembered_chain_vouches_for_no_other_certificate() {
    let mut chain = TestChain::new(SnpProduct::Milan, Vcek);
    let collateral = Collateral::for_tests(chain.store());
    let good = Evidence::new(Tee::SevSnp, chain.signed_report(), vec![chain.leaf_der()]).unwrap();
    verify_evidence(&good, &collateral, &chain).unwrap();
    // The same contents and key, signed by another.
    chain.intermediate = other_rsa();
    let forged = Evidence::new(Tee::SevSnp, chain.signed_report(), vec![chain.leaf_der()]).unwrap();
    let refusal = verify_evidence(&forged, &collateral, &chain).unwrap_err();
    assert_eq!(refusal.0, CheckName::Certificate);
}

#[test]
fn revoked_certificates_and_stale_or_future_lists_are_refused() {
    let chain = TestChain::new(SnpProduct::Milan, Vlek);
    let day = TimeDelta::days(1);
    let (before, now, after) = (chain.now - day, chain.now, chain.now + day);
    let endorsements = || vec![chain.leaf_der(), chain.asvk_der()];
    let with_list = |kind, serials: &[u8], from, to| {
        let mut store = chain.store();
        store
            .put_list(chain.product, kind, &chain.list(serials, from, to))
            .unwrap();
        verify(&chain, endorsements(), store)
    };
    with_list(Intermediate::Asvk, &[], before, after).unwrap();
    with_list(Intermediate::Asvk, &[7], before, after).unwrap();
    // The other chain's list says nothing of this one.
    with_list(Intermediate::Ask, &[3], before, after).unwrap();
    for serials in [&[3][..], &[0], &[9, 3]] {
        let refusal = with_list(Intermediate::Asvk, serials, before, after).unwrap_err();
        assert_eq!(refusal.0, CheckName::Revocation);
    }
    let second = TimeDelta::seconds(1);
    for (from, to) in [(before, now - second), (now + second, after)] {
        let refusal = with_list(Intermediate::Asvk, &[], from, to).unwrap_err();
        assert_eq!(refusal.0, CheckName::Revocation);
    }
}

#[test]
fn lists_that_are_out_of_date_older_or_gone_are_told() {
    let chain = TestChain::new(SnpProduct::Milan, Vlek);
    let now = chain.now;
    let of_days = |from, to| {
        let [from, to] = [from, to].map(|days| now + TimeDelta::days(days));
        let (mut store, list) = (chain.store(), chain.list(&[], from, to));
        store
            .put_list(chain.product, Intermediate::Ask, &list)
            .unwrap();
        Collateral::for_tests(store)
    };
    assert_eq!(of_days(-1, 1).outdated(now), None);
    for collateral in [of_days(-2, -1), of_days(1, 2)] {
        let told = collateral.outdated(now).unwrap();
        assert!(told.contains("Milan"), "{told}");
    }
    let held = of_days(-1, 1);
    assert!(of_days(-2, 1).predates(&held).is_some());
    assert_eq!(of_days(0, 1).predates(&held), None);
    assert!(Collateral::for_tests(chain.store()).lacks(&held).is_some());
}

#[test]
fn a_certificate_of_another_chip_or_firmware_is_refused() {
    let binding = CheckName::PlatformBinding;
    refused(binding, |chain| chain.leaf.extension(HARDWARE_ID)[63] ^= 1);
    refused(binding, |chain| chain.report[0x1a0] ^= 1);
    refused(binding, |chain| chain.report[0x1df] ^= 1);
    refused(binding, |chain| chain.report[0x1a0..0x1e0].fill(0));
    for (oid, number) in [(BOOTLOADER, 3), (TEE, 1), (SNP, 23), (MICROCODE, 218)] {
        refused(binding, |chain| {
            *chain.leaf.extension(oid) = integer(number)
        });
    }
    for at in [0x180, 0x181, 0x182, 0x186, 0x187] {
        refused(binding, |chain| chain.report[at] += 1);
    }
    refused(binding, |chain| chain.report[0x189] = 0x11);
    let turin = || TestChain::new(SnpProduct::Turin, Vcek);
    refused_in(turin(), binding, |chain| {
        *chain.leaf.extension(FMC) = integer(2)
    });
    refused_in(turin(), binding, |chain| chain.report[0x1a0 + 8] = 1);
    refused_in(turin(), binding, |chain| chain.report[0x1a7] ^= 1);
    refused_in(turin(), binding, |chain| chain.report[0x185] = 1);
}

#[test]
fn reserved_bytes_of_every_tcb_are_looked_at() {
    for at in [0x38 + 2, 0x1e0 + 3, 0x1f0 + 5] {
        refused(CheckName::Format, |chain| chain.report[at] = 1);
    }
}

#[test]
fn malformed_extensions_are_refused() {
    let format = CheckName::Format;
    for (oid, content) in [
        (MICROCODE, vec![0x02, 0x01, 0xdb]), // negative: two bytes are needed
        (MICROCODE, vec![0x02, 0x02, 0x00, 0x13]), // two where one would do
        (MICROCODE, vec![0x02, 0x02, 0x01, 0x00]), // 256
        (MICROCODE, vec![0x02, 0x01, 0xdb, 0x00]), // more behind
        (MICROCODE, vec![0xdb]),             // no DER
        (SPL5, integer(1)),                  // a part that nobody compares
        (STRUCTURE_VERSION, integer(2)),
        (PRODUCT_NAME, tlv(0x16, b"Venice")),
        (PRODUCT_NAME, tlv(0x16, b"")),
        (PRODUCT_NAME, tlv(0x0c, b"Milan")), // another kind of string
        (HARDWARE_ID, vec![CHIP_OTHER; 8]),  // Turin's length
        (HARDWARE_ID, vec![CHIP_OTHER; 65]),
    ] {
        refused(format, |chain| *chain.leaf.extension(oid) = content);
    }
    refused(format, |chain| {
        chain.leaf.extensions.push((FMC, false, integer(1)))
    });
    refused(format, |chain| {
        let again = chain.leaf.extensions[2].clone();
        chain.leaf.extensions.push(again);
    });
    refused(format, |chain| {
        chain
            .leaf
            .extensions
            .push(("2.5.29.30", true, vec![0x30, 0]))
    });
    refused(format, |chain| {
        chain.leaf.extensions.retain(|(oid, ..)| *oid != MICROCODE);
    });
}

#[test]
fn malformed_oversize_and_too_many_endorsements_are_refused() {
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let leaf = chain.leaf_der();
    let cut = leaf[..leaf.len() - 1].to_vec();
    let longer = [leaf.as_slice(), &[0]].concat();
    for endorsement in [
        vec![0x30],
        b"no PEM".to_vec(),
        cut,
        longer,
        vec![0x30; 20_000],
    ] {
        let refusal = verify(&chain, vec![endorsement], chain.store()).unwrap_err();
        assert_eq!(refusal.0, CheckName::Format);
    }
    let list = chain.list(&[], chain.now, chain.now);
    let refusal = verify(&chain, vec![leaf, list], chain.store()).unwrap_err();
    assert_eq!(refusal.0, CheckName::Format);
}

#[test]
fn an_empty_cut_or_foreign_report_is_refused() {
    let chain = TestChain::new(SnpProduct::Milan, Vcek);
    let collateral = Collateral::for_tests(chain.store());
    let report = chain.signed_report();
    let longer = [report.as_slice(), &[0]].concat();
    for (bytes, name) in [
        (vec![0], CheckName::ReportVersion),
        (report[..1183].to_vec(), CheckName::ReportVersion),
        (longer, CheckName::ReportVersion),
        (crate::tdx::blank_quote(), CheckName::ReportVersion),
    ] {
        let evidence = Evidence::new(Tee::SevSnp, bytes, vec![chain.leaf_der()]).unwrap();
        let refusal = verify_evidence(&evidence, &collateral, &chain).unwrap_err();
        assert_eq!(refusal.0, name);
    }
    let mut zero = chain.report.clone();
    zero[0x2a0..].fill(0);
    let evidence = Evidence::new(Tee::SevSnp, zero, vec![chain.leaf_der()]).unwrap();
    let refusal = verify_evidence(&evidence, &collateral, &chain).unwrap_err();
    assert_eq!(refusal.0, CheckName::ReportSignature);
}

#[test]
fn every_changed_byte_of_a_report_is_refused() {
    let chain = TestChain::new(SnpProduct::Turin, Vcek);
    let collateral = Collateral::for_tests(chain.store());
    let report = chain.signed_report();
    for at in 0..report.len() {
        let mut changed = report.clone();
        changed[at] ^= 1 << (at % 8);
        let evidence = Evidence::new(Tee::SevSnp, changed, vec![chain.leaf_der()]).unwrap();
        assert!(
            verify_evidence(&evidence, &collateral, &chain).is_err(),
            "{at:#x}"
        );
    }
}

const CHIP_OTHER: u8 = 0xc7;
