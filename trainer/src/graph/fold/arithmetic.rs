//! Element by element, with broadcasting.

use super::{Constant, Data, Extent, Folding, GraphError};
use crate::graph::index;

/// `Add`, `Sub`, `Mul`, `Div`, `Mod`, `Pow`, `Min` and `Max` of two constants of one type.
pub(super) fn fold_binary(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let (left, right) = pair(folding, 0, 1)?;
    let operator = folding.operator();
    let data = match (&left.data, &right.data) {
        (Data::Integers(a), Data::Integers(b)) => Data::Integers(
            a.iter()
                .zip(b)
                .map(|(&a, &b)| integers(operator, a, b))
                .collect::<Option<_>>()
                .ok_or_else(|| folding.unfit())?,
        ),
        // ONNX lets Pow's exponent have a type of its own.
        (Data::Floats(a), _) => {
            let b = right.floats().ok_or_else(|| folding.unfit())?;
            Data::Floats(
                a.iter()
                    .zip(&b)
                    .map(|(&a, &b)| floats(operator, a, b))
                    .collect::<Option<_>>()
                    .ok_or_else(|| folding.unfit())?,
            )
        }
        _ => return Err(folding.unfit()),
    };
    Ok(Constant {
        dims: left.dims,
        data,
    })
}

/// `Equal`, `Less`, `Greater` and their like.
pub(super) fn fold_comparison(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let (left, right) = pair(folding, 0, 1)?;
    let operator = folding.operator();
    let data = match (&left.data, &right.data) {
        (Data::Integers(a), Data::Integers(b)) => a
            .iter()
            .zip(b)
            .map(|(&a, &b)| match operator {
                "Equal" => a.equals(b),
                "Less" => a.less(b),
                "Greater" => b.less(a),
                "LessOrEqual" => b.less(a).map(|greater| !greater),
                _ => a.less(b).map(|less| !less),
            })
            .collect::<Option<Vec<bool>>>(),
        (Data::Booleans(a), Data::Booleans(b)) if operator == "Equal" => {
            Some(a.iter().zip(b).map(|(a, b)| a == b).collect())
        }
        (Data::Floats(a), Data::Floats(b)) => Some(
            a.iter()
                .zip(b)
                .map(|(a, b)| match operator {
                    "Equal" => a == b,
                    "Less" => a < b,
                    "Greater" => a > b,
                    "LessOrEqual" => a <= b,
                    _ => a >= b,
                })
                .collect(),
        ),
        _ => None,
    };
    Ok(Constant {
        dims: left.dims,
        data: Data::Booleans(data.ok_or_else(|| folding.unfit())?),
    })
}

/// `And` and `Or`.
pub(super) fn fold_logical(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let (left, right) = pair(folding, 0, 1)?;
    let (Data::Booleans(a), Data::Booleans(b)) = (&left.data, &right.data) else {
        return Err(folding.unfit());
    };
    let both = folding.operator() == "And";
    let data = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| if both { a && b } else { a || b })
        .collect();
    Ok(Constant {
        dims: left.dims,
        data: Data::Booleans(data),
    })
}

/// `Not`.
pub(super) fn fold_not(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let Data::Booleans(values) = &input.data else {
        return Err(folding.unfit());
    };
    Ok(Constant {
        dims: input.dims.clone(),
        data: Data::Booleans(values.iter().map(|value| !value).collect()),
    })
}

