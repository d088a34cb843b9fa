//! The end of a run: the model sealed to the consumer, the receipt, and the ledger's last word.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use chrono::Utc;
use serde::Serialize;
use tributary_console::{Console, ErrorCode, Failure, FailureContext as _, peak_rss};
use tributary_protocol::{
    DatasetUse, Identity, Metrics, ModelArchive, PartyName, Receipt, RunSummary, SealedFor,
    seal_model,
};
use tributary_trainer::{Metrics as Measured, export_onnx};

use super::curves::{CurvePoint, curves_svg};
use super::report::{DatasetReport, TrainReport};
use super::setup::Setup;
use super::steps::{Account, Trained};

/// `metrics.json`, which travels with the model.
#[derive(Serialize)]
struct MetricsFile<'a> {
    schema_version: u32,
    contract: tributary_protocol::Digest,
    run: tributary_protocol::RunNumber,
    steps: u64,
    delta: f64,
    datasets: &'a [DatasetReport],
    validation_accuracy: Option<f64>,
    validation_loss: Option<f64>,
    /// All that was measured on the whole set.
    validation: Option<&'a Measured>,
    curve: &'a [CurvePoint],
}

/// Seals and signs, tells the ledger, and removes what only a resumed run would need.
pub(super) async fn finish(
    setup: &Setup,
    trained: Trained,
    begun: Instant,
    console: &Console,
) -> Result<TrainReport, Failure> {
    let contract = setup.contract();
    let run = trained.opening.run;
    let datasets: Vec<DatasetReport> = trained
        .accounts
        .iter()
        .map(DatasetReport::of)
        .collect::<Result<_, _>>()?;
    let disclosed = contract.document().disclosure.metrics == Metrics::Validation;
    let measured = match &trained.validation {
        Some(validation) if disclosed => Some(validation.measure_whole(&trained.trainer)?),
        _ => None,
    };
    let metrics = serde_json::to_vec_pretty(&MetricsFile {
        schema_version: 1,
        contract: contract.digest(),
        run,
        steps: trained.trainer.steps(),
        delta: contract.delta().get(),
        datasets: &datasets,
        validation_accuracy: measured.as_ref().and_then(Measured::accuracy),
        validation_loss: measured.as_ref().map(|metrics| metrics.loss),
        validation: measured.as_ref(),
        curve: &trained.points,
    })
    .or_fail(ErrorCode::INTERNAL, "metrics.json")?;

    let model = archive(setup, &trained, metrics.clone())?;
    let purpose = SealedFor {
        contract: contract.digest(),
        run,
    };
    let sealed = seal_model(
        &model,
        &contract.document().sealing_key,
        &setup.noise,
        &purpose,
        Vec::new(),
    )
    .or_fail(ErrorCode::INTERNAL, "sealing the model")?;
    let receipt = issue_receipt(setup, &trained, &model)?;

    let folder = &trained.opening.folder;
    let mut artefacts: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut write = |name: &str, bytes: &[u8]| -> Result<(), Failure> {
        let path = folder.write(name, bytes).or_fail(ErrorCode::IO, name)?;
        artefacts.insert(name.to_owned(), path);
        Ok(())
    };
    write("model.sealed", &sealed)?;
    write("receipt.dsse", &receipt.to_json())?;
    if disclosed {
        write("metrics.json", &metrics)?;
        let title = format!("{}, run {run}", contract.document().purpose);
        write("curves.svg", curves_svg(&title, &trained.points).as_bytes())?;
    }
    // The results are on the disk: now the run may end, and with it the need to resume.
    trained
        .opening
        .close(setup, receipt.payload_digest())
        .await?;
    folder
        .remove_checkpoints()
        .or_fail(ErrorCode::IO, "the checkpoints")?;
    console.note(format_args!(
        "sealed the model for {}; run {run} is closed",
        contract.consumer().0
    ));
    let report = TrainReport {
        contract: setup.registered.number,
        run,
        contract_digest: contract.digest(),
        steps: trained.trainer.steps(),
        epsilon: worst_by_owner(&datasets),
        delta: contract.delta().get(),
        datasets,
        bytes_streamed: trained.bytes,
        seconds: begun.elapsed().as_secs_f64(),
        peak_rss_mib: peak_rss()?.as_mib(),
        validation_accuracy: measured.as_ref().and_then(Measured::accuracy),
        artefacts,
    };
    let json = serde_json::to_vec_pretty(&report).or_fail(ErrorCode::INTERNAL, "report.json")?;
    folder
        .write("report.json", &json)
        .or_fail(ErrorCode::IO, "report.json")?;
    Ok(report)
}

fn archive(setup: &Setup, trained: &Trained, metrics: Vec<u8>) -> Result<ModelArchive, Failure> {
    let parameters = trained
        .trainer
        .parameters()
        .or_fail(ErrorCode::INTERNAL, "the trained weights")?;
    let onnx = export_onnx(&setup.onnx, &parameters).or_fail(ErrorCode::INTERNAL, "model.onnx")?;
    let safetensors = parameters
        .to_safetensors()
        .or_fail(ErrorCode::INTERNAL, "model.safetensors")?;
    ModelArchive::new(onnx, safetensors, metrics)
        .or_fail(ErrorCode::INTERNAL, "the model's archive")
}

/// Signed by a key that lives as long as this process and that the receipt's own evidence vouches for.
fn issue_receipt(
    setup: &Setup,
    trained: &Trained,
    model: &ModelArchive,
) -> Result<tributary_protocol::Envelope, Failure> {
    let datasets = trained
        .accounts
        .iter()
        .map(|account| {
            let used = DatasetUse {
                steps: account.trained,
                spent_steps: account.spent_steps(),
            };
            (account.dataset.clone(), used)
        })
        .collect();
    let ledger = serde_json::to_vec(&setup.registered.receipt)
        .or_fail(ErrorCode::INTERNAL, "the ledger's receipt")?;
    let summary = RunSummary {
        number: setup.registered.number,
        run: trained.opening.run,
        datasets,
        model,
        noise_key: setup.noise.public(),
        ledger: vec![ledger],
    };
    Receipt::issue(
        &summary,
        setup.contract(),
        setup.attester.as_ref(),
        &Identity::generate(),
        Utc::now(),
    )
    .or_fail(ErrorCode::RECEIPT_REFUSED, "the receipt")
}

impl DatasetReport {
    fn of(account: &Account) -> Result<Self, Failure> {
        Ok(Self {
            owner: account.dataset.owner.clone(),
            name: account.dataset.name.to_string(),
            steps: account.trained,
            spent_steps: account.spent_steps(),
            epsilon: account.epsilon()?.get(),
            limit: account.limit,
        })
    }
}

/// Each provider's epsilon is that of its dataset that paid most: nobody is in two of them.
fn worst_by_owner(datasets: &[DatasetReport]) -> BTreeMap<PartyName, f64> {
    let mut worst = BTreeMap::new();
    for dataset in datasets {
        let epsilon = worst.entry(dataset.owner.clone()).or_insert(0.0);
        *epsilon = f64::max(*epsilon, dataset.epsilon);
    }
    worst
}
