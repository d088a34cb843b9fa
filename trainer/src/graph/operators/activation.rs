//! Relu and Tanh.

use pulp::{Simd, WithSimd};

use crate::graph::error::GraphError;
use crate::graph::lane_operator::{LaneBackward, LaneOperator};
use crate::graph::node::Node;
use crate::graph::operator::{
    Backward, Forward, Operator, backward_by_element, forward_by_element,
};
use crate::graph::plan::Imported;
use crate::lanes::Isa;

pub(crate) fn import_relu(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    import(node, Box::new(Relu))
}

pub(crate) fn import_tanh(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    import(node, Box::new(Tanh))
}

fn import(node: &mut Node<'_, '_>, operator: Box<dyn Operator>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[])?;
    let input = node.value(0)?;
    let shape = input.shape.clone();
    Ok(Imported::Step {
        operator,
        inputs: vec![input],
        shape,
    })
}

/// `max(x, 0)`; the derivative at 0 is 0, as in PyTorch.
#[derive(Debug)]
struct Relu;

impl Operator for Relu {
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

impl LaneOperator for Relu {
    fn forward(&self, isa: Isa, _: &[f32], inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]) {
        isa.run(ReluForward {
            input: inputs[0],
            output,
        });
    }

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        isa.run(ReluBackward {
            output: pass.output,
            output_gradient: pass.output_gradient,
            input_gradient,
        });
    }
}

struct ReluForward<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for ReluForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        for (output, &input) in S::as_mut_simd_f32s(self.output)
            .0
            .iter_mut()
            .zip(S::as_simd_f32s(self.input).0)
        {
            // Written so that what is not a number stays so, and the example is found out.
            *output = simd.select_f32s(simd.less_than_f32s(input, zero), zero, input);
        }
    }
}

struct ReluBackward<'a> {
    output: &'a [f32],
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
}

impl WithSimd for ReluBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        let outputs = S::as_simd_f32s(self.output)
            .0
            .iter()
            .zip(S::as_simd_f32s(self.output_gradient).0);
        for (target, (&output, &gradient)) in S::as_mut_simd_f32s(self.input_gradient)
            .0
            .iter_mut()
            .zip(outputs)
        {
            *target = simd.select_f32s(simd.less_than_or_equal_f32s(output, zero), zero, gradient);
        }
    }
}

/// The hyperbolic tangent, to 3 units in the last place.
#[derive(Debug)]
struct Tanh;

impl Operator for Tanh {
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

impl LaneOperator for Tanh {
    fn forward(&self, isa: Isa, _: &[f32], inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]) {
        isa.run(TanhForward {
            input: inputs[0],
            output,
        });
    }

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        isa.run(TanhBackward {
            output: pass.output,
            output_gradient: pass.output_gradient,
            input_gradient,
        });
    }
}

struct TanhForward<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for TanhForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (output, &input) in S::as_mut_simd_f32s(self.output)
            .0
            .iter_mut()
            .zip(S::as_simd_f32s(self.input).0)
        {
            *output = tanh(simd, input);
        }
    }
}

struct TanhBackward<'a> {
    output: &'a [f32],
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
}

impl WithSimd for TanhBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let one = simd.splat_f32s(1.0);
        let outputs = S::as_simd_f32s(self.output)
            .0
            .iter()
            .zip(S::as_simd_f32s(self.output_gradient).0);
        for (target, (&output, &gradient)) in S::as_mut_simd_f32s(self.input_gradient)
            .0
            .iter_mut()
            .zip(outputs)
        {
            *target = simd.mul_f32s(gradient, simd.sub_f32s(one, simd.mul_f32s(output, output)));
        }
    }
}

/// Beyond this, tanh is 1 in single precision: 1 - tanh(x) ≈ 2 exp(-2x) < 2⁻²⁵.
const SATURATION: f32 = 9.02;

/// `tanh(x) = m / (m + 2)` with `m = exp(2|x|) - 1`, which keeps its relative precision near 0.
///
/// For `m`: `2|x| = n ln 2 + r` with `|r| <= ln 2 / 2`, so `m = 2ⁿ (exp(r) - 1) + (2ⁿ - 1)`;
/// `exp(r) - 1` by its Taylor series, whose first omitted term is below 2⁻²⁶ of it.
#[inline(always)]
fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding 1.5 · 2²³ rounds to a whole number, which then stands in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few enough bits that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let splat = |value: f32| simd.splat_f32s(value);
    let one = splat(1.0);

    let size = simd.abs_f32s(x);
    let limit = splat(SATURATION);
    // Not `min`: what is not a number must stay so.
    let size = simd.select_f32s(simd.greater_than_f32s(size, limit), limit, size);
    let double = simd.add_f32s(size, size);
    let shifted = simd.mul_add_e_f32s(double, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(shifted, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-LN2_HIGH), double);
    let r = simd.mul_add_e_f32s(n, splat(-LN2_LOW), r);

    let mut series = splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = simd.mul_add_e_f32s(series, r, splat(coefficient));
    }
    let series = simd.mul_add_e_f32s(simd.mul_f32s(series, r), r, r);

    let bits = simd.transmute_u32s_f32s(shifted);
    let exponent = simd.sub_u32s(bits, simd.splat_u32s(ROUND.to_bits() - 127));
    let power = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23)));
    let m = simd.mul_add_e_f32s(power, series, simd.sub_f32s(power, one));
    let y = simd.div_f32s(m, simd.add_f32s(m, splat(2.0)));
    simd.or_f32s(simd.abs_f32s(y), simd.and_f32s(x, splat(-0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_three_units_in_the_last_place_on_every_instruction_set() {
        for isa in Isa::all() {
            let inputs: Vec<f32> = (-400_000i32..400_000)
                .map(|step| step as f32 * 3e-5)
                .chain([0.0, -0.0, 1e-30, 100.0, -1e30, f32::INFINITY])
                .collect();
            let inputs = &inputs[..inputs.len() / isa.width() * isa.width()];
            let mut outputs = vec![f32::NAN; inputs.len()];
            isa.run(TanhForward {
                input: inputs,
                output: &mut outputs,
            });
            for (&input, &output) in inputs.iter().zip(&outputs) {
                let exact = f64::from(input).tanh();
                let unit =
                    f64::from((exact as f32).abs().next_up()) - f64::from((exact as f32).abs());
                assert!(
                    (f64::from(output) - exact).abs() <= 3.0 * unit,
                    "tanh({input}) = {output}, exact {exact}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for isa in Isa::all() {
            let inputs = vec![f32::NAN; isa.width()];
            let mut outputs = vec![0.0; isa.width()];
            isa.run(TanhForward {
                input: &inputs,
                output: &mut outputs,
            });
            assert!(outputs.iter().all(|output| output.is_nan()));
            isa.run(ReluForward {
                input: &inputs,
                output: &mut outputs,
            });
            assert!(outputs.iter().all(|output| output.is_nan()));
        }
    }
}
