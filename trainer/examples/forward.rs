//! What `bench/parity.py` compares with PyTorch and onnxruntime: outputs, weights, exported files and gradients.
//!
//! - `forward outputs MODEL.onnx INPUTS OUTPUTS [WEIGHTS.safetensors]`: little-endian float32 in and out
//! - `forward weights MODEL.onnx OUT.safetensors`: the weights under PyTorch's names
//! - `forward export MODEL.onnx WEIGHTS.safetensors OUT.onnx`
//! - `forward model NAME OUT.onnx`: a built-in network
//! - `forward private MODEL.onnx INPUTS TARGETS OUT.safetensors`: the weights after one step of private training on the
//!   squared error, targets in the output's shape
//! - `forward step MODEL.onnx INPUTS LABEL RATE OUT.safetensors`: the weights after one step of gradient descent on the
//!   cross-entropy of the first example

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, bail};
use tributary_trainer::{
    Examples, Graph, LossConfig, OptimiserConfig, Parameters, PrivacySettings, Trainer,
    export_onnx, models, predict, read_onnx,
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["outputs", model, inputs, out, weights @ ..] => {
            let graph = Graph::from_onnx(&read_onnx(Path::new(model))?)?;
            let parameters = match weights {
                [] => Parameters::initial(&graph)?,
                [weights] => Parameters::from_safetensors(&read(weights)?)?,
                _ => bail!("at most one file of weights"),
            };
            let outputs = predict(&graph, &parameters, &floats(inputs)?)?;
            let bytes: Vec<u8> = outputs
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            std::fs::write(out, bytes)?;
        }
        ["weights", model, out] => {
            let graph = Graph::from_onnx(&read_onnx(Path::new(model))?)?;
            std::fs::write(out, Parameters::initial(&graph)?.to_safetensors()?)?;
        }
        ["export", model, weights, out] => {
            let parameters = Parameters::from_safetensors(&read(weights)?)?;
            std::fs::write(
                out,
                export_onnx(&read_onnx(Path::new(model))?, &parameters)?,
            )?;
        }
        ["step", model, inputs, label, rate, out] => {
            let graph = Graph::from_onnx(&read_onnx(Path::new(model))?)?;
            let inputs = floats(inputs)?;
            let first = inputs
                .get(..graph.input_shape().elements())
                .context("too few inputs for an example")?;
            let optimiser = OptimiserConfig::Sgd {
                learning_rate: rate.parse()?,
                momentum: 0.0,
            };
            let mut trainer = Trainer::danger_without_privacy(
                graph,
                LossConfig::CrossEntropy,
                optimiser,
                NonZeroUsize::MIN,
            )?;
            trainer.step(&Examples::labelled(first, &[label.parse()?]))?;
            std::fs::write(out, trainer.parameters()?.to_safetensors()?)?;
        }
        ["model", name, out] => {
            let model = match *name {
                "mnist_cnn" => models::mnist_cnn(1),
                "mnist_cnn_relu" => models::mnist_cnn_relu(1),
                "lenet" => models::lenet(1),
                "unet" => models::unet(1),
                "resnet18gn" => models::resnet18gn(1),
                "linear" => models::linear(784, 10),
                "mnist_scatter" => models::mnist_scatter(1),
                other => bail!("there is no network {other}"),
            };
            std::fs::write(out, model)?;
        }
        ["private", model, inputs, targets, out] => {
            let graph = Graph::from_onnx(&read_onnx(Path::new(model))?)?;
            let (inputs, targets) = (floats(inputs)?, floats(targets)?);
            let examples = inputs.len() / graph.input_shape().elements();
            let optimiser = OptimiserConfig::Sgd {
                learning_rate: 0.01,
                momentum: 0.0,
            };
            let privacy = PrivacySettings::new(1.0, 1.0, examples as f64)?;
            let mut trainer = Trainer::new(
                graph,
                LossConfig::Mse,
                optimiser,
                privacy,
                NonZeroUsize::MIN,
            )?;
            trainer.step(&Examples::valued(&inputs, &targets))?;
            std::fs::write(out, trainer.parameters()?.to_safetensors()?)?;
        }
        _ => bail!(
            "usage: forward outputs|weights|export|model|private|step …; the source says with what"
        ),
    }
    Ok(())
}

fn read(path: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(Path::new(path)).with_context(|| path.to_owned())
}

fn floats(path: &str) -> anyhow::Result<Vec<f32>> {
    let bytes = read(path)?;
    let (values, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        bail!("{path} does not hold float32");
    }
    Ok(values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect())
}
