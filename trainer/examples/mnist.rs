//! Trains a built-in network on MNIST with differential privacy, all 60,000 images in one place.
//!
//! `cargo run --release -p tributary-trainer --example mnist -- [--recipe mnist|mnist-scatter] [--model FILE] [--rate Q]
//!   [--noise Z | --epsilon E] [--clip C] [--steps N] [--optimiser sgd|adam] [--learning-rate R] [--momentum M]
//!   [--schedule constant|cosine] [--ema DECAY] [--threads T] [--seed S] [--data DIR]`
//!
//! The defaults are the recipe for epsilon 3; `--recipe` comes before what changes it.
//! Batches are Poisson samples of fresh randomness; the seed fixes the initial weights only. Epsilon is by the RDP
//! accountant at delta 1e-5, of which a hundredth is set aside for batches that overflow their capacity.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tributary_accounting::{
    Accountant, Delta, Epsilon, NoiseMultiplier, Phase, Rdp, SamplingRate, Steps, calibrate_noise,
};
use tributary_trainer::{
    AverageConfig, Examples, Graph, LossConfig, OptimiserConfig, PrivacySettings, ScheduleConfig,
    ScheduleShape, Trainer, UpdateConfig, models,
};

fn main() -> anyhow::Result<()> {
    let options = Options::parse()?;
    let (inputs, labels) = read(&options, "train")?;
    let (test_inputs, test_labels) = read(&options, "t10k")?;
    let records = labels.len();
    let model = match &options.model {
        Some(path) => std::fs::read(path).with_context(|| path.display().to_string())?,
        None => (options.network)(options.seed),
    };
    let graph = Graph::from_onnx(&model)?;
    let example = graph.input_shape().elements();
    ensure!(
        example == inputs.len() / records,
        "the model takes {}, MNIST has 1x28x28",
        graph.input_shape()
    );
    let privacy = PrivacySettings::new(options.clip, options.noise, options.rate * records as f64)?;
    let mut trainer = Trainer::new(
        graph,
        LossConfig::CrossEntropy,
        options.update()?,
        privacy,
        options.threads,
    )?;

    println!("noise multiplier {:.4}", options.noise);
    let mut sampler = ChaCha20Rng::from_os_rng();
    let threshold = (options.rate * 2f64.powi(64)) as u64;
    let start = Instant::now();
    let (mut batch, mut batch_labels) = (Vec::new(), Vec::new());
    for step in 1..=options.steps {
        batch.clear();
        batch_labels.clear();
        for record in 0..records {
            if sampler.next_u64() < threshold {
                batch.extend_from_slice(&inputs[record * example..(record + 1) * example]);
                batch_labels.push(labels[record]);
            }
        }
        trainer.step(&Examples::labelled(&batch, &batch_labels))?;
        if step % options.steps.div_ceil(options.reports).max(1) == 0 || step == options.steps {
            let seconds = start.elapsed().as_secs_f64();
            let metrics = trainer.evaluate(&Examples::labelled(&test_inputs, &test_labels))?;
            let epsilon = epsilon(options.rate, options.noise, step)?;
            println!(
                "step {step} epsilon {epsilon:.3} accuracy {:.2} % loss {:.4} after {seconds:.1} s",
                metrics.accuracy().unwrap_or_default() * 100.0,
                metrics.loss
            );
        }
    }
    Ok(())
}

/// 1e-5 less the hundredth that is set aside.
const DELTA: f64 = 0.99e-5;

fn epsilon(rate: f64, noise: f64, steps: u64) -> anyhow::Result<f64> {
    let phase = Phase {
        sampling_rate: SamplingRate::new(rate)?,
        noise_multiplier: NoiseMultiplier::new(noise)?,
        steps: Steps::new(steps),
    };
    Ok(Rdp.epsilon(&[phase], Delta::new(DELTA)?)?.get())
}