/// `Where`: from the first where the condition holds, else from the second.
pub(super) fn fold_where(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    fn choose<T: Copy>(condition: &[bool], yes: &[T], no: &[T]) -> Vec<T> {
        let pairs = yes.iter().zip(no);
        condition
            .iter()
            .zip(pairs)
            .map(|(&condition, (&yes, &no))| if condition { yes } else { no })
            .collect()
    }
    let (yes, no) = pair(folding, 1, 2)?;
    let condition = folding.input(0)?;
    let dims = index::broadcast_dims(&condition.dims, &yes.dims).ok_or_else(|| folding.unfit())?;
    let dims = folding.checked(dims)?;
    let extend = |constant: &Constant| {
        let sources = index::broadcast(&constant.dims, &dims).ok_or_else(|| folding.unfit())?;
        Ok::<_, GraphError>(constant.pick(dims.clone(), &sources))
    };
    let (condition, yes, no) = (extend(condition)?, extend(&yes)?, extend(&no)?);
    let Data::Booleans(condition) = &condition.data else {
        return Err(folding.unfit());
    };
    let data = match (&yes.data, &no.data) {
        (Data::Integers(yes), Data::Integers(no)) => Data::Integers(choose(condition, yes, no)),
        (Data::Floats(yes), Data::Floats(no)) => Data::Floats(choose(condition, yes, no)),
        (Data::Booleans(yes), Data::Booleans(no)) => Data::Booleans(choose(condition, yes, no)),
        _ => return Err(folding.unfit()),
    };
    Ok(Constant { dims, data })
}

/// Operators of one number.
pub(super) fn fold_unary(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let operator = folding.operator();
    let data = match &input.data {
        Data::Integers(values) => Data::Integers(
            values
                .iter()
                .map(|&value| match operator {
                    "Neg" => value.multiply(Extent::Known(-1)),
                    "Abs" => value.known()?.checked_abs().map(Extent::Known),
                    _ => None,
                })
                .collect::<Option<_>>()
                .ok_or_else(|| folding.unfit())?,
        ),
        Data::Floats(values) => Data::Floats(
            values
                .iter()
                .map(|&value| {
                    Some(match operator {
                        "Neg" => -value,
                        "Abs" => value.abs(),
                        "Sqrt" => value.sqrt(),
                        "Floor" => value.floor(),
                        "Ceil" => value.ceil(),
                        "Exp" => value.exp(),
                        "Log" => value.ln(),
                        "Sin" => value.sin(),
                        "Cos" => value.cos(),
                        "Reciprocal" => value.recip(),
                        _ => return None,
                    })
                })
                .collect::<Option<_>>()
                .ok_or_else(|| folding.unfit())?,
        ),
        Data::Booleans(_) => return Err(folding.unfit()),
    };
    Ok(Constant {
        dims: input.dims.clone(),
        data,
    })
}

/// Two inputs extended to their common dims.
fn pair(
    folding: &Folding<'_, '_, '_>,
    left: usize,
    right: usize,
) -> Result<(Constant, Constant), GraphError> {
    let (left, right) = (folding.input(left)?, folding.input(right)?);
    let dims = index::broadcast_dims(&left.dims, &right.dims).ok_or_else(|| folding.unfit())?;
    let dims = folding.checked(dims)?;
    let extend = |constant: &Constant| {
        let sources = index::broadcast(&constant.dims, &dims).ok_or_else(|| folding.unfit())?;
        Ok::<_, GraphError>(constant.pick(dims.clone(), &sources))
    };
    Ok((extend(left)?, extend(right)?))
}

fn integers(operator: &str, a: Extent, b: Extent) -> Option<Extent> {
    match operator {
        "Add" => a.add(b),
        "Sub" => a.subtract(b),
        "Mul" => a.multiply(b),
        "Div" => a.divide(b),
        "Mod" => a.modulo(b),
        "Pow" => {
            let exponent = u32::try_from(b.known()?).ok()?;
            a.known()?.checked_pow(exponent).map(Extent::Known)
        }
        "Min" => Some(if a.less(b)? { a } else { b }),
        "Max" => Some(if a.less(b)? { b } else { a }),
        _ => None,
    }
}

fn floats(operator: &str, a: f32, b: f32) -> Option<f32> {
    Some(match operator {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        // For floats ONNX demands fmod = 1: the dividend's sign, as Rust has it.
        "Mod" => a % b,
        "Pow" => a.powf(b),
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ => return None,
    })
}
