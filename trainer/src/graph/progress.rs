//! What is known of a graph from its nodes so far.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::claims::Claims;
use super::constant::Constant;
use super::error::GraphError;
use super::names::{self, Module, Signature};
use super::node::node_name;
use super::operator::Operator;
use super::plan::{Plan, Step, StepOrigin, Stored, Term, Value};
use super::shape::Shape;
use super::view::View;
use crate::onnx::{FLOAT, GraphProto, NodeProto, TensorProto};

/// What is known of a graph from its nodes so far.
pub(crate) struct Progress<'m> {
    pub(crate) graph: &'m GraphProto,
    pub(crate) opset: i64,
    /// How many examples the file was exported for, where it fixes that.
    pub(crate) batch: Option<i64>,
    pub(crate) terms: HashMap<String, Term>,
    pub(crate) plan: Plan,
    pub(crate) claims: Claims,
    signature: Option<Signature>,
    /// For each buffer, whether a parameter has a say in it.
    pub(crate) trained: Vec<bool>,
    initializers: HashMap<&'m str, usize>,
    consumers: HashMap<&'m str, Vec<usize>>,
    outputs: HashSet<&'m str>,
    /// Parameters before this belong to earlier steps.
    claimed: usize,
    /// Parameters that were claimed since the last step.
    pub(crate) pending_claims: Vec<Range<usize>>,
}

impl<'m> Progress<'m> {
    /// Before the first node.
    pub(crate) fn new(
        graph: &'m GraphProto,
        opset: i64,
        batch: Option<i64>,
        input: &Value,
    ) -> Self {
        let mut consumers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for name in &node.input {
                consumers.entry(name).or_default().push(index);
            }
        }
        let initializers = graph
            .initializer
            .iter()
            .enumerate()
            .map(|(index, tensor)| (tensor.name.as_str(), index));
        Self {
            graph,
            opset,
            batch,
            terms: HashMap::new(),
            plan: Plan {
                input: input.shape.clone(),
                output: input.clone(),
                steps: Vec::new(),
                buffers: vec![input.shape.elements()],
                parameters: Vec::new(),
                weights: Vec::new(),
                origins: Vec::new(),
                constants: Vec::new(),
                batch_norms: Vec::new(),
            },
            claims: Claims::default(),
            signature: Signature::of(graph),
            trained: vec![false],
            initializers: initializers.collect(),
            consumers,
            outputs: graph
                .output
                .iter()
                .map(|output| output.name.as_str())
                .collect(),
            claimed: 0,
            pending_claims: Vec::new(),
        }
    }

    /// What a name stands for, where it is known.
    pub(crate) fn term(&self, name: &str) -> Result<Option<Term>, GraphError> {
        if let Some(term) = self.terms.get(name) {
            return Ok(Some(term.clone()));
        }
        let Some(&initializer) = self.initializers.get(name) else {
            return Ok(None);
        };
        let tensor = &self.graph.initializer[initializer];
        if tensor.data_type != FLOAT {
            return Ok(Some(Term::Constant(Constant::read(tensor)?)));
        }
        Ok(Some(Term::Stored(Stored {
            tensor: tensor.name.clone(),
            initializer,
            dims: tensor.shape()?,
            transposed: false,
            picked: None,
            taken_by: None,
        })))
    }

    /// Whether an initializer or a node has given this name.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.terms.contains_key(name) || self.initializers.contains_key(name)
    }

    /// Whether a tensor of the file is no parameter by its name: a constant, or a parameter whose name an exporter lost.
    pub(crate) fn is_made_up(&self, name: &str) -> bool {
        match &self.signature {
            Some(signature) => !signature.has_parameter(name),
            None => names::is_made_up(name),
        }
    }

    /// Whether a tensor of the file is one that PyTorch keeps with the model and does not train.
    pub(crate) fn is_buffer(&self, name: &str) -> bool {
        let signature = self.signature.as_ref();
        signature.is_some_and(|signature| signature.has_buffer(name))
    }

    /// Whether a tensor that a node takes is a constant that changes nothing, all `neutral`, of a module without parameters:
    /// what `torch.export` writes for a normalisation without an affine part.
    pub(crate) fn is_neutral(
        &self,
        stored: &Stored,
        node: usize,
        neutral: f32,
    ) -> Result<bool, GraphError> {
        let Some(signature) = &self.signature else {
            return Ok(false);
        };
        // It may be merged with a parameter of another module, which bears its name.
        let module = Module::of(&self.graph.node[node]);
        let is_own = module.as_ref().is_none_or(|module| {
            signature.has_parameters_of(&module.path)
                || !self.is_made_up(&stored.tensor) && module.holds(&stored.tensor)
        });
        if is_own {
            return Ok(false);
        }
        let values = self.tensor(stored).floats()?;
        Ok(values.iter().all(|&value| value == neutral))
    }

    /// A tensor of the file as a constant.
    pub(crate) fn read(&self, stored: &Stored) -> Result<Constant, GraphError> {
        let mut constant = Constant::read(self.tensor(stored))?;
        if let Some(places) = stored.places() {
            constant = constant.pick(stored.dims.clone(), &places);
        }
        constant.dims.clone_from(&stored.dims);
        Ok(constant)
    }

    /// As [`Progress::read`], of a tensor that takes part in the computation and is not trained.
    pub(crate) fn freeze(&mut self, stored: &Stored) -> Result<Constant, GraphError> {
        let constant = self.read(stored)?;
        if constant.elements() > 1 && !self.plan.constants.contains(&stored.tensor) {
            self.plan.constants.push(stored.tensor.clone());
        }
        Ok(constant)
    }

    pub(crate) fn tensor(&self, stored: &Stored) -> &'m TensorProto {
        &self.graph.initializer[stored.initializer]
    }

    /// Whether the file has a tensor of this name.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.initializers.contains_key(name)
            || self
                .graph
                .node
                .iter()
                .any(|node| node.output.iter().any(|output| output == name))
    }

    /// The nodes that use a tensor.
    pub(crate) fn consumers_of(&self, name: &str) -> &[usize] {
        self.consumers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one node that uses a tensor, and uses it once.
    pub(crate) fn only_consumer(&self, name: &str) -> Option<&'m NodeProto> {
        match self.consumers.get(name).map(Vec::as_slice) {
            Some(&[only]) if !self.outputs.contains(name) => self.graph.node.get(only),
            _ => None,
        }
    }

    /// Adds a computation. Parameters that were claimed since the last one are its own.
    pub(crate) fn push(
        &mut self,
        operator: Box<dyn Operator>,
        inputs: Vec<Value>,
        node: &NodeProto,
        view: View,
        shape: Shape,
    ) -> Result<Value, GraphError> {
        let plan = &mut self.plan;
        let parameters = self.claimed..plan.weights.len();
        self.claimed = plan.weights.len();
        let claims = std::mem::take(&mut self.pending_claims);
        let trained_before: Vec<bool> = inputs
            .iter()
            .map(|input| self.trained[input.buffer])
            .collect();
        self.trained
            .push(!claims.is_empty() || trained_before.contains(&true));
        let buffer = plan.buffers.len();
        plan.buffers.push(shape.elements());
        plan.steps.push(Step {
            operator,
            inputs: inputs.into_iter().map(|input| input.buffer).collect(),
            trained_before,
            parameters,
            claims,
            origin: StepOrigin {
                node: node_name(node).to_owned(),
                operator: node.op_type.clone(),
                shape: shape.clone(),
            },
        });
        Ok(Value {
            buffer,
            shape,
            view,
            integer: false,
        })
    }
}
