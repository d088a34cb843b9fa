//! What a run tells when it is over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tributary_protocol::{Digest, PartyName, RunNumber, SequenceNumber};

/// The result of a run. Nothing in it depends on a record but through the model, which is private.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainReport {
    /// The contract's number.
    pub contract: SequenceNumber,
    /// The run.
    pub run: RunNumber,
    /// The contract's digest.
    pub contract_digest: Digest,
    /// Steps that the model was trained, over all parts of a resumed run.
    pub steps: u64,
    /// Epsilon that each provider's data has spent under the contract, over all runs, at the contract's delta; the worst of its datasets.
    pub epsilon: BTreeMap<PartyName, f64>,
    /// The contract's delta.
    pub delta: f64,
    /// Each dataset.
    pub datasets: Vec<DatasetReport>,
    /// Bytes of batches that this process received.
    pub bytes_streamed: u64,
    /// Seconds that this process took.
    pub seconds: f64,
    /// The largest resident memory of this process, in MiB.
    pub peak_rss_mib: f64,
    /// Accuracy on the consumer's validation set, where there was one.
    pub validation_accuracy: Option<f64>,
    /// Files: `model.sealed`, `receipt.dsse`, and `metrics.json` and `curves.svg` where the contract discloses them.
    pub artefacts: BTreeMap<String, PathBuf>,
}

/// What one dataset gave and paid.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatasetReport {
    /// The provider.
    pub owner: PartyName,
    /// The dataset.
    pub name: String,
    /// Steps of this run that it gave a batch to.
    pub steps: u64,
    /// Steps that are spent under the contract, over all runs; those that a crash lost among them.
    pub spent_steps: u64,
    /// Epsilon of the spent steps.
    pub epsilon: f64,
    /// The contract's limit.
    pub limit: f64,
}
