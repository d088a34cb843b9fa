//! Evidence of real machines, and which of them this one is.
//!
//! ```text
//! Machine --attester--> SnpAttester or TdxAttester --attest--> Evidence
//! ```
//!
//! Nothing here verifies a signature: a machine that forges its own evidence is refused by its peers. What is checked
//! is what would otherwise be found out by the peer: that the report is whole and made for the data that was given.

mod choice;
mod machine;
mod sev_guest;
mod snp;
mod tdx;

pub use self::{
    choice::{ChoiceError, TeeChoice},
    machine::Machine,
    snp::SnpAttester,
    tdx::TdxAttester,
};
