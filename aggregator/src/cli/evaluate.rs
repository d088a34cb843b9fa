//! `aggregator evaluate`: a model on the consumer's own data.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use tributary_console::{Align, Blame, Console, ErrorCode, Failure, Table};
use tributary_protocol::Input;
use tributary_trainer::{LossConfig, Metrics};

use super::files::{MaybeHomeArgs, read_model};
use super::plan::threads;
use super::reference::ContractReference;
use crate::evaluation::{Answers, EvaluationError, evaluate};
use crate::terms;

/// What `aggregator evaluate` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator evaluate --model model/model.onnx --contract 1 --home tdc \\
      --images t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz
  aggregator evaluate --model unet.onnx --contract 2 --home tdc --images scans --masks masks
  aggregator evaluate --model model.onnx --divisor 127.5 --mean 1 \\
      --images images --labels labels --json")]
pub(super) struct EvaluateArgs {
    /// The ONNX file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// IDX images, gzip or not.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// IDX labels.
    #[arg(long, value_name = "FILE", required_unless_present = "masks")]
    labels: Option<PathBuf>,
    /// IDX images whose bytes are classes of pixels, for a model that was trained on such masks.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["labels", "divisor"],
        requires = "contract"
    )]
    masks: Option<PathBuf>,
    /// The contract that the model was trained under, which says how its input is scaled: a number, or a file.
    #[arg(
        long,
        value_name = "SEQ|FILE",
        required_unless_present = "divisor",
        conflicts_with = "divisor"
    )]
    contract: Option<ContractReference>,
    #[command(flatten)]
    home: MaybeHomeArgs,
    /// Divides each byte of an image, where no contract says.
    #[arg(long, value_name = "X")]
    divisor: Option<f32>,
    /// Is taken off after that.
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    mean: f32,
    /// Divides the rest.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    deviation: f32,
    /// Threads; one for each core where left out.
    #[arg(long, env = "TRIBUTARY_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
}

pub(super) fn run(args: &EvaluateArgs, console: &Console) -> Result<(), Failure> {
    let onnx = read_model(&args.model)?;
    let Scaled {
        input,
        loss,
        classes,
    } = args.input()?;
    let answers = match (&args.labels, &args.masks) {
        (Some(labels), _) => Answers::Labels(labels),
        (None, Some(masks)) => Answers::Masks(masks, classes),
        (None, None) => return Err(Failure::new(ErrorCode::USAGE, "expected also --labels")),
    };
    let evaluation = evaluate(
        &onnx,
        &args.images,
        answers,
        &input,
        loss,
        threads(args.threads),
    )
    .map_err(failure)?;
    console.result(&evaluation, |out| {
        if let Some(accuracy) = evaluation.accuracy {
            write!(out, "accuracy {:.2} % of ", accuracy * 100.0)?;
        }
        writeln!(
            out,
            "{} examples, loss {:.4}\n",
            evaluation.examples, evaluation.loss
        )?;
        if evaluation.metrics.classification.is_none() {
            return print_masks(&evaluation.metrics, out);
        }
        if let Some(found) = &evaluation.metrics.classification {
            for top in &found.top_k {
                write!(out, "top-{} {:.2} %, ", top.k, top.accuracy * 100.0)?;
            }
            writeln!(
                out,
                "mean F1 of the classes {:.2} %\n",
                found.macro_f1 * 100.0
            )?;
        }
        let mut table = Table::new([
            ("class", Align::Right),
            ("examples", Align::Right),
            ("recall %", Align::Right),
            ("precision %", Align::Right),
            ("F1 %", Align::Right),
            ("ROC AUC", Align::Right),
            ("PR AUC", Align::Right),
        ]);
        let area = |area: Option<f64>| area.map_or("-".to_owned(), |area| format!("{area:.4}"));
        let percent = |share: Option<f64>| {
            share.map_or("-".to_owned(), |share| format!("{:.2}", share * 100.0))
        };
        for class in &evaluation.classes {
            table.row([
                class.class.to_string(),
                class.examples.to_string(),
                percent(class.recall),
                percent(class.precision),
                percent(class.f1),
                area(class.roc_auc),
                area(class.pr_auc),
            ]);
        }
        write!(out, "{table}")
    })
}

/// What there is to say of masks: of each channel, or of all numbers where there are no channels.
fn print_masks(metrics: &Metrics, out: &mut dyn Write) -> io::Result<()> {
    if let Some(found) = &metrics.segmentation {
        let mut table = Table::new([
            ("channel", Align::Right),
            ("Dice %", Align::Right),
            ("IoU %", Align::Right),
            ("Hausdorff 95", Align::Right),
        ]);
        for (channel, ((dice, iou), distance)) in
            (found.dice.iter().zip(&found.iou).zip(&found.hausdorff_95)).enumerate()
        {
            table.row([
                channel.to_string(),
                format!("{:.2}", dice * 100.0),
                format!("{:.2}", iou * 100.0),
                distance.map_or("-".to_owned(), |distance| format!("{distance:.2}")),
            ]);
        }
        write!(out, "{table}")?;
    }
    match &metrics.regression {
        Some(found) => writeln!(
            out,
            "mean squared error {:.4}, mean absolute error {:.4}",
            found.mse, found.mae
        ),
        None => Ok(()),
    }
}

/// How bytes are scaled, the loss that is measured, and how many classes there are.
struct Scaled {
    input: Input,
    loss: LossConfig,
    classes: u32,
}

impl EvaluateArgs {
    fn input(&self) -> Result<Scaled, Failure> {
        if let Some(reference) = &self.contract {
            let home = self.home.open()?;
            let signed = reference.find(home.as_ref())?;
            let contract = signed.contract();
            let pipeline = &contract.document().pipeline;
            return Ok(Scaled {
                input: pipeline.input.clone(),
                loss: terms::loss(contract),
                classes: pipeline.label.classes,
            });
        }
        let divisor = self.divisor.unwrap_or(1.0);
        let positive = |value: f32| value.is_finite() && value > 0.0;
        if !(positive(divisor) && positive(self.deviation) && self.mean.is_finite()) {
            return Err(Failure::new(
                ErrorCode::USAGE,
                format!(
                    "expected --divisor and --deviation above 0 and a finite --mean, got {divisor}, {} and {}",
                    self.deviation, self.mean
                ),
            )
            .blame(Blame::Configuration));
        }
        let column = "image"
            .parse()
            .map_err(|error| Failure::from_error(ErrorCode::INTERNAL, &error))?;
        let input = Input {
            column,
            divisor,
            mean: self.mean,
            deviation: self.deviation,
        };
        Ok(Scaled {
            input,
            loss: LossConfig::CrossEntropy,
            classes: 0,
        })
    }
}

fn failure(error: EvaluationError) -> Failure {
    let code = match &error {
        EvaluationError::Graph(_) => ErrorCode::MODEL_UNSUPPORTED,
        EvaluationError::Parameters(_) => ErrorCode::MODEL_INVALID,
        _ => ErrorCode::DATA_INVALID,
    };
    Failure::from_system_cause(&error)
        .unwrap_or_else(|| Failure::from_error(code, &error))
        .blame(Blame::Configuration)
}
