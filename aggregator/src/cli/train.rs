//! `aggregator train`.

use tributary_console::{
    ByteSize, Console, ErrorCode, Failure, FailureContext as _, interruptible,
};

use crate::training::{self, TrainArgs};

pub(super) fn train(args: &TrainArgs, console: &Console) -> Result<(), Failure> {
    // One thread moves packets; the trainer has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .or_fail(ErrorCode::INTERNAL, "the runtime")?;
    let report = runtime.block_on(interruptible(training::train(args, console)))?;
    console.result(&report, |out| {
        writeln!(
            out,
            "contract {}, run {}: trained {} steps",
            report.contract, report.run, report.steps
        )?;
        for dataset in &report.datasets {
            writeln!(
                out,
                "{}/{}: epsilon {:.3} of at most {:.3} at delta {:e}, {} steps spent",
                dataset.owner,
                dataset.name,
                dataset.epsilon,
                dataset.limit,
                report.delta,
                dataset.spent_steps
            )?;
        }
        if let Some(accuracy) = report.validation_accuracy {
            writeln!(
                out,
                "accuracy on the validation set: {:.2} %",
                accuracy * 100.0
            )?;
        }
        writeln!(
            out,
            "{} streamed in {:.1} s, peak memory {:.0} MiB",
            ByteSize::bytes(report.bytes_streamed),
            report.seconds,
            report.peak_rss_mib
        )?;
        for (name, path) in &report.artefacts {
            writeln!(out, "{name}: {}", path.display())?;
        }
        Ok(())
    })
}
