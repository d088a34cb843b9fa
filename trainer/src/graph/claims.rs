//! Which tensors of a file become parameters, and under what names.
//!
//! Exporters merge tensors of equal values, though PyTorch trains them apart: fresh normalisation layers all have ones, and
//! copied layers equal weights. The TorchScript exporter hands a merged tensor out through `Identity` nodes that bear the
//! lost names. `torch.export` lets the nodes share it, and notes on each the module that it belongs to; a tensor used in
//! two modules of one class is taken for merged, and used again in the same module, or in one of another class, for tied on
//! purpose. Tied weights are refused.

use std::collections::HashMap;
use std::ops::Range;

use super::error::GraphError;
use super::names::{Module, Role, is_made_up};
use super::node::node_name;
use super::plan::{Origin, ParameterInfo, Place, Stored};
use super::progress::Progress;
use crate::onnx::NodeProto;

/// Most parameters of a graph: each worker thread keeps a gradient of every parameter for each example of a tile.
const PARAMETER_LIMIT: usize = 64 << 20;

/// A tensor that becomes a parameter.
pub(crate) struct Claim {
    pub(crate) stored: Stored,
    /// The node that uses it, and as which input.
    pub(crate) node: usize,
    pub(crate) input: usize,
    pub(crate) role: Role,
    /// PyTorch's name, where something else than the node says it.
    pub(crate) name: Option<String>,
    /// PyTorch's sizes.
    pub(crate) dims: Vec<usize>,
    /// Whether PyTorch's parameter is the transpose of what the file holds.
    pub(crate) transposed: bool,
}

/// What was claimed so far.
#[derive(Default)]
pub(crate) struct Claims {
    /// By tensor of the file: the classes of the modules that have it.
    of_tensor: HashMap<String, Vec<Option<String>>>,
    /// By input of a node that takes a merged tensor.
    places: Vec<(usize, usize)>,
    /// How many tensors got a name that no exporter gave them.
    made_up: usize,
}

impl Progress<'_> {
    /// Makes a tensor of the file a parameter.
    pub(crate) fn claim(
        &mut self,
        claim: Claim,
        proto: &NodeProto,
    ) -> Result<Range<usize>, GraphError> {
        let tied = |parameter: &str| GraphError::TiedParameter {
            parameter: parameter.to_owned(),
            operator: proto.op_type.clone(),
            node: node_name(proto).to_owned(),
        };
        let stored = &claim.stored;
        let user = &self.graph.node[claim.node];
        let module = Module::of(user);
        let name = parameter_name(&claim, module.as_ref());
        let class = module.and_then(|module| module.class);
        if self.plan.parameters.iter().any(|info| info.name == name) {
            return Err(tied(&stored.tensor));
        }
        let (node, input) = stored.taken_by.unwrap_or((claim.node, claim.input));
        let tensor = self.tensor(stored);
        let mut values = tensor.floats()?;
        if let Some(classes) = self.claims.of_tensor.get(&stored.tensor) {
            let uniform = values.iter().all(|value| *value == values[0]);
            // Without a noted class nothing shows that a second use is another layer's.
            let merged = class.is_some()
                && (uniform || classes.iter().all(|other| *other == class))
                && !self.claims.places.contains(&(node, input));
            if !merged {
                return Err(tied(&stored.tensor));
            }
        }
        let first = !self.claims.of_tensor.contains_key(&stored.tensor);
        let place = if stored.tensor == name || first && is_made_up(&stored.tensor) {
            if tensor.name == stored.tensor {
                Place::Initializer
            } else {
                Place::Identity(stored.tensor.clone())
            }
        } else {
            Place::New {
                tensor: self.new_tensor(&claim, &name),
                node,
                input,
            }
        };
        self.claims.places.push((node, input));
        self.claims
            .of_tensor
            .entry(stored.tensor.clone())
            .or_default()
            .push(class);
        if claim.transposed {
            let turned: Vec<usize> = claim.dims.iter().rev().copied().collect();
            let sources = super::index::transpose(&turned, &[1, 0]);
            values = sources.into_iter().map(|source| values[source]).collect();
        }
        let plan = &mut self.plan;
        let range = plan.weights.len()..plan.weights.len() + values.len();
        if range.end > PARAMETER_LIMIT {
            return Err(GraphError::Model {
                expected: format!("at most {PARAMETER_LIMIT} parameters"),
                got: format!("{} with `{name}`", range.end),
            });
        }
        plan.weights.extend(values);
        plan.parameters.push(ParameterInfo {
            name,
            dims: claim.dims,
            range: range.clone(),
        });
        plan.origins.push(Origin {
            initializer: claim.stored.initializer,
            place,
            transposed: claim.transposed,
        });
        Ok(range)
    }

    /// A name for a tensor that the file does not have yet. What had a made-up name gets one again, so that the exported
    /// file reads as this one did.
    fn new_tensor(&mut self, claim: &Claim, name: &str) -> String {
        if !is_made_up(&claim.stored.tensor) && !self.has_tensor(name) {
            return name.to_owned();
        }
        loop {
            self.claims.made_up += 1;
            let tensor = format!("onnx::Parameter_{}", self.claims.made_up);
            if !self.has_tensor(&tensor) {
                return tensor;
            }
        }
    }
}

/// What PyTorch calls the parameter.
fn parameter_name(claim: &Claim, module: Option<&Module>) -> String {
    let tensor = &claim.stored.tensor;
    if let Some(name) = &claim.name {
        return name.clone();
    }
    match module {
        Some(module) if is_made_up(tensor) && !module.path.is_empty() => {
            module.parameter(claim.role, tensor)
        }
        Some(module) if !is_made_up(tensor) && module.class.is_some() && !module.holds(tensor) => {
            module.parameter(claim.role, tensor)
        }
        _ => tensor.clone(),
    }
}
