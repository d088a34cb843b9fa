//! What is learnt: graphs from ONNX, per-example gradients, DP-SGD, optimisers, metrics and export.
//!
//! It knows no network and no party. It draws no samples either: whoever holds the data does, and states its privacy.
//!
//! How a value flows: an ONNX file becomes a [`Graph`], checked operator by operator. A [`Trainer`] takes [`Examples`] a
//! step at a time. Its threads run the graph forward and backward: small networks over tiles of examples, one example a
//! SIMD lane, so that each lane ends with its own example's gradient; all others layer by layer over groups of examples, as
//! a [`GradientPlan`] says. Each gradient is clipped as [`Clipping`] says and added, in integers, to the [`Grid`]; the sum
//! gets discrete Gaussian noise from a [`NoiseSource`] and moves the weights through the optimiser. [`Parameters`] leave as
//! safetensors or, by [`export_onnx`], in the file they came from; [`evaluate`] measures them on public examples.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod average;
#[cfg(test)]
mod candle_forward;
mod clipping;
mod engine;
mod evaluate;
mod examples;
mod export;
mod external;
mod graph;
mod grid;
mod group;
mod kernels;
mod lane_engine;
mod lane_worker;
mod lanes;
mod loss;
mod mechanism;
mod metrics;
pub mod models;
mod noise;
mod onnx;
mod optimiser;
mod parameters;
mod predict;
mod privacy;
mod products;
#[cfg(test)]
mod reference;
mod schedule;
#[cfg(test)]
mod shared_files;
mod state;
mod targets;
mod trainer;
mod update;
mod wire;
mod worker;

pub use average::AverageConfig;
pub use clipping::{AdaptiveClipping, Clipping, ClippingError};
pub use evaluate::{EvaluateError, evaluate};
pub use examples::{Examples, ExamplesError};
pub use export::{ExportError, export_onnx};
pub use external::{ModelFileError, read_onnx};
pub use graph::{Graph, GraphError, LayerReport, ModelDigest, ModelReport, ParameterInfo, Shape};
pub use grid::{Clipped, Grid, GridError};
pub use group::{EngineChoice, GradientPlan, GradientPlanError, LayerStrategy};
pub use loss::{LossConfig, LossError, WeightedLoss};
pub use metrics::{ClassMetrics, Classification, Metrics, Regression, Segmentation, TopK};
pub use noise::{NoiseError, NoiseSource, SigmaInt};
pub use onnx::{MODEL_SIZE_LIMIT, OnnxError};
pub use optimiser::{OptimiserConfig, OptimiserError, WeightDecay};
pub use parameters::{Parameters, ParametersError, SAFETENSORS_SIZE_LIMIT};
pub use predict::predict;
pub use privacy::{PrivacyError, PrivacySettings};
pub use schedule::{ScheduleConfig, ScheduleShape, WarmUp};
pub use state::TrainerState;
pub use targets::Targets;
pub use trainer::{SetupError, StepReport, TrainError, Trainer};
pub use update::UpdateConfig;
