//! A run of training: agents in, a sealed model and a receipt out.
//!
//! `settings` says what is wanted, `setup` makes sure that it may begin, `opening` opens the run on the ledger,
//! `steps` trains on what the feeds bring and keeps checkpoints, `finish` seals and signs.

mod curves;
mod failures;
mod feed;
mod finish;
mod ledger;
mod opening;
mod peers;
mod preprocessing;
mod report;
mod run_folder;
mod settings;
mod setup;
mod spending;
mod steps;
mod validation;

pub use curves::{CurvePoint, curves_svg};
pub use report::{DatasetReport, TrainReport};
pub use run_folder::RunFolder;
pub use settings::TrainArgs;

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tributary_console::{Console, Failure};
use tributary_console_collateral::follow;
use tributary_protocol::CloseCode;

use self::opening::Opening;
use self::peers::Peers;
use self::setup::Setup;
use self::steps::Steps;

/// Trains under a contract, from the first connection to the sealed model.
///
/// # Errors
///
/// Whatever refuses: contract, attestation, ledger, budget, an agent that stays away, a disk that is full.
/// Nothing is spent before the run is open, and a run that was interrupted can be resumed.
pub async fn train(args: &TrainArgs, console: &Console) -> Result<TrainReport, Failure> {
    let begun = Instant::now();
    let mut setup = Setup::prepare(args, console)?;
    let endpoint = setup.bind(args.listen)?;
    // Ends with the run, however that ends.
    let mut following = JoinSet::new();
    if let Some(folder) = setup.folder.take() {
        let asked = Arc::default();
        following.spawn(follow(endpoint.clone(), folder, asked, console.clone()));
    }
    let peers = Arc::new(Peers::gather(
        &endpoint,
        setup.contract(),
        &args.addresses(),
    ));
    let opening = Opening::open(&setup, args, &peers, console).await?;
    let steps = Steps::resume_or_begin(&setup, args, opening)?;
    let trained = steps.train(console).await?;
    let report = finish::finish(&setup, trained, begun, console).await?;
    endpoint.close(CloseCode::DONE, "the run is over").await;
    Ok(report)
}
