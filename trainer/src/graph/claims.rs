//! Which tensors of a file become parameters, and under what names.
//!
//! Exporters merge tensors of equal values, though PyTorch trains them apart: fresh normalisation layers all have ones, and
//! copied layers equal weights. The TorchScript exporter hands a merged tensor out through `Identity` nodes that bear the
//! lost names. `torch.export` lets the nodes share it, and notes on each the module that it belongs to; a tensor used in
//! two modules of one class is taken for merged, and used again in the same module, or in one of another class, for tied on
//! purpose: then it stays one parameter, under the name of its first use. So does a matrix that an exporter folded into the
//! transpose of a weight of a layer of another kind.

use std::collections::HashMap;
use std::ops::Range;

use super::error::GraphError;
use super::names::{Module, Role};
use super::node::node_name;
use super::plan::{Origin, ParameterInfo, Place, Stored};
use super::progress::Progress;
use super::shape::display_dims;
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
    /// By tensor of the file: the classes of the modules that have it, and the parameter that it is for each.
    of_tensor: HashMap<String, Vec<(Option<String>, usize)>>,
    /// By input of a node that takes a merged tensor.
    places: Vec<(usize, usize)>,
    /// The parameter by each name that a node gave it.
    of_name: HashMap<String, usize>,
    /// For each parameter the kind of layer that has it: a class, or an operator where no class is noted.
    kinds: Vec<String>,
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
        let stored = &claim.stored;
        let user = &self.graph.node[claim.node];
        if self.is_buffer(&stored.tensor) {
            return Err(GraphError::Input {
                operator: proto.op_type.clone(),
                node: node_name(proto).to_owned(),
                index: claim.input,
                input: stored.tensor.clone(),
                got: "a buffer, which PyTorch does not train",
                expected: "a parameter (torch.nn.Parameter); the metadata `tributary.frozen` can keep it as it is",
            });
        }
        let module = Module::of(user);
        let name = self.parameter_name(&claim, module.as_ref());
        let class = module.and_then(|module| module.class);
        if let Some(&parameter) = self.claims.of_name.get(&name) {
            return self.claim_again(&claim, parameter, proto);
        }
        let (node, input) = stored.taken_by.unwrap_or((claim.node, claim.input));
        let tensor = self.tensor(stored);
        let mut values = tensor.floats()?;
        if let Some(uses) = self.claims.of_tensor.get(&stored.tensor) {
            let uniform = values.iter().all(|value| *value == values[0]);
            // Without a noted class nothing shows that a second use is another layer's.
            let merged = class.is_some()
                && (uniform || uses.iter().all(|(other, _)| *other == class))
                && !self.claims.places.contains(&(node, input));
            if !merged {
                let own = uses.iter().find(|(other, _)| *other == class);
                let first = own.or(uses.first()).map_or(0, |(_, parameter)| *parameter);
                let range = self.claim_again(&claim, first, proto)?;
                self.claims.of_name.insert(name, first);
                self.take_own_name(first);
                return Ok(range);
            }
        }
        // The two operators of linear layers are of one kind.
        let operator = match user.op_type.as_str() {
            "Gemm" => "MatMul",
            other => other,
        };
        let kind = class.clone().unwrap_or_else(|| operator.to_owned());
        if claim.transposed {
            let turned: Vec<usize> = claim.dims.iter().rev().copied().collect();
            let sources = super::index::transpose(&turned, &[1, 0]);
            values = sources.into_iter().map(|source| values[source]).collect();
            if let Some(parameter) = self.transposed_twin(&claim, &kind, &values) {
                // Its trained values take this tensor's place in the exported file, where nothing else may read it.
                if self.consumers_of(&stored.tensor).len() != 1 {
                    return Err(tied(&self.plan.parameters[parameter], &claim, proto));
                }
                let copies = &mut self.plan.origins[parameter].copies;
                if !copies.contains(&stored.initializer) {
                    copies.push(stored.initializer);
                }
                let range = self.plan.parameters[parameter].range.clone();
                self.note_claim(&range);
                self.claims.of_name.insert(name, parameter);
                self.take_own_name(parameter);
                return Ok(range);
            }
        } else if name == stored.tensor && self.is_made_up(&name) {
            self.refuse_twin(&claim, &values, proto)?;
        }
        let first = !self.claims.of_tensor.contains_key(&stored.tensor);
        let place = if stored.tensor == name || first && self.is_made_up(&stored.tensor) {
            if tensor.name == stored.tensor {
                Place::Initializer
            } else {
                Place::Identity(stored.tensor.clone())
            }
        } else {
            Place::New(self.new_tensor(&claim.stored.tensor, &name))
        };
        self.claims.places.push((node, input));
        self.claims
            .of_tensor
            .entry(stored.tensor.clone())
            .or_default()
            .push((class, self.plan.parameters.len()));
        self.claims
            .of_name
            .insert(name.clone(), self.plan.parameters.len());
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
            inputs: vec![(node, input)],
            transposed: claim.transposed,
            copies: Vec::new(),
        });
        self.claims.kinds.push(kind);
        self.note_claim(&range);
        Ok(range)
    }

    /// The parameter whose transpose a folded matrix is, to the last bit, where a layer of another kind has it: an embedding
    /// that is the output layer's matrix too. Layers of one kind with equal values are copies, which PyTorch trains apart.
    fn transposed_twin(&self, claim: &Claim, kind: &str, values: &[f32]) -> Option<usize> {
        let plan = &self.plan;
        let uniform = values.iter().all(|value| *value == values[0]);
        let is_twin = |&parameter: &usize| {
            let (info, origin) = (&plan.parameters[parameter], &plan.origins[parameter]);
            self.claims.kinds[parameter] != kind
                && !origin.transposed
                && info.dims == claim.dims
                && plan.weights[info.range.clone()] == *values
        };
        (0..plan.parameters.len())
            .find(is_twin)
            .filter(|_| !uniform)
    }

    /// Refuses a folded matrix of a lost name that is another parameter, or its transpose, to the last bit.
    fn refuse_twin(
        &self,
        claim: &Claim,
        values: &[f32],
        proto: &NodeProto,
    ) -> Result<(), GraphError> {
        let uniform = values.iter().all(|value| *value == values[0]);
        let turned: Vec<usize> = claim.dims.iter().rev().copied().collect();
        let twin = self.plan.parameters.iter().find(|info| {
            let own = &self.plan.weights[info.range.clone()];
            let as_it_is = info.dims == claim.dims && own == values;
            let sources = || super::index::transpose(&claim.dims, &[1, 0]);
            as_it_is
                || info.dims.len() == 2
                    && info.dims == turned
                    && (sources().into_iter().zip(own)).all(|(source, own)| values[source] == *own)
        });
        match twin {
            Some(info) if !uniform => Err(tied(info, claim, proto)),
            _ => Ok(()),
        }
    }

    /// Lets a parameter that turned out to be tied bear the name of its tensor, unless that is another's: then the file's
    /// tensor stays where it is.
    fn take_own_name(&mut self, parameter: usize) {
        let initializer = self.plan.origins[parameter].initializer;
        let name = &self.graph.initializer[initializer].name;
        let origins = self.plan.origins.iter().enumerate();
        let is_free = (origins.filter(|(index, _)| *index != parameter))
            .all(|(_, own)| own.initializer != initializer || own.place != Place::Initializer);
        let is_name = !self.is_made_up(name)
            && (self.claims.of_name.get(name)).is_none_or(|&own| own == parameter);
        if is_free && is_name && matches!(self.plan.origins[parameter].place, Place::New(_)) {
            self.plan.origins[parameter].place = Place::Initializer;
            self.plan.parameters[parameter].name.clone_from(name);
            self.claims.of_name.insert(name.clone(), parameter);
        }
    }

    /// Claims a parameter once more, for another step.
    fn claim_again(
        &mut self,
        claim: &Claim,
        parameter: usize,
        proto: &NodeProto,
    ) -> Result<Range<usize>, GraphError> {
        let stored = &claim.stored;
        let (info, origin) = (
            &self.plan.parameters[parameter],
            &mut self.plan.origins[parameter],
        );
        let same = origin.initializer == stored.initializer
            && origin.transposed == claim.transposed
            && info.dims == claim.dims;
        if !same {
            return Err(tied(info, claim, proto));
        }
        let place = stored.taken_by.unwrap_or((claim.node, claim.input));
        if !origin.inputs.contains(&place) {
            origin.inputs.push(place);
        }
        let range = info.range.clone();
        self.note_claim(&range);
        Ok(range)
    }

    /// Remembers what the next step reads.
    fn note_claim(&mut self, range: &Range<usize>) {
        if !range.is_empty() {
            self.pending_claims.push(range.clone());
        }
    }

    /// Gives parameters whose tensor is a constant to another node one of their own.
    pub(crate) fn part_constants(&mut self) {
        for parameter in 0..self.plan.origins.len() {
            let origin = &self.plan.origins[parameter];
            if origin.place != Place::Initializer {
                continue;
            }
            let initializer = origin.initializer;
            let tensor = &self.graph.initializer[initializer].name;
            let claimed = |place| {
                let mut origins = self.plan.origins.iter();
                origins.any(|own| own.initializer == initializer && own.inputs.contains(&place))
            };
            // What an Identity hands out has a place of its own, and sizes do not change.
            let reads =
                |node: &NodeProto| !["Identity", "Shape", "Size"].contains(&node.op_type.as_str());
            let is_constant = self.consumers_of(tensor).iter().any(|&index| {
                let node = &self.graph.node[index];
                let places = node.input.iter().enumerate();
                let mut own = places.filter(|(_, name)| *name == tensor);
                reads(node) && own.any(|(input, _)| !claimed((index, input)))
            });
            if is_constant {
                let name = self.plan.parameters[parameter].name.clone();
                let place = Place::New(self.new_tensor(tensor, &name));
                self.plan.origins[parameter].place = place;
            }
        }
    }

    /// A name for a tensor that the file does not have yet. What had a made-up name gets one again, so that the exported
    /// file reads as this one did.
    fn new_tensor(&mut self, tensor: &str, name: &str) -> String {
        if !self.is_made_up(tensor) && !self.has_tensor(name) {
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

    /// What PyTorch calls the parameter.
    fn parameter_name(&self, claim: &Claim, module: Option<&Module>) -> String {
        let tensor = &claim.stored.tensor;
        if let Some(name) = &claim.name {
            return name.clone();
        }
        let made_up = self.is_made_up(tensor);
        match module {
            Some(module) if made_up && !module.path.is_empty() => {
                module.parameter(claim.role, tensor)
            }
            Some(module) if !made_up && module.class.is_some() && !module.holds(tensor) => {
                module.parameter(claim.role, tensor)
            }
            _ => tensor.clone(),
        }
    }
}

/// A refusal of a parameter's use in another form.
fn tied(info: &ParameterInfo, claim: &Claim, proto: &NodeProto) -> GraphError {
    GraphError::TiedParameter {
        parameter: info.name.clone(),
        operator: proto.op_type.clone(),
        node: node_name(proto).to_owned(),
        got: format!(
            "`{}` of {}, and has {} itself",
            claim.stored.tensor,
            display_dims(&claim.dims),
            display_dims(&info.dims)
        ),
    }
}
