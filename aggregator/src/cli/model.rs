//! `aggregator model`: networks to begin with.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rand_core::{OsRng, TryRngCore as _};
use serde::Serialize;
use tributary_console::{Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::Digest;
use tributary_trainer::{Graph, models};

use super::files::write_new;

/// What `aggregator model` takes.
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Write a network that comes with the project, its weights drawn anew, as an ONNX file.
    New(NewArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator model new mnist-cnn --out mnist.onnx
  aggregator model new mnist-cnn --seed 7 --out mnist.onnx --json")]
pub(super) struct NewArgs {
    /// Which network.
    network: Network,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Draws the initial weights: the same seed gives the same file. At random where left out.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Network {
    /// Two convolutions and two linear layers with tanh, for grey images of 28x28 and 10 classes.
    MnistCnn,
    /// Fixed wavelet features and one trained linear layer, for the same.
    MnistScatter,
}

#[derive(Debug, Serialize)]
struct Written {
    network: &'static str,
    file: PathBuf,
    digest: Digest,
    seed: u64,
    parameters: usize,
    /// Parameters among them that are not trained.
    frozen: usize,
    input: String,
    output: String,
}

pub(super) fn run(command: &ModelCommand, console: &Console) -> Result<(), Failure> {
    match command {
        ModelCommand::New(args) => new(args, console),
    }
}

fn new(args: &NewArgs, console: &Console) -> Result<(), Failure> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => OsRng
            .try_next_u64()
            .or_fail(ErrorCode::INTERNAL, "drawing a seed")?,
    };
    let (network, onnx) = match args.network {
        Network::MnistCnn => ("mnist-cnn", models::mnist_cnn(seed)),
        Network::MnistScatter => ("mnist-scatter", models::mnist_scatter(seed)),
    };
    let graph = Graph::from_onnx(&onnx).or_fail(ErrorCode::INTERNAL, "the network")?;
    write_new(&args.out, &onnx)?;
    let written = Written {
        network,
        file: args.out.clone(),
        digest: Digest::of(&onnx),
        seed,
        parameters: graph.parameter_count(),
        frozen: graph.frozen().iter().map(|range| range.len()).sum(),
        input: graph.input_shape().to_string(),
        output: graph.output_shape().to_string(),
    };
    console.result(&written, |out| {
        writeln!(
            out,
            "wrote {}: {network}, {} parameters, takes {}, gives {}, seed {seed}",
            written.file.display(),
            written.parameters,
            written.input,
            written.output
        )?;
        writeln!(out, "{}", written.digest)
    })
}
