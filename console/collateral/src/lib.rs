//! The folder by which a party judges others' evidence: the option that names it, and what a service says when it changes.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::Notify;
use tributary_attest::{Collateral, CollateralError, CollateralFolder};
use tributary_console::{Blame, Console, ErrorCode, Failure};
use tributary_protocol::{COLLATERAL_LOOK, CollateralNews, Endpoint, follow_collateral};

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
        Collateral::load(folder).map(Arc::new).map_err(unusable)
    }

    /// Reads the folder, and keeps where it lies, for a service that follows its changes.
    ///
    /// # Errors
    /// Where a file in it is not usable.
    pub fn open(&self) -> Result<(Option<CollateralFolder>, Arc<Collateral>), Failure> {
        let Some(path) = &self.collateral else {
            return Ok((None, Arc::default()));
        };
        let (folder, collateral) = CollateralFolder::open(path).map_err(unusable)?;
        Ok((Some(folder), Arc::new(collateral)))
    }
}

/// Has the endpoint judge by what the folder holds, whenever it changes and when `asked`, and tells the operator. Never ends.
pub async fn follow(
    endpoint: Endpoint,
    folder: CollateralFolder,
    asked: Arc<Notify>,
    console: Console,
) {
    let tell = move |news: CollateralNews<'_>| tell(news, &console);
    follow_collateral(endpoint, folder, COLLATERAL_LOOK, asked, tell).await;
}

fn tell(news: CollateralNews<'_>, console: &Console) {
    match news {
        CollateralNews::Taken(collateral) => {
            console.note(format_args!("every peer is judged anew, by {collateral}"))
        }
        CollateralNews::Unreadable(error) => kept(error, console),
        CollateralNews::Setback(setback) => kept(
            format_args!(
                "{setback}: put it back, or take the folder as it is with SIGHUP or a new start"
            ),
            console,
        ),
    }
}

fn kept(reason: impl std::fmt::Display, console: &Console) {
    let code = ErrorCode::EVIDENCE_MALFORMED.name();
    tracing::warn!(code, %reason, "the collateral folder is not taken");
    console.warn(format_args!(
        "{reason} ({code}); evidence is judged by what was read before"
    ));
}

fn unusable(error: CollateralError) -> Failure {
    Failure::from_error(ErrorCode::EVIDENCE_MALFORMED, &error)
        .hint("fetch it anew with `attest collateral fetch`, or remove the file")
        .blame(Blame::Configuration)
}
