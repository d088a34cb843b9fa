//! `aggregator model`: networks to begin with.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rand_core::{OsRng, TryRngCore as _};
use serde::Serialize;
use tributary_console::{ByteSize, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::Digest;
use tributary_trainer::{Graph, ModelReport, models};

use super::files::{read_model, write_new};
use super::plan::threads;
use crate::trial::{MeasuredStep, TrialError, measure_step};

/// What `aggregator model` takes.
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Write a network that comes with the project, its weights drawn anew, as an ONNX file.
    New(NewArgs),
    /// Say whether an ONNX file can be trained: its layers, shapes and parameters, all that is refused, and what a
    /// step takes in time and memory on this machine.
    Check(CheckArgs),
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

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator model check net.onnx
  aggregator model check net.onnx --batch 256 --threads 2 --json

Time and memory of a step are measured here and now, on made-up examples: another machine, or this one at work, has others.
Exits with 1 where anything in the file is refused; --json then lists the reasons in `error.details`.")]
pub(super) struct CheckArgs {
    /// The ONNX file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Examples of the steps that are measured.
    #[arg(long, value_name = "N", default_value_t = BATCH)]
    batch: NonZeroUsize,
    /// Threads that take them; one for each core where left out.
    #[arg(long, env = "TRIBUTARY_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// List what is in the file and measure nothing.
    #[arg(long, conflicts_with_all = ["batch", "threads"])]
    without_measuring: bool,
}

/// A batch that small networks and large ones take in reasonable time.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Network {
    /// Two convolutions and two linear layers with tanh, for grey images of 28x28 and 10 classes.
    MnistCnn,
    /// The same with ReLU.
    MnistCnnRelu,
    /// Fixed wavelet features and one trained linear layer, for the same.
    MnistScatter,
    /// LeNet for colour images of 32x32 and 10 classes.
    Lenet,
    /// A U-Net of four levels for grey images of 128x128 and a mask of the same size.
    Unet,
    /// ResNet-18 with GroupNorm for colour images of 32x32 and 10 classes.
    Resnet18gn,
}

impl Network {
    fn name(self) -> &'static str {
        match self {
            Self::MnistCnn => "mnist-cnn",
            Self::MnistCnnRelu => "mnist-cnn-relu",
            Self::MnistScatter => "mnist-scatter",
            Self::Lenet => "lenet",
            Self::Unet => "unet",
            Self::Resnet18gn => "resnet18gn",
        }
    }

    fn onnx(self, seed: u64) -> Vec<u8> {
        match self {
            Self::MnistCnn => models::mnist_cnn(seed),
            Self::MnistCnnRelu => models::mnist_cnn_relu(seed),
            Self::MnistScatter => models::mnist_scatter(seed),
            Self::Lenet => models::lenet(seed),
            Self::Unet => models::unet(seed),
            Self::Resnet18gn => models::resnet18gn(seed),
        }
    }
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
        ModelCommand::Check(args) => check(args, console),
    }
}

fn new(args: &NewArgs, console: &Console) -> Result<(), Failure> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => OsRng
            .try_next_u64()
            .or_fail(ErrorCode::INTERNAL, "drawing a seed")?,
    };
    let (network, onnx) = (args.network.name(), args.network.onnx(seed));
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

#[derive(Debug, Serialize)]
struct Checked {
    digest: Digest,
    input: String,
    output: String,
    parameters: usize,
    parameter_bytes: u64,
    example_bytes: u64,
    layers: Vec<Layer>,
    tensors: Vec<Tensor>,
    constants: Vec<String>,
    /// What a step takes on this machine.
    measured: Option<MeasuredStep>,
}

#[derive(Debug, Serialize)]
struct Layer {
    node: String,
    operator: String,
    shape: String,
    parameters: usize,
}

#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    dims: Vec<usize>,
}

