//! What each fuzz target does with its input; the ordinary tests replay the seeds through the same functions.

use tributary_attest::{
    CertificateTable, Collateral, Evidence, SnpReport, TdxCollateral, TdxQuote, Vek,
    danger_read_unverified,
};

/// The 1184 bytes that AMD's firmware signs.
pub fn snp_report(data: &[u8]) {
    if let Ok(report) = SnpReport::parse(data) {
        assert!((2..=5).contains(&report.version));
        assert_eq!(data.len(), SnpReport::LEN);
    }
}

/// What a host puts beside a report.
pub fn certificate_table(data: &[u8]) {
    if let Ok(table) = CertificateTable::parse(data) {
        let bytes: usize = table.entries().map(|(_, entry)| entry.len()).sum();
        assert!(bytes <= data.len());
    }
}

/// The certificate of a key that signs reports.
pub fn vek(data: &[u8]) {
    if let Ok(vek) = Vek::parse(data) {
        assert_eq!(vek.tcb().fmc.is_some(), vek.product().has_fmc());
    }
}

/// A quote, and the model of the platform from the certificate in it.
pub fn tdx_quote(data: &[u8]) {
    if let Ok(quote) = TdxQuote::parse(data) {
        assert!(matches!(quote.version, 4 | 5));
        if let Ok(evidence) = Evidence::new(tributary_attest::Tee::Tdx, data.to_vec(), vec![]) {
            let _ = danger_read_unverified(&evidence);
        }
    }
}

/// What Intel says of a platform, as JSON.
pub fn tdx_collateral(data: &[u8]) {
    if let Ok(collateral) = TdxCollateral::parse(data) {
        assert!(data.len() <= TdxCollateral::MAX_JSON);
        let _ = collateral.fmspc();
    }
}

/// A file of the collateral folder, AMD's revocation lists among them: the first byte says which.
pub fn collateral_file(data: &[u8]) {
    let Some((which, content)) = data.split_first() else {
        return;
    };
    let place = PLACES[usize::from(*which) % PLACES.len()];
    let mut collateral = Collateral::empty();
    let empty = collateral.to_string();
    let taken = collateral.put(place, content).is_ok();
    // A root, and an intermediate that is built in, leave nothing behind.
    let counted = place.ends_with(".crl") || place.ends_with(".json") || place.contains("vcek/");
    assert_eq!(collateral.to_string() != empty, taken && counted, "{place}");
}

/// Each kind of file that the folder knows.
pub const PLACES: [&str; 8] = [
    "sev-snp/Milan/vcek.crl",
    "sev-snp/Turin/vlek.crl",
    "sev-snp/Genoa/ark.pem",
    "sev-snp/Milan/ask.der",
    "sev-snp/Milan/asvk.pem",
    "sev-snp/Milan/vcek/a.der",
    "tdx/00806f050000.json",
    "simulated/a.crl",
];

/// The container; what is read from it is written back the same.
pub fn evidence(data: &[u8]) {
    if let Ok(evidence) = Evidence::from_bytes(data) {
        assert_eq!(evidence.to_bytes(), data);
        let _ = danger_read_unverified(&evidence);
    }
}
