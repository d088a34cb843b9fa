//! Progress over a known number of things: a bar on a terminal, silence elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Console;

/// How much of a countable job is done.
///
/// ```
/// use tributary_console::{Console, CountProgress};
/// let (console, captured) = Console::captured(false);
/// let progress = CountProgress::start(&console, "importing digits", "records", 2);
/// progress.add(1);
/// progress.add(1);
/// drop(progress);
/// assert_eq!(captured.stderr(), "");
/// ```
#[derive(Debug)]
pub struct CountProgress {
    console: Console,
    bar: Option<ProgressBar>,
}

impl CountProgress {
    /// Starts at 0 of `total` things that are called `unit`; `what` says what is being done.
    pub fn start(console: &Console, what: &str, unit: &str, total: u64) -> Self {
        let bar = (console.on_terminal() && !console.json()).then(|| {
            let bar = console.bars().add(ProgressBar::new(total));
            let template = format!("{{prefix}} {{pos}}/{{len}} {unit} [{{bar:24}}] {{eta}} left");
            let style = ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(crate::output::printable(what));
            bar
        });
        CountProgress {
            console: console.clone(),
            bar,
        }
    }

    /// So many more are done.
    pub fn add(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
    }
}

impl Drop for CountProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.console.bars().remove(bar);
        }
    }
}
