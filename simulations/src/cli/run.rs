//! `simulations run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tributary_console::{Console, ErrorCode, Failure, FailureContext as _, interruptible};

use crate::digits::{TEST_IMAGES, TRAINING_IMAGES};
use crate::federation::{DataSource, Plan, run_mnist};

/// What to run.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Providers of handwritten digits train one model: attested, under contract, with differential privacy.
    #[command(after_help = "Examples:
  simulations run mnist
  simulations run mnist --agents 16 --epsilon 2
  simulations run mnist --data ~/mnist --out federation --json")]
    Mnist(MnistArgs),
}

#[derive(Debug, Args)]
struct MnistArgs {
    /// How many agents share the training images.
    #[arg(long, env = "TRIBUTARY_AGENTS", value_name = "N", default_value_t = 4)]
    agents: usize,
    /// A folder with the four IDX files of MNIST, gzip or not. Digits are drawn where left out.
    #[arg(long, env = "TRIBUTARY_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The most epsilon that each provider's people may spend.
    #[arg(long, value_name = "E", default_value_t = 3.0)]
    epsilon: f64,
    /// The probability that epsilon does not bound.
    #[arg(long, value_name = "D", default_value_t = 1e-5)]
    delta: f64,
    /// Fixes drawn digits and initial weights; never sampling or noise.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Steps of training; the built-in recipe's where left out.
    #[arg(long, value_name = "T")]
    steps: Option<u64>,
    /// How many training images to draw.
    #[arg(long, value_name = "N", default_value_t = TRAINING_IMAGES, conflicts_with = "data")]
    train_images: usize,
    /// How many test images to draw.
    #[arg(long, value_name = "N", default_value_t = TEST_IMAGES, conflicts_with = "data")]
    test_images: usize,
    /// An empty or absent folder for everything that the federation makes; one in the system's folder for temporary files where left out.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &RunArgs, console: &Console) -> Result<(), Failure> {
    let What::Mnist(args) = &args.what;
    let plan = Plan {
        agents: args.agents,
        data: match &args.data {
            Some(folder) => DataSource::Folder(folder.clone()),
            None => DataSource::Drawn {
                train: args.train_images,
                test: args.test_images,
            },
        },
        epsilon: args.epsilon,
        delta: args.delta,
        seed: args.seed,
        steps: args.steps,
        out: match &args.out {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir().join(format!("tributary-mnist-{}", std::process::id())),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .or_fail(ErrorCode::INTERNAL, "the runtime")?;
    let outcome = runtime.block_on(interruptible(run_mnist(&plan, console)))?;
    console.result(&outcome, |out| outcome.print(out))
}
