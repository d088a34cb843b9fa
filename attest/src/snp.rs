//! AMD SEV-SNP: reports, the certificates that sign them, and what makes both genuine.
//!
//! Reports follow the "SEV Secure Nested Paging Firmware ABI Specification" (AMD 56860, revision 1.58),
//! certificates the "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification"
//! (AMD 57230), the table of certificates the "SEV-ES Guest-Hypervisor Communication Block
//! Standardization" (AMD 56421).

mod certificate;
mod certificate_table;
mod chain;
mod claims;
mod endorsements;
mod product;
#[cfg(test)]
mod refusal_tests;
mod report;
mod revocation;
mod roots;
mod store;
mod tcb;
#[cfg(test)]
mod test_chain;
mod vek;
mod verifier;

pub use certificate::SnpCertificateError;
pub use certificate_table::{CertificateKind, CertificateTable};
pub use report::SnpReport;
pub use tcb::RawTcb;
pub use vek::{Vek, VekKind};

pub(crate) use chain::{ChainCache, Intermediate};
pub(crate) use product::by_amd_name;
pub(crate) use store::SnpStore;
pub(crate) use verifier::SnpVerifier;