fn check(args: &CheckArgs, console: &Console) -> Result<(), Failure> {
    let onnx = read_model(&args.file)?;
    let report = ModelReport::read(&onnx).map_err(|error| refused(&[error.to_string()]))?;
    let reasons: Vec<String> = report.refusals.iter().map(ToString::to_string).collect();
    if !reasons.is_empty() {
        return Err(refused(&reasons));
    }
    let parameters = report.parameters.iter().map(|info| info.range.len()).sum();
    let measured = if args.without_measuring {
        None
    } else {
        Some(measure(args, &onnx, console)?)
    };
    let checked = Checked {
        digest: Digest::of(&onnx),
        input: report.input.to_string(),
        output: report
            .output
            .map(|shape| shape.to_string())
            .unwrap_or_default(),
        parameters,
        parameter_bytes: 4 * parameters as u64,
        example_bytes: report.example_bytes,
        layers: report
            .layers
            .into_iter()
            .map(|layer| Layer {
                node: layer.node,
                operator: layer.operator,
                shape: layer.shape.to_string(),
                parameters: layer.parameters,
            })
            .collect(),
        tensors: report
            .parameters
            .into_iter()
            .map(|info| Tensor {
                name: info.name,
                dims: info.dims,
            })
            .collect(),
        constants: report.constants,
        measured,
    };
    console.result(&checked, |out| {
        writeln!(
            out,
            "takes {}, gives {}, {} parameters ({} KiB), {} KiB of intermediate results an example",
            checked.input,
            checked.output,
            checked.parameters,
            checked.parameter_bytes / 1024,
            checked.example_bytes / 1024
        )?;
        for layer in &checked.layers {
            writeln!(
                out,
                "  {:<22} {:<16} {:>9} parameters  {}",
                layer.operator, layer.shape, layer.parameters, layer.node
            )?;
        }
        for constant in &checked.constants {
            writeln!(out, "  not trained, used as it is: {constant}")?;
        }
        match &checked.measured {
            Some(measured) => print_measured(measured, out),
            None => Ok(()),
        }
    })
}

fn measure(args: &CheckArgs, onnx: &[u8], console: &Console) -> Result<MeasuredStep, Failure> {
    let graph = Graph::from_onnx(onnx).map_err(|error| refused(&[error.to_string()]))?;
    console.note("measuring a few steps of this model on this machine");
    measure_step(&graph, args.batch, threads(args.threads)).map_err(|error| match error {
        TrialError::TooMany { .. } => {
            Failure::from_error(ErrorCode::USAGE, &error).hint("give a smaller --batch")
        }
        error => Failure::from_error(ErrorCode::MODEL_UNSUPPORTED, &error)
            .hint("change the model where the reason says so, or list it --without-measuring"),
    })
}

fn print_measured(measured: &MeasuredStep, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "a step of {} examples with {} threads, measured on this machine now:",
        measured.batch, measured.threads
    )?;
    for (mode, cost) in [("private", measured.private), ("plain", measured.plain)] {
        let memory = cost.memory.map_or("unknown".to_owned(), |bytes| {
            ByteSize::bytes(bytes).to_string()
        });
        writeln!(
            out,
            "  {mode:<8} {:.1} ms, the fastest of {} {:.1} ms; {memory} of memory, this program and the file included",
            cost.seconds * 1e3,
            cost.steps,
            cost.fastest_seconds * 1e3
        )?;
    }
    Ok(())
}

/// Why a file cannot be trained, all of it.
fn refused(reasons: &[String]) -> Failure {
    let message = match reasons {
        [only] => format!("the model cannot be trained: {only}"),
        several => format!(
            "the model cannot be trained, for {} reasons\n  {}",
            several.len(),
            several.join("\n  ")
        ),
    };
    Failure::new(ErrorCode::MODEL_UNSUPPORTED, message)
        .hint("change the model where the reasons say so, and export it again")
        .details(serde_json::json!(reasons))
}
