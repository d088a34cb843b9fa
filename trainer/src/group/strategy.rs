//! How per-example gradients are got, layer by layer.

use std::num::NonZeroUsize;

use thiserror::Error;

use crate::graph::Graph;

/// How per-example gradients are computed. The default chooses by cost; everything else is for measurements and tests.
///
/// Whatever is chosen, sums do not depend on the number of threads; between choices they differ by the rounding of single
/// precision, a few parts in a million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GradientPlan {
    /// The engine that runs the network.
    pub engine: EngineChoice,
    /// What layers use that [`GradientPlan::layers`] does not name.
    pub layer: LayerStrategy,
    /// Exceptions: the name of a layer's parameter, and what that layer uses.
    pub layers: Vec<(String, LayerStrategy)>,
    /// Examples that a thread of the layer-by-layer engine works on at a time; chosen by memory where it is `None`.
    pub group: Option<NonZeroUsize>,
}

/// What runs a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The faster one for the network's size.
    #[default]
    Automatic,
    /// One example a SIMD lane, with a gradient of every parameter in every lane. For small networks.
    SampleParallel,
    /// Layer by layer over groups of examples, as large as memory allows.
    LayerByLayer,
}

/// How the layer-by-layer engine gets a layer's per-example gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerStrategy {
    /// The cheapest.
    #[default]
    Automatic,
    /// Written to memory for each example, clipped and summed from there.
    Instantiate,
    /// Written for the norm, thrown away, and computed again for the clipped sum (book-keeping: Bu et al. 2022, "Differentially
    /// Private Optimization on Large Model at Small Cost").
    Recompute,
    /// Never written: the norm comes from inner products (ghost norm), and the clipped sum is computed directly.
    Ghost,
}

/// A plan that does not fit a network.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GradientPlanError {
    /// Some operator has no sample-parallel form.
    #[error(
        "the sample-parallel engine cannot run every operator of this network; choose layer by layer"
    )]
    SampleParallel,
    /// Too many parameters for lanes.
    #[error("{0} parameters are too many for the sample-parallel engine; choose layer by layer")]
    TooLarge(usize),
    /// No such parameter.
    #[error(
        "no parameter is called `{0}`; name one of the layer's parameters as the model file does"
    )]
    Unknown(String),
    /// The layer's gradient is no product.
    #[error("the layer of `{0}` has no ghost norm; only convolutions and linear layers have")]
    NoGhost(String),
}

/// A layer's strategy, settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Kept,
    Recomputed,
    Ghost,
}

/// Settles the strategy of every step that has parameters; others get [`Method::Kept`], which costs them nothing.
pub(crate) fn settle(graph: &Graph, plan: &GradientPlan) -> Result<Vec<Method>, GradientPlanError> {
    let steps = &graph.plan().steps;
    let mut chosen = vec![plan.layer; steps.len()];
    for (name, strategy) in &plan.layers {
        let parameter = graph.parameters().iter().find(|info| info.name == *name);
        let step = parameter.and_then(|info| {
            steps
                .iter()
                .position(|step| step.parameters.contains(&info.range.start))
        });
        let step = step.ok_or_else(|| GradientPlanError::Unknown(name.clone()))?;
        let products = steps[step]
            .operator
            .gradients()
            .and_then(|own| own.products());
        if *strategy == LayerStrategy::Ghost && products.is_none() {
            return Err(GradientPlanError::NoGhost(name.clone()));
        }
        chosen[step] = *strategy;
    }
    let settled = steps.iter().zip(chosen).map(|(step, strategy)| {
        let products = step.operator.gradients().and_then(|own| own.products());
        match (strategy, products) {
            _ if step.parameters.is_empty() => Method::Kept,
            (LayerStrategy::Instantiate, _) => Method::Kept,
            (LayerStrategy::Recompute, _) => Method::Recomputed,
            (LayerStrategy::Ghost, Some(_)) => Method::Ghost,
            // The whole network's default reaches only as far as it can.
            (LayerStrategy::Ghost, None) => Method::Kept,
            (LayerStrategy::Automatic, _) if step.parameters.len() <= KEPT_LIMIT => Method::Kept,
            (LayerStrategy::Automatic, Some(products)) => {
                let [ghost, instantiated] = products.costs(1);
                if ghost < instantiated {
                    Method::Ghost
                } else {
                    Method::Recomputed
                }
            }
            (LayerStrategy::Automatic, None) => Method::Recomputed,
        }
    });
    Ok(settled.collect())
}

/// Parameters of a layer whose gradient is written to memory for each example: to read it again from memory is then cheaper
/// than to compute it again.
const KEPT_LIMIT: usize = 192 << 10;

/// How many examples a group has, where each takes `kept` floats besides its values and their gradients: a power of two,
/// so that batches, which most often are, divide evenly.
pub(crate) fn capacity(graph: &Graph, kept: usize) -> usize {
    let plan = graph.plan();
    let saved: usize = plan.steps.iter().map(|step| step.operator.saved()).sum();
    let floats = 2 * plan.buffers.iter().sum::<usize>() + saved + kept;
    let most = (GROUP_LIMIT / size_of::<f32>() / floats.max(1)).clamp(1, MOST_EXAMPLES);
    1 << most.ilog2()
}

/// Memory of a thread's group.
const GROUP_LIMIT: usize = 256 << 20;
/// Beyond this, products gain nothing from more columns.
const MOST_EXAMPLES: usize = 32;
