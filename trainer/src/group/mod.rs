//! The group engine: runs a graph forward and backward, layer by layer, over a group of examples.
//!
//! Values are `[example][element]`. A group is large enough that products have columns to work on and weights are not
//! fetched from memory once an example, and small enough that memory does not grow with the batch.
//! A gradient of a step's parameters is asked for by a `Visit` while the backward pass has that step's output gradient
//! at hand, or later for steps whose output gradients are kept (book-keeping: Bu et al. 2022).

mod engine;
mod layout;
mod strategy;
mod worker;

#[cfg(test)]
pub(crate) use self::engine::Visit;
pub(crate) use self::engine::{GroupEngine, Packed};
pub use self::strategy::{EngineChoice, GradientPlan, GradientPlanError, LayerStrategy};
pub(crate) use self::strategy::{Method, capacity, settle};
pub(crate) use self::worker::{GroupWorker, Job, Sums};
