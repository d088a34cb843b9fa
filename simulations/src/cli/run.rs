//! `simulations run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tributary_aggregator::{Recipe, RecipeError};
use tributary_console::{Console, ErrorCode, Failure, FailureContext as _, interruptible};

use crate::digits::{TEST_IMAGES, TRAINING_IMAGES};
use crate::federation::{DataSource, NetworkSource, Plan, run_mnist};

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
  simulations run mnist --recipe mnist-scatter --agents 2 --data ~/mnist
  simulations run mnist --recipe own.toml --model own.onnx
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
    /// How to train: `mnist`, a small convolutional network in some twenty seconds; `mnist-scatter`, fixed wavelet features
    /// with one trained layer, for more accuracy in more time; or a TOML file as `aggregator contract new` takes it.
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "mnist", value_parser = recipe)]
    recipe: String,
    /// The network: mnist-cnn, mnist-cnn-relu, mnist-scatter, or an ONNX file that takes 1x28x28 and gives 10 numbers. The
    /// recipe's own where left out; mnist-cnn for a recipe from a file.
    #[arg(long, value_name = "NAME|FILE.onnx")]
    model: Option<NetworkSource>,
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

impl MnistArgs {
    fn network(&self) -> NetworkSource {
        let own = || Recipe::network(&self.recipe).unwrap_or(DEFAULT_NETWORK);
        self.model
            .clone()
            .unwrap_or_else(|| NetworkSource::BuiltIn(own().to_owned()))
    }
}

/// What a recipe of one's own trains.
const DEFAULT_NETWORK: &str = "mnist-cnn";

/// A recipe that can be read, in its words: the federation's consumer reads it once more.
fn recipe(text: &str) -> Result<String, RecipeError> {
    text.parse::<Recipe>().map(|_| text.to_owned())
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
        network: args.network(),
        recipe: args.recipe.clone(),
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

#[cfg(test)]
mod tests {
    use tributary_aggregator::Recipe;
    use tributary_console::{Console, Exit, run_with};

    use crate::federation::NETWORKS;

    fn mnist(more: &[&str]) -> (Exit, String) {
        let (console, captured) = Console::captured(true);
        let words = ["simulations", "run", "mnist"].iter().chain(more);
        let exit = run_with(words, &console, crate::cli::program);
        (exit, captured.stdout())
    }

    #[test]
    fn help_names_every_recipe_and_every_network_for_its_images() {
        let (exit, help) = mnist(&["--help"]);
        assert_eq!(exit, Exit::Done);
        for name in Recipe::NAMES.iter().chain(&NETWORKS) {
            assert!(help.contains(name), "{name} in {help}");
        }
    }

    #[test]
    fn recipes_and_networks_that_there_are_not_are_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        for more in [
            ["--recipe", "imagenet"],
            ["--recipe", "no/such/file.toml"],
            ["--model", "resnet18gn"],
            ["--model", "no/such/file.onnx"],
        ] {
            let more = [&more[..], &["--out", out.to_str().unwrap()]].concat();
            assert_eq!(mnist(&more).0, Exit::Usage, "{more:?}");
            assert!(!out.exists());
        }
    }
}
