//! The folder by which a party judges others' evidence, as commands name it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tributary_attest::Collateral;
use tributary_console::{Blame, ErrorCode, Failure};

/// What evidence of hardware is judged by, besides what comes along.
#[derive(Debug, Clone, Default, Args)]
pub struct CollateralArgs {
    /// The folder of certificates, revocation lists and vendors' statements by which evidence of SEV-SNP and TDX is
    /// judged, as `attest collateral fetch` fills it [default: what is built in and what comes with the evidence].
    #[arg(long, env = "TRIBUTARY_COLLATERAL", value_name = "DIR")]
    pub collateral: Option<PathBuf>,
}

impl CollateralArgs {
    /// Reads the folder once.
    ///
    /// # Errors
    /// Where a file in it is not usable.
    pub fn load(&self) -> Result<Arc<Collateral>, Failure> {
        let Some(folder) = &self.collateral else {
            return Ok(Arc::default());
        };
        Collateral::load(folder).map(Arc::new).map_err(|error| {
            Failure::from_error(ErrorCode::EVIDENCE_MALFORMED, &error)
                .hint("fetch it anew with `attest collateral fetch`, or remove the file")
                .blame(Blame::Configuration)
        })
    }
}
