//! Intel TDX: quotes, what Intel says of platforms, and what makes both genuine.
//!
//! Quotes follow the "Intel TDX DCAP Quoting Library API" (appendix A.3, versions 4 and 5). The chain from
//! Intel's root to the quote is walked by `dcap-qvl`, with aws-lc for the cryptography; what it leaves
//! open is decided here and in the appraisal.

mod claims;
mod collateral;
mod crypto;
mod quote;
mod root;
mod signed_collateral;
mod verifier;

use std::collections::BTreeMap;

use crate::claims::Fmspc;

pub use collateral::{TdxCollateral, TdxCollateralError};
pub use quote::{TdBody, TdxQuote};

pub(crate) use verifier::TdxVerifier;

/// Collateral by the model of the platform that it is for.
pub(crate) type TdxStore = BTreeMap<Fmspc, TdxCollateral>;

/// For tests that confuse one kind of evidence with another.
#[cfg(test)]
pub(crate) fn blank_quote() -> Vec<u8> {
    quote::tests::blank(4, 2)
}
