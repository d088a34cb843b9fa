//! Waiting where a person can see for what, and for how long still.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval_at, timeout_at};

use crate::output::Console;
use crate::quantity::HumanDuration;

/// Waits for `future` for at most `limit`, with a countdown on a terminal and one line elsewhere; `None` when time is
/// up. `what` completes "waiting for …".
///
/// ```
/// use std::time::Duration;
/// use tributary_console::{Console, wait_visibly};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (console, captured) = Console::captured(false);
/// let came = wait_visibly(&console, "hospital-a to return", Duration::from_secs(30), async { 7 }).await;
/// assert_eq!(came, Some(7));
/// let never = std::future::pending::<()>();
/// assert_eq!(wait_visibly(&console, "hospital-b to return", Duration::ZERO, never).await, None);
/// assert_eq!(captured.stderr(), "waiting for hospital-b to return, at most 0 ms\n");
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn wait_visibly<T>(
    console: &Console,
    what: impl fmt::Display,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    // What is there already, or on its way, is not waited for, and says nothing.
    if let Some(value) = ready_now(future.as_mut()).await {
        return Some(value);
    }
    let start = Instant::now();
    let deadline = start + limit;
    if let Ok(value) = timeout_at(deadline.min(start + QUIET), future.as_mut()).await {
        return Some(value);
    }
    let countdown = Countdown::start(console, &what.to_string(), limit);
    let tick = async {
        let mut seconds = interval_at(start + SECOND, SECOND);
        loop {
            let now = seconds.tick().await;
            countdown.show(deadline.saturating_duration_since(now));
        }
    };
    tokio::select! {
        outcome = timeout_at(deadline, future) => outcome.ok(),
        () = tick => None,
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A person does not call this waiting.
const QUIET: Duration = Duration::from_millis(300);

async fn ready_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    use std::task::Poll;
    std::future::poll_fn(
        |context| match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        },
    )
    .await
}

struct Countdown {
    console: Console,
    bar: Option<ProgressBar>,
    what: String,
}

impl Countdown {
    fn start(console: &Console, what: &str, limit: Duration) -> Self {
        let bar = (console.on_terminal() && !console.json()).then(|| {
            let bar = console.bars().add(ProgressBar::no_length());
            bar.set_style(
                ProgressStyle::with_template("{msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        if bar.is_none() {
            console.note(format!(
                "waiting for {what}, at most {}",
                HumanDuration(limit)
            ));
        }
        let countdown = Countdown {
            console: console.clone(),
            bar,
            what: what.to_owned(),
        };
        countdown.show(limit);
        countdown
    }

    fn show(&self, left: Duration) {
        if let Some(bar) = &self.bar {
            let left = whole_seconds(left);
            bar.set_message(format!(
                "waiting for {} … {left} left",
                crate::output::printable(&self.what)
            ));
            bar.tick();
        }
    }
}

/// Tenths of a second would only flicker.
fn whole_seconds(left: Duration) -> String {
    let seconds = left.as_secs_f64().round() as u64;
    if seconds < 60 {
        format!("{seconds} s")
    } else {
        HumanDuration(Duration::from_secs(seconds)).to_string()
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.console.bars().remove(bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn what_comes_at_once_says_nothing() {
        let (console, captured) = Console::captured(false);
        assert_eq!(
            block_on(wait_visibly(&console, "x", SECOND, async { 1 })),
            Some(1)
        );
        assert_eq!(captured.stderr(), "");
    }

    #[test]
    fn what_comes_soon_says_nothing() {
        let (console, captured) = Console::captured(false);
        let soon = async {
            tokio::task::yield_now().await;
            1
        };
        assert_eq!(
            block_on(wait_visibly(&console, "x", Duration::from_secs(600), soon)),
            Some(1)
        );
        assert_eq!(captured.stderr(), "");
    }

    #[test]
    fn what_comes_later_is_announced_once() {
        let (console, captured) = Console::captured(false);
        let (send, receive) = tokio::sync::oneshot::channel();
        let came = block_on(async {
            let wait = wait_visibly(
                &console,
                "hospital-a to return",
                Duration::from_secs(600),
                receive,
            );
            let (came, ()) = tokio::join!(wait, async {
                while captured.stderr().is_empty() {
                    tokio::task::yield_now().await;
                }
                send.send(5).unwrap();
            });
            came
        });
        assert_eq!(came, Some(Ok(5)));
        assert_eq!(
            captured.stderr(),
            "waiting for hospital-a to return, at most 10 min 00 s\n"
        );
    }

    #[test]
    fn the_countdown_shows_whole_seconds() {
        for (millis, text) in [
            (2_900, "3 s"),
            (59_400, "59 s"),
            (59_600, "1 min 00 s"),
            (0, "0 s"),
        ] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn what_never_comes_ends_with_the_limit() {
        let (console, _) = Console::captured(true);
        let never = std::future::pending::<()>();
        assert_eq!(
            block_on(wait_visibly(&console, "x", Duration::from_millis(1), never)),
            None
        );
    }
}
