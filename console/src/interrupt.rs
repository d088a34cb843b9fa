//! Ctrl-C and the system's request to stop.

use std::future::Future;

use crate::code::ErrorCode;
use crate::exit::Exit;
use crate::failure::Failure;

/// Runs `future` until it is done, or until Ctrl-C or SIGTERM asks the process to stop: then drops it, which must leave
/// everything durable in order, and fails with [`Exit::Interrupted`]. A second Ctrl-C while the failure is being handled
/// ends the process at once.
///
/// # Errors
/// What `future` fails with, or the interruption.
pub async fn interruptible<T>(
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    until(signal(), future).await
}

async fn until<T>(
    stop: impl Future<Output = std::io::Result<&'static str>>,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        outcome = future => outcome,
        came = stop => {
            let came = came?;
            tokio::spawn(async {
                if signal().await.is_ok() {
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
            });
            Err(Failure::new(ErrorCode::INTERRUPTED, format!("stopped by {came}"))
                .hint("what was spent and written is kept; the same command, with --resume where it has one, goes on"))
        }
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        came = tokio::signal::ctrl_c() => came.map(|()| "Ctrl-C"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn a_program_that_is_not_interrupted_ends_as_it_ends() {
        assert_eq!(block_on(interruptible(async { Ok(3) })), Ok(3));
        let failure = Failure::new(ErrorCode::REVOKED, "contract 1 was revoked");
        assert_eq!(
            block_on(interruptible::<()>(async { Err(failure.clone()) })),
            Err(failure)
        );
    }

    #[test]
    fn an_interruption_drops_the_program_and_exits_with_130() {
        struct Dropped<'a>(&'a mut bool);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                *self.0 = true;
            }
        }
        let mut dropped = false;
        let guard = Dropped(&mut dropped);
        let outcome = block_on(until(async { Ok("Ctrl-C") }, async {
            let _guard = guard;
            std::future::pending::<Result<(), Failure>>().await
        }));
        assert_eq!(outcome.unwrap_err().exit().code(), 130);
        assert!(dropped);
    }
}
