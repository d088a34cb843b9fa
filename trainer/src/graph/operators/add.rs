//! Add: of two tensors of each example (a residual connection), or of a trained tensor to each example (a bias).

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::graph::error::GraphError;
use crate::graph::lane_operator::{LaneBackward, LaneOperator};
use crate::graph::node::Node;
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch, backward_by_element,
    backward_by_lanes, forward_by_element, forward_by_lanes,
};
use crate::graph::plan::{Imported, Term, Value};
use crate::graph::shape::display_dims;
use crate::lanes::Isa;

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&[])?;
    match (node.term(0)?, node.term(1)?) {
        (Term::Tensor { .. }, _) => import_bias(node, 1, 0),
        (_, Term::Tensor { .. }) => import_bias(node, 0, 1),
        _ => {
            let (left, right) = (node.value(0)?, node.value(1)?);
            if left.shape != right.shape {
                return Err(node.shape(
                    format!("two tensors of {}", left.shape),
                    right.shape.to_string(),
                ));
            }
            let shape = left.shape.clone();
            Ok(Imported::Step {
                operator: Box::new(Add),
                inputs: vec![left, right],
                shape,
            })
        }
    }
}

fn import_bias(node: &mut Node<'_, '_>, value: usize, bias: usize) -> Result<Imported, GraphError> {
    let input = node.value(value)?;
    let dims = node.parameter_dims(bias)?;
    let sources = broadcast(&input, &dims).ok_or_else(|| {
        node.shape(
            format!(
                "a weight that extends to {} by dimensions of 1",
                input.shape
            ),
            display_dims(&dims),
        )
    })?;
    let range = node.claim(bias, &dims)?;
    let shape = input.shape.clone();
    Ok(Imported::Step {
        operator: Box::new(Bias { range, sources }),
        inputs: vec![input],
        shape,
    })
}

/// For each element of the value, the element of the weight that is added to it (numpy's rules, from the last dimension).
fn broadcast(value: &Value, dims: &[usize]) -> Option<Vec<usize>> {
    let shape = value.shape.dims();
    // A dimension beyond the example's own would be the batch.
    let dims = match dims {
        [1, rest @ ..] if rest.len() == shape.len() => rest,
        dims if dims.len() <= shape.len() => dims,
        _ => return None,
    };
    let mut sources = vec![0; value.shape.elements()];
    let (mut inner, mut stride) = (1, 1);
    for (axis, &size) in shape.iter().enumerate().rev() {
        let dim = match axis.checked_sub(shape.len() - dims.len()) {
            Some(own) => dims[own],
            None => 1,
        };
        if dim != 1 && dim != size {
            return None;
        }
        if dim != 1 {
            for (element, source) in sources.iter_mut().enumerate() {
                *source += element / inner % size * stride;
            }
        }
        inner *= size;
        stride *= dim;
    }
    Some(sources)
}

#[derive(Debug)]
struct Add;

impl Operator for Add {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        forward_by_element(self, pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward_by_element(self, pass);
    }
}

impl LaneOperator for Add {
    fn forward(&self, _: Isa, _: &[f32], inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]) {
        for (output, (left, right)) in output.iter_mut().zip(inputs[0].iter().zip(inputs[1])) {
            *output = left + right;
        }
    }

    fn backward_input(
        &self,
        _: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        input_gradient.copy_from_slice(pass.output_gradient);
    }
}

#[derive(Debug)]
struct Bias {
    range: Range<usize>,
    sources: Vec<usize>,
}

impl Operator for Bias {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        forward_by_lanes(self, pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward_by_lanes(self, pass);
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for Bias {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let size = self.sources.len();
        for example in
            pass.output_gradient[examples.start * size..examples.end * size].chunks_exact(size)
        {
            for (&source, value) in self.sources.iter().zip(example) {
                gradient[source] += value;
            }
        }
    }
}

impl LaneOperator for Bias {
    fn forward(
        &self,
        isa: Isa,
        weights: &[f32],
        inputs: &[&[f32]],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        isa.run(BiasForward {
            sources: &self.sources,
            bias: &weights[self.range.clone()],
            input: inputs[0],
            output,
        });
    }

    fn backward_parameters(&self, isa: Isa, pass: &mut LaneBackward<'_>, gradient: &mut [f32]) {
        let width = isa.width();
        isa.run(BiasGradient {
            sources: &self.sources,
            output_gradient: pass.output_gradient,
            bias: &mut gradient[self.range.start * width..self.range.end * width],
        });
    }

    fn backward_input(
        &self,
        _: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        input_gradient.copy_from_slice(pass.output_gradient);
    }
}

struct BiasForward<'a> {
    sources: &'a [usize],
    bias: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for BiasForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let inputs = S::as_simd_f32s(self.input).0.iter().zip(self.sources);
        for (output, (&input, &source)) in S::as_mut_simd_f32s(self.output).0.iter_mut().zip(inputs)
        {
            *output = simd.add_f32s(input, simd.splat_f32s(self.bias[source]));
        }
    }
}

struct BiasGradient<'a> {
    sources: &'a [usize],
    output_gradient: &'a [f32],
    bias: &'a mut [f32],
}

impl WithSimd for BiasGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let bias = S::as_mut_simd_f32s(self.bias).0;
        bias.fill(simd.splat_f32s(0.0));
        for (&source, &gradient) in self
            .sources
            .iter()
            .zip(S::as_simd_f32s(self.output_gradient).0)
        {
            bias[source] = simd.add_f32s(bias[source], gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::shape::Shape;

    fn check(shape: &[usize], dims: &[usize], expect: Option<&[usize]>) {
        let value = Value {
            buffer: 0,
            shape: Shape::new(shape.to_vec()).unwrap(),
        };
        assert_eq!(
            broadcast(&value, dims).as_deref(),
            expect,
            "{shape:?} plus {dims:?}"
        );
    }

    #[test]
    fn a_weight_extends_by_dimensions_of_one_and_never_along_the_batch() {
        check(&[3], &[3], Some(&[0, 1, 2]));
        check(&[3], &[1, 3], Some(&[0, 1, 2]));
        check(&[3], &[], Some(&[0, 0, 0]));
        check(&[2, 1, 2], &[2, 1, 1], Some(&[0, 0, 1, 1]));
        check(&[2, 1, 2], &[2], Some(&[0, 1, 0, 1]));
        check(&[2, 2], &[2, 2], Some(&[0, 1, 2, 3]));
        check(&[2, 2], &[1, 2, 1], Some(&[0, 0, 1, 1]));
        check(&[3], &[2, 3], None);
        check(&[3], &[2], None);
        check(&[2, 2], &[1, 1, 2, 2], None);
    }
}