struct Options {
    model: Option<PathBuf>,
    network: fn(u64) -> Vec<u8>,
    /// Divides each byte, and is taken off after that: a scale that does not depend on the data.
    scale: [f32; 2],
    data: PathBuf,
    rate: f64,
    noise: f64,
    clip: f64,
    steps: u64,
    reports: u64,
    optimiser: String,
    learning_rate: f64,
    momentum: f64,
    schedule: String,
    ema: Option<f64>,
    threads: NonZeroUsize,
    seed: u64,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let shared = std::env::var_os("TRIBUTARY_SHARED").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
            PathBuf::from,
        );
        let mut options = Self {
            model: None,
            network: models::mnist_cnn,
            scale: [127.5, 1.0],
            data: shared.join("data/mnist"),
            rate: 2048.0 / 60_000.0,
            noise: 1.311,
            clip: 1.0,
            steps: 400,
            reports: 10,
            optimiser: "sgd".to_owned(),
            learning_rate: 0.5,
            momentum: 0.9,
            schedule: "constant".to_owned(),
            ema: None,
            threads: std::thread::available_parallelism()?,
            seed: 1,
        };
        let mut target = None;
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--recipe" => options.take_recipe(&value, &mut target)?,
                "--model" => options.model = Some(value.into()),
                "--data" => options.data = value.into(),
                "--rate" => options.rate = value.parse()?,
                "--noise" => (options.noise, target) = (value.parse()?, None),
                "--epsilon" => target = Some(Epsilon::new(value.parse()?)?),
                "--clip" => options.clip = value.parse()?,
                "--steps" => options.steps = value.parse()?,
                "--reports" => options.reports = value.parse()?,
                "--optimiser" => options.optimiser = value,
                "--learning-rate" => options.learning_rate = value.parse()?,
                "--momentum" => options.momentum = value.parse()?,
                "--schedule" => options.schedule = value,
                "--ema" => options.ema = Some(value.parse()?),
                "--threads" => options.threads = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                other => bail!("unknown option {other}"),
            }
        }
        ensure!(
            options.rate > 0.0 && options.rate < 1.0,
            "--rate must be between 0 and 1"
        );
        ensure!(options.reports > 0, "--reports must be at least 1");
        if let Some(target) = target {
            let rate = SamplingRate::new(options.rate)?;
            let steps = Steps::new(options.steps);
            options.noise = calibrate_noise(&Rdp, target, Delta::new(DELTA)?, rate, steps)?.get();
        }
        Ok(options)
    }

    fn take_recipe(&mut self, name: &str, target: &mut Option<Epsilon>) -> anyhow::Result<()> {
        match name {
            "mnist" => {}
            "mnist-scatter" => {
                self.network = models::mnist_scatter;
                self.scale = [255.0, 0.0];
                self.rate = 4096.0 / 60_000.0;
                self.clip = 0.1;
                self.steps = 300;
                self.learning_rate = 16.0;
                self.schedule = "cosine".to_owned();
                self.ema = Some(0.97);
                *target = Some(Epsilon::new(3.0)?);
            }
            other => bail!("unknown recipe {other}"),
        }
        Ok(())
    }

    fn update(&self) -> anyhow::Result<UpdateConfig> {
        let optimiser = match self.optimiser.as_str() {
            "sgd" => OptimiserConfig::Sgd {
                learning_rate: self.learning_rate,
                momentum: self.momentum,
            },
            "adam" => OptimiserConfig::Adam {
                learning_rate: self.learning_rate,
                beta1: self.momentum,
                beta2: 0.999,
                epsilon: 1e-8,
            },
            other => bail!("unknown optimiser {other}"),
        };
        let shape = match self.schedule.as_str() {
            "constant" => ScheduleShape::Constant,
            "cosine" => ScheduleShape::Cosine {
                steps: self.steps,
                end: 0.0,
            },
            other => bail!("unknown schedule {other}"),
        };
        Ok(UpdateConfig {
            schedule: ScheduleConfig {
                warm_up: None,
                shape,
            },
            average: self.ema.map(|decay| AverageConfig { decay }),
            ..optimiser.into()
        })
    }
}

/// Images, scaled, and labels.
fn read(options: &Options, part: &str) -> anyhow::Result<(Vec<f32>, Vec<u32>)> {
    let (folder, [divisor, mean]) = (&options.data, options.scale);
    let images = idx(&folder.join(format!("{part}-images-idx3-ubyte.gz")), 16)?;
    let labels = idx(&folder.join(format!("{part}-labels-idx1-ubyte.gz")), 8)?;
    ensure!(
        images.len() == labels.len() * 784,
        "images and labels differ in number"
    );
    Ok((
        images
            .iter()
            .map(|&pixel| f32::from(pixel) / divisor - mean)
            .collect(),
        labels.into_iter().map(u32::from).collect(),
    ))
}

fn idx(path: &Path, header: usize) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)?;
    ensure!(bytes.len() > header, "{} is cut short", path.display());
    Ok(bytes.split_off(header))
}
