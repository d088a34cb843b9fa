//! What a simulation tells in the end: one object for programs, a table for people.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tributary_console::{
    Align, ByteSize, ErrorCode, Failure, FailureContext as _, HumanDuration, Table,
};

/// The result of a simulated federation.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Share of the consumer's test set that the opened model gets right, from 0 to 1.
    pub accuracy: f64,
    /// Epsilon that each provider's people paid.
    pub epsilon: BTreeMap<String, f64>,
    /// The probability that epsilon does not bound.
    pub delta: f64,
    /// Steps trained.
    pub steps: u64,
    /// Seconds from start to opened model.
    pub seconds: f64,
    /// Bytes of batches that travelled from agents to aggregator.
    pub bytes_streamed: u64,
    /// The largest resident memory of each process, in MiB.
    pub peak_rss_mib: BTreeMap<String, f64>,
    /// Where the results are.
    pub artefacts: BTreeMap<String, PathBuf>,
}

impl Outcome {
    pub(super) fn new(
        report: &Value,
        accuracy: f64,
        opened: PathBuf,
        peak_rss_mib: BTreeMap<String, f64>,
        elapsed: Duration,
        folder: &Path,
    ) -> Result<Self, Failure> {
        #[derive(serde::Deserialize)]
        struct Report {
            epsilon: BTreeMap<String, f64>,
            delta: f64,
            steps: u64,
            bytes_streamed: u64,
            artefacts: BTreeMap<String, PathBuf>,
        }
        let report: Report =
            serde_json::from_value(report.clone()).or_fail(ErrorCode::INTERNAL, "report.json")?;
        let mut artefacts = report.artefacts;
        for name in ["model.onnx", "model.safetensors", "metrics.json"] {
            artefacts.insert(name.to_owned(), opened.join(name));
        }
        artefacts.insert("federation".to_owned(), folder.to_owned());
        Ok(Self {
            accuracy,
            epsilon: report.epsilon,
            delta: report.delta,
            steps: report.steps,
            seconds: elapsed.as_secs_f64(),
            bytes_streamed: report.bytes_streamed,
            peak_rss_mib,
            artefacts,
        })
    }

    /// The table for people.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut table = Table::new([("", Align::Left), ("", Align::Right)]);
        table.row([
            "accuracy on the consumer's test set".to_owned(),
            format!("{:.2} %", self.accuracy * 100.0),
        ]);
        for (provider, epsilon) in &self.epsilon {
            table.row([
                format!("epsilon of {provider} at delta {:e}", self.delta),
                format!("{epsilon:.3}"),
            ]);
        }
        table.row(["steps".to_owned(), self.steps.to_string()]);
        table.row([
            "bytes streamed".to_owned(),
            ByteSize::bytes(self.bytes_streamed).to_string(),
        ]);
        table.row([
            "wall time".to_owned(),
            HumanDuration(Duration::from_secs_f64(self.seconds)).to_string(),
        ]);
        for (process, mib) in &self.peak_rss_mib {
            table.row([format!("peak memory of {process}"), format!("{mib:.0} MiB")]);
        }
        write!(out, "{table}")?;
        for (name, path) in &self.artefacts {
            writeln!(out, "{name}: {}", path.display())?;
        }
        Ok(())
    }
}
