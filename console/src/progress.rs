//! Training progress: a bar on a terminal, a line every tenth of the way elsewhere, nothing where JSON is wanted.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Console;
use crate::quantity::HumanDuration;

/// What one step tells a person. None of it is private: epsilon and counts follow from the contract.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, including those of a run that this one resumes.
    pub step: u64,
    /// Epsilon spent so far by the provider that has spent most.
    pub epsilon: f64,
    /// Samples that this process has processed, in expectation.
    pub samples: u64,
}

/// The progress of one run of training.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tributary_console::{Console, StepProgress, StepReport};
/// let (console, captured) = Console::captured(false);
/// let start = Instant::now();
/// let mut progress = StepProgress::start(&console, 0, 20, start);
/// for step in 1..=20 {
///     let now = start + Duration::from_secs(step);
///     progress.update(StepReport { step, epsilon: 0.1 * step as f64, samples: 100 * step }, now);
/// }
/// progress.finish();
/// assert_eq!(captured.stderr().lines().count(), 10);
/// assert!(captured.stderr().starts_with("step 2/20 · epsilon 0.200 · 100 samples/s · 18.0 s left\n"));
/// ```
#[derive(Debug)]
pub struct StepProgress {
    console: Console,
    bar: Option<ProgressBar>,
    pace: Pace,
    tenths: u64,
}

impl StepProgress {
    /// Starts at step `done` of `total`.
    pub fn start(console: &Console, done: u64, total: u64, now: Instant) -> Self {
        let bar = (console.on_terminal() && !console.json()).then(|| {
            let bar = console
                .bars()
                .add(ProgressBar::new(total).with_position(done));
            bar.set_style(bar_style());
            bar
        });
        StepProgress {
            console: console.clone(),
            bar,
            pace: Pace {
                start: now,
                done,
                total,
            },
            tenths: tenths(done, total),
        }
    }

    /// Shows a step.
    pub fn update(&mut self, report: StepReport, now: Instant) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.pace.describe(&report, now));
                bar.set_position(report.step);
            }
            None => {
                let tenths = tenths(report.step, self.pace.total);
                if tenths > self.tenths {
                    self.tenths = tenths;
                    let described = self.pace.describe(&report, now);
                    self.console.note(format!(
                        "step {}/{} · {described}",
                        report.step, self.pace.total
                    ));
                }
            }
        }
    }

    /// Takes the bar off the screen.
    pub fn finish(self) {}
}

impl Drop for StepProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.console.bars().remove(bar);
        }
    }
}

#[derive(Debug)]
struct Pace {
    start: Instant,
    done: u64,
    total: u64,
}

impl Pace {
    /// Rates are of this process: a resumed run does not count what an earlier one did.
    fn describe(&self, report: &StepReport, now: Instant) -> String {
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        let steps = report.step.saturating_sub(self.done);
        let mut text = format!("epsilon {:.3}", report.epsilon);
        if elapsed > 0.0 && steps > 0 {
            let left = self.total.saturating_sub(report.step) as f64 * elapsed / steps as f64;
            let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
            let rate = thousands((report.samples as f64 / elapsed).round() as u64);
            text.push_str(&format!(
                " · {rate} samples/s · {} left",
                HumanDuration(left)
            ));
        }
        text
    }
}

fn tenths(step: u64, total: u64) -> u64 {
    // u128: a step count near u64::MAX must not overflow.
    (u128::from(step) * 10 / u128::from(total.max(1))) as u64
}

/// `12,345`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("step {pos}/{len} [{bar:24}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64) -> StepReport {
        StepReport {
            step,
            epsilon: 1.5,
            samples: step * 256,
        }
    }

    #[test]
    fn json_silences_progress() {
        let (console, captured) = Console::captured(true);
        let start = Instant::now();
        let mut progress = StepProgress::start(&console, 0, 10, start);
        progress.update(report(10), start + Duration::from_secs(1));
        drop(progress);
        assert_eq!(
            (captured.stdout(), captured.stderr()),
            (String::new(), String::new())
        );
    }

    #[test]
    fn a_resumed_run_measures_its_own_pace() {
        let start = Instant::now();
        let pace = Pace {
            start,
            done: 50,
            total: 100,
        };
        let text = pace.describe(
            &StepReport {
                step: 60,
                epsilon: 1.0,
                samples: 20_000,
            },
            start + Duration::from_secs(10),
        );
        assert_eq!(text, "epsilon 1.000 · 2,000 samples/s · 40.0 s left");
    }

    #[test]
    fn the_first_moment_claims_no_rate() {
        let start = Instant::now();
        let pace = Pace {
            start,
            done: 0,
            total: 100,
        };
        assert_eq!(pace.describe(&report(0), start), "epsilon 1.500");
        assert_eq!(pace.describe(&report(1), start), "epsilon 1.500");
    }

    #[test]
    fn a_run_of_no_steps_and_one_of_very_many_do_not_panic() {
        assert_eq!(tenths(0, 0), 0);
        assert_eq!(tenths(u64::MAX, u64::MAX), 10);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(999), "999");
    }
}
