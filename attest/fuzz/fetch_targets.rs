//! What the fuzz targets of services' answers do with their input; the tests of the crate replay the seeds.

use chrono::DateTime;
use tributary_collateral_fetch::{Answer, FetchError, PcsAnswers, TdxCollateralJson, retry_after};

/// What is taken of a PCCS's answers is taken as it came: no part grows but by its spelling.
pub fn pcs_answers(data: &[u8]) {
    if let Ok(collateral) = read(data) {
        let json = serde_json::to_vec(&collateral).unwrap_or_default();
        assert!(!json.is_empty() && json.len() <= 12 * data.len() + 1024);
    }
}

/// Four answers of a PCCS: the header of all, then the four bodies, separated by a byte that none of them has.
pub fn read(data: &[u8]) -> Result<TdxCollateralJson, FetchError> {
    let mut parts = data.split(|byte| *byte == SEPARATOR);
    let mut part = || parts.next().unwrap_or_default();
    let chain = part();
    let headers = [
        "SGX-PCK-CRL-Issuer-Chain",
        "TCB-Info-Issuer-Chain",
        "SGX-Enclave-Identity-Issuer-Chain",
    ];
    let mut answer = || {
        let answer = Answer::new(part().to_vec(), headers.map(|name| (name, chain)));
        (String::new(), answer)
    };
    let answers = PcsAnswers {
        pck_crl: answer(),
        root_ca_crl: answer(),
        tcb_info: answer(),
        qe_identity: answer(),
    };
    TdxCollateralJson::read(answers)
}

/// The header by which a service asks for patience.
pub fn retry_header(data: &[u8]) {
    let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap_or_default();
    if let Ok(value) = std::str::from_utf8(data) {
        let _ = retry_after(value, now);
    }
}

const SEPARATOR: u8 = 0xff;
