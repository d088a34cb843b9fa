//! What an endpoint judges evidence by, kept in step with a folder.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tributary_attest::{Collateral, CollateralError, CollateralFolder};

use super::endpoint::Endpoint;

/// What came of looking at a collateral folder again.
#[derive(Debug)]
pub enum CollateralNews<'a> {
    /// Evidence is judged by this from now on, and every open channel is being judged anew by it.
    Taken(&'a Collateral),
    /// The folder cannot be read: evidence is judged by what was read before.
    Kept(&'a CollateralError),
}

/// How often a service looks whether its collateral folder has changed: lists of revoked certificates are fetched once a
/// day or once an hour, and this adds next to nothing to that.
pub const COLLATERAL_LOOK: Duration = Duration::from_secs(60);

/// Reads the folder again when `asked` is notified, and when it is found changed, looking every `look`; then has the
/// endpoint judge by what was read. Never ends.
///
/// A folder that cannot be read changes nothing: a service goes on with the collateral it has, whose own dates say for how
/// long that is possible. `tell` hears of it when somebody asked, and else once for each fault.
pub async fn follow_collateral(
    endpoint: Endpoint,
    mut folder: CollateralFolder,
    look: Duration,
    asked: Arc<Notify>,
    tell: impl Fn(CollateralNews<'_>) + Send,
) {
    let mut told = None;
    loop {
        let on_demand = tokio::select! {
            () = asked.notified() => true,
            () = tokio::time::sleep(look) => false,
        };
        // Thousands of certificates take a moment: not on the threads that move packets.
        let reading = tokio::task::spawn_blocking(move || {
            let read = if on_demand {
                folder.read().map(Some)
            } else {
                folder.read_if_changed()
            };
            (folder, read)
        });
        let Ok((back, read)) = reading.await else {
            tracing::error!("the reading of collateral ended unexpectedly; it is not read again");
            return std::future::pending().await;
        };
        folder = back;
        match read {
            Ok(None) => told = None,
            Ok(Some(collateral)) => {
                told = None;
                let collateral = Arc::new(collateral);
                endpoint.judge_by(Arc::clone(&collateral));
                tell(CollateralNews::Taken(&collateral));
            }
            Err(error) => {
                let fault = error.to_string();
                if on_demand || told.as_ref() != Some(&fault) {
                    tell(CollateralNews::Kept(&error));
                }
                told = Some(fault);
            }
        }
    }
}
