//! The cryptography that `dcap-qvl` is given: aws-lc's, as for everything else here.

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use dcap_qvl::{
    config::{Config, CryptoProvider},
    signature::DerSigEncoder,
    x509::X509CertBackend,
};
use rustls_pki_types::SignatureVerificationAlgorithm;

/// `dcap-qvl` with its own parsers and aws-lc's algorithms.
pub(super) struct AwsLc;

impl Config for AwsLc {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for AwsLc {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, data).as_ref());
        out
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut out = [0; 48];
        out.copy_from_slice(digest(&SHA384, data).as_ref());
        out
    }
}
