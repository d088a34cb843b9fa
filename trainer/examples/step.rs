//! Times one training step, for comparison with PyTorch and Opacus on the same machine.
//!
//! `cargo run --release -p tributary-trainer --example step -- a_mnist|b_lenet private|plain THREADS SECONDS`
//!
//! Prints the median and minimum wall and CPU milliseconds of a step, and the peak memory. The networks are those of the
//! comparison: the classic MNIST network with Relu at batch 256, LeNet on 3x32x32 at batch 128; read from
//! `../shared/models` or the folder that `TRIBUTARY_SHARED` names.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tributary_trainer::{Examples, Graph, LossConfig, OptimiserConfig, PrivacySettings, Trainer};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [net, mode, threads, seconds] = arguments.as_slice() else {
        bail!("usage: step NET private|plain THREADS SECONDS, with NET a_mnist or b_lenet");
    };
    let (file, batch) = match net.as_str() {
        "a_mnist" => ("mnist.onnx", 256),
        "b_lenet" => ("lenet.onnx", 128),
        other => bail!("net {other} cannot be trained here yet; there are a_mnist and b_lenet"),
    };
    let threads: NonZeroUsize = threads.parse().context("THREADS must be at least 1")?;
    let seconds: f64 = seconds.parse().context("SECONDS must be a number")?;
    ensure!(
        (0.0..=3600.0).contains(&seconds),
        "SECONDS must be from 0 to 3600"
    );
    let path = shared().join("models").join(file);
    let graph =
        Graph::from_onnx(&std::fs::read(&path).with_context(|| path.display().to_string())?)?;

    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
    let inputs: Vec<f32> = (0..batch * graph.input_shape().elements())
        .map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32)
        .collect();
    let labels: Vec<u32> = (0..batch).map(|_| (uniform() * 9.999) as u32).collect();
    let examples = Examples::labelled(&inputs, &labels);

    let optimiser = OptimiserConfig::Sgd {
        learning_rate: 0.05,
        momentum: 0.0,
    };
    let mut trainer = match mode.as_str() {
        "private" => {
            let privacy = PrivacySettings::new(1.0, 1.0, batch as f64)?;
            Trainer::new(graph, LossConfig::CrossEntropy, optimiser, privacy, threads)?
        }
        "plain" => {
            Trainer::danger_without_privacy(graph, LossConfig::CrossEntropy, optimiser, threads)?
        }
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

fn shared() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("TRIBUTARY_SHARED").map_or_else(default, PathBuf::from)
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
