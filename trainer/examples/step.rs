//! Times one training step, for comparison with PyTorch and Opacus on the same machine.
//!
//! `cargo run --release -p tributary-trainer --example step -- NET private|plain THREADS SECONDS`
//!
//! Prints the median and minimum wall and CPU milliseconds of a step, and the peak memory. The networks are built in, and
//! the same as the comparison's: the classic MNIST network with ReLU at batch 256, LeNet on 3x32x32 at 128, a U-Net on
//! 1x128x128 at 16, and ResNet-18 with GroupNorm on 3x32x32 at 64. `bench/compare.sh` runs both sides in turn.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tributary_trainer::{
    Examples, Graph, LossConfig, OptimiserConfig, PrivacySettings, Trainer, models,
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [net, mode, threads, seconds] = arguments.as_slice() else {
        bail!(
            "usage: step NET private|plain THREADS SECONDS, with NET a_mnist, b_lenet, c_unet or d_resnet18gn"
        );
    };
    let (model, batch) = match net.as_str() {
        "a_mnist" => (models::mnist_cnn_relu(1), 256),
        "b_lenet" => (models::lenet(1), 128),
        "c_unet" => (models::unet(1), 16),
        "d_resnet18gn" => (models::resnet18gn(1), 64),
        other => {
            bail!("there is no net {other}; there are a_mnist, b_lenet, c_unet and d_resnet18gn")
        }
    };
    let threads: NonZeroUsize = threads.parse().context("THREADS must be at least 1")?;
    let seconds: f64 = seconds.parse().context("SECONDS must be a number")?;
    ensure!(
        (0.0..=3600.0).contains(&seconds),
        "SECONDS must be from 0 to 3600"
    );
    let graph = Graph::from_onnx(&model)?;
    drop(model);

    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
    let inputs: Vec<f32> = (0..batch * graph.input_shape().elements())
        .map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32)
        .collect();
    let outputs = graph.output_shape().elements();
    let labels: Vec<u32> = (0..batch).map(|_| (uniform() * 9.999) as u32).collect();
    let masks: Vec<f32> = match net.as_str() {
        "c_unet" => (0..batch * outputs)
            .map(|_| f32::from(u8::from(uniform() > 0.5)))
            .collect(),
        _ => Vec::new(),
    };
    let (loss, examples) = if masks.is_empty() {
        (
            LossConfig::CrossEntropy,
            Examples::labelled(&inputs, &labels),
        )
    } else {
        (
            LossConfig::BceWithLogits {
                positive_weight: 1.0,
            },
            Examples::valued(&inputs, &masks),
        )
    };

    let optimiser = OptimiserConfig::Sgd {
        learning_rate: 0.05,
        momentum: 0.0,
    };
    let mut trainer = match mode.as_str() {
        "private" => {
            let privacy = PrivacySettings::new(1.0, 1.0, batch as f64)?;
            Trainer::new(graph, loss, optimiser, privacy, threads)?
        }
        "plain" => Trainer::danger_without_privacy(graph, loss, optimiser, threads)?,
        other => bail!("mode {other} is not known; there are private and plain"),
    };

    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while wall.len() < 5 || start.elapsed() < Duration::from_secs_f64(seconds) {
        let (before, used) = (Instant::now(), cpu_time()?);
        trainer.step(&examples)?;
        wall.push(before.elapsed().as_secs_f64() * 1e3);
        cpu.push((cpu_time()? - used) * 1e3);
    }
    let (wall, cpu) = (summary(&mut wall[2..]), summary(&mut cpu[2..]));
    println!(
        "{net} {mode} threads={threads} wall_ms={wall} cpu_ms={cpu} steps={} peak_mib={}",
        trainer.steps() - 2,
        peak_mib()?
    );
    Ok(())
}

/// Median and minimum.
fn summary(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median = if times.len() % 2 == 1 {
        times[middle]
    } else {
        (times[middle - 1] + times[middle]) / 2.0
    };
    format!("{median:.1} [{:.1}]", times[0])
}

/// Seconds of processor time of this process, over all its threads.
fn cpu_time() -> anyhow::Result<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

fn peak_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("peak memory is read from /proc, which Linux has")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
