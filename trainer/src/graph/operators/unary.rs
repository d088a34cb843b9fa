//! Functions of one number, applied to each element: LeakyRelu, Elu, Sigmoid, Softplus, Gelu, Erf and others.
//!
//! `Relu` and `Tanh` are in a file of their own, with forms for the lane engine.

use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term};

/// A function and its derivative, which may use the value.
#[derive(Clone, Copy, Debug)]
struct Function {
    value: fn(f32, [f32; 2]) -> f32,
    /// The derivative at the first argument, where the second is the value.
    derivative: fn(f32, f32, [f32; 2]) -> f32,
    /// Slopes and bounds.
    settings: [f32; 2],
}

/// The same without settings.
#[derive(Clone, Copy, Debug)]
struct Plain {
    value: fn(f32) -> f32,
    derivative: fn(f32, f32) -> f32,
}

pub(crate) fn import_leaky_relu(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    let slope = with_attribute(node, "alpha", 0.01)?;
    // PyTorch takes the slope for the derivative at 0.
    apply(
        node,
        Function {
            value: |x, [slope, _]| if x < 0.0 { slope * x } else { x },
            derivative: |x, _, [slope, _]| if x > 0.0 { 1.0 } else { slope },
            settings: [slope, 0.0],
        },
    )
}

pub(crate) fn import_elu(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    let alpha = with_attribute(node, "alpha", 1.0)?;
    apply(
        node,
        Function {
            value: |x, [alpha, _]| if x < 0.0 { alpha * x.exp_m1() } else { x },
            derivative: |x, y, [alpha, _]| if x > 0.0 { 1.0 } else { y + alpha },
            settings: [alpha, 0.0],
        },
    )
}

pub(crate) fn import_sigmoid(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, sigmoid, |_, y| y * (1.0 - y))
}

pub(crate) fn import_softplus(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    // ln(1 + exp x), without overflow: max(x, 0) + ln(1 + exp -|x|).
    plain(
        node,
        |x| if x > 0.0 { x } else { 0.0 * x } + (-x.abs()).exp().ln_1p(),
        |x, _| sigmoid(x),
    )
}

pub(crate) fn import_gelu(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["approximate"])?;
    let function = match node.text("approximate", "none")?.as_str() {
        // Hendrycks and Gimpel 2016: x Φ(x), whose derivative is Φ(x) + x φ(x).
        "none" => Function {
            value: |x, _| x * normal(x),
            derivative: |x, _, _| normal(x) + x * density(x),
            settings: [0.0; 2],
        },
        "tanh" => Function {
            value: |x, _| 0.5 * x * (1.0 + tanh_argument(x).tanh()),
            derivative: |x, _, _| {
                let tanh = tanh_argument(x).tanh();
                let slope = ROOT * (1.0 + 3.0 * CUBIC * x * x);
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * slope
            },
            settings: [0.0; 2],
        },
        other => return Err(node.setting(format!("approximate {other}"), "none or tanh")),
    };
    apply(node, function)
}

pub(crate) fn import_erf(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, libm::erff, |x, _| {
        std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp()
    })
}

pub(crate) fn import_sqrt(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, f32::sqrt, |_, y| 0.5 / y)
}

pub(crate) fn import_exp(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, f32::exp, |_, y| y)
}

pub(crate) fn import_log(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, f32::ln, |x, _| 1.0 / x)
}

pub(crate) fn import_neg(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, |x| -x, |_, _| -1.0)
}

pub(crate) fn import_reciprocal(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(node, f32::recip, |_, y| -y * y)
}

pub(crate) fn import_hard_sigmoid(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["alpha", "beta"])?;
    let settings = [node.float("alpha", 0.2)?, node.float("beta", 0.5)?];
    apply(
        node,
        Function {
            value: |x, [alpha, beta]| (alpha * x + beta).clamp(0.0, 1.0),
            derivative: |_, y, [alpha, _]| if y > 0.0 && y < 1.0 { alpha } else { 0.0 },
            settings,
        },
    )
}

pub(crate) fn import_hard_swish(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    plain(
        node,
        |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        |x, _| {
            if x <= -3.0 {
                0.0
            } else if x < 3.0 {
                x / 3.0 + 0.5
            } else {
                1.0
            }
        },
    )
}

/// `Clip` between two bounds, either of which may be left out; the derivative is 1 on a bound, as in PyTorch.
pub(crate) fn import_clip(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=3)?;
    node.expect_attributes(&[])?;
    let bound = |index: usize, default: f32| -> Result<f32, GraphError> {
        let Some(constant) = node.optional_constant(index)? else {
            return Ok(default);
        };
        match constant.floats().as_deref() {
            Some(&[bound]) if !bound.is_nan() => Ok(bound),
            _ => Err(node.setting(format!("a bound of {}", constant.describe()), "one number")),
        }
    };
    let settings = [bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?];
    if settings[0] > settings[1] {
        return Err(node.setting(
            format!(
                "a lower bound {} above the upper {}",
                settings[0], settings[1]
            ),
            "bounds in order",
        ));
    }
    apply(
        node,
        Function {
            value: |x, [low, high]| x.clamp(low, high),
            derivative: |x, _, [low, high]| if x >= low && x <= high { 1.0 } else { 0.0 },
            settings,
        },
    )
}

fn with_attribute(node: &Node<'_, '_>, name: &str, default: f32) -> Result<f32, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[name])?;
    node.float(name, default)
}

fn plain(
    node: &mut Node<'_, '_>,
    value: fn(f32) -> f32,
    derivative: fn(f32, f32) -> f32,
) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[])?;
    let input = node.any_value(0)?;
    let view = input.view.clone();
    let operator = Box::new(Plain { value, derivative });
    let value = node.push(operator, vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

fn apply(node: &mut Node<'_, '_>, function: Function) -> Result<Imported, GraphError> {
    let input = node.any_value(0)?;
    let view = input.view.clone();
    let value = node.push(Box::new(function), vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

impl Operator for Function {
    fn forward(&self, pass: &mut Forward<'_>) {
        for (output, &input) in pass.output.iter_mut().zip(pass.inputs[0]) {
            *output = (self.value)(input, self.settings);
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward(pass, |x, y| (self.derivative)(x, y, self.settings));
    }
}

impl Operator for Plain {
    fn forward(&self, pass: &mut Forward<'_>) {
        for (output, &input) in pass.output.iter_mut().zip(pass.inputs[0]) {
            *output = (self.value)(input);
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward(pass, self.derivative);
    }
}

fn backward(pass: &mut Backward<'_>, derivative: impl Fn(f32, f32) -> f32) {
    let Some(target) = &mut pass.input_gradients[0] else {
        return;
    };
    let values = pass.inputs[0].iter().zip(pass.output);
    for ((target, gradient), (&x, &y)) in target.iter_mut().zip(pass.output_gradient).zip(values) {
        *target = gradient * derivative(x, y);
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// √(2/π) and the cubic coefficient of Gelu's approximation (Hendrycks and Gimpel 2016).
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

fn tanh_argument(x: f32) -> f32 {
    ROOT * (x + CUBIC * x * x * x)
}

/// The normal distribution function.
fn normal(x: f32) -> f32 {
    0.5 * libm::erfcf(-x * std::f32::consts::FRAC_1_SQRT_2)
}

/// The normal density.
fn density(x: f32) -> f32 {
    0.398_942_3 * (-0.5 * x * x).exp()
}
