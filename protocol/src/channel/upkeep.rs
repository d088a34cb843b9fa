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
    Unreadable(&'a CollateralError),
    /// The folder holds less than what was read before, which evidence is still judged by; in words.
    Setback(&'a str),
}

/// How often a service looks whether its collateral folder has changed: lists of revoked certificates are fetched once a
/// day or once an hour, and this adds next to nothing to that.
pub const COLLATERAL_LOOK: Duration = Duration::from_secs(60);

/// Reads the folder again when `asked` is notified, and when it is found changed, looking every `look`; then has the
/// endpoint judge by what was read, and every channel judge its peer anew. Never ends.
///
/// A folder that cannot be read changes nothing: a service goes on with the collateral it has, whose own dates say for how
/// long that is possible. Nor does one that lost a revocation list or holds an older one, unless somebody asked, for
/// whoever can touch the folder could else take a revocation back. Channels are judged anew whenever somebody asks.
/// `tell` hears of a fault when somebody asked, and else once.
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
        let mut reader = folder.clone();
        // Thousands of certificates take a moment: not on the threads that move packets.
        let reading = tokio::task::spawn_blocking(move || {
            let read = if on_demand {
                reader.read().map(Some)
            } else {
                reader.read_if_changed()
            };
            (reader, read)
        });
        let fault = match reading.await {
            Ok((reader, Ok(read))) => {
                let setback = read.as_ref().filter(|_| !on_demand).and_then(|read| {
                    let held = endpoint.collateral();
                    read.lacks(&held).or_else(|| read.predates(&held))
                });
                match (read, setback) {
                    (_, Some(setback)) => {
                        if told.as_ref() != Some(&setback) {
                            tell(CollateralNews::Setback(&setback));
                        }
                        Some(setback)
                    }
                    (None, None) => {
                        folder = reader;
                        None
                    }
                    (Some(collateral), None) => {
                        folder = reader;
                        let collateral = Arc::new(collateral);
                        endpoint.judge_by(Arc::clone(&collateral));
                        tell(CollateralNews::Taken(&collateral));
                        None
                    }
                }
            }
            Ok((_, Err(error))) => {
                let fault = error.to_string();
                if on_demand || told.as_ref() != Some(&fault) {
                    tell(CollateralNews::Unreadable(&error));
                }
                Some(fault)
            }
            Err(error) => {
                tracing::error!(%error, "the reading of collateral ended unexpectedly");
                Some(error.to_string())
            }
        };
        if on_demand && fault.is_some() {
            endpoint.judge_anew();
        }
        told = fault;
    }
}
