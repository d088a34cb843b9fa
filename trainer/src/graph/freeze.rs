//! Parameters that stay as they are in the file: a feature extractor that was trained elsewhere, or fixed filters.
//!
//! ONNX has no word for them, so the file's metadata names them, under [`KEY`]: names as [`crate::Graph::parameters`] has
//! them, separated by spaces, of which one that ends in `*` stands for all that begin so. In Python:
//! `meta = model.metadata_props.add(); meta.key = "tributary.frozen"; meta.value = "features.*"`.
//! A frozen parameter has no gradient: nothing is computed for it, and it takes no part in clipping.

use std::ops::Range;

use super::error::GraphError;
use super::plan::Plan;

/// The metadata's key.
pub(crate) const KEY: &str = "tributary.frozen";

/// Freezes the parameters that are named, and says where they lie among all.
///
/// # Errors
/// Where a name is no parameter's, a layer would be frozen in part, or nothing would be left that is trained.
pub(super) fn freeze(plan: &mut Plan, names: &str) -> Result<Vec<Range<usize>>, GraphError> {
    let refuse = |expected: &str, got: String| GraphError::Model {
        expected: expected.to_owned(),
        got,
    };
    let mut frozen: Vec<Range<usize>> = Vec::new();
    for name in names.split_whitespace() {
        let named = |parameter: &str| match name.strip_suffix('*') {
            Some(start) => parameter.starts_with(start),
            None => parameter == name,
        };
        let before = frozen.len();
        let found = plan.parameters.iter().filter(|info| named(&info.name));
        frozen.extend(found.map(|info| info.range.clone()));
        if frozen.len() == before {
            return Err(refuse(
                "names of its parameters in the metadata `tributary.frozen`",
                format!("`{name}` there, which is none of them"),
            ));
        }
    }
    frozen.sort_by_key(|range| range.start);
    frozen.dedup();
    let is_frozen = |range: &Range<usize>| {
        frozen
            .iter()
            .any(|frozen| frozen.start <= range.start && range.end <= frozen.end)
    };
    let mut trained = vec![false; plan.buffers.len()];
    for (index, step) in plan.steps.iter_mut().enumerate() {
        let own = plan.parameters.iter().filter(|info| {
            step.parameters.start <= info.range.start && info.range.end <= step.parameters.end
        });
        let (fixed, moving): (Vec<_>, Vec<_>) = own
            .filter(|info| !info.range.is_empty())
            .partition(|info| is_frozen(&info.range));
        if let ([fixed, ..], [moving, ..]) = (fixed.as_slice(), moving.as_slice()) {
            return Err(refuse(
                "layers that are frozen or trained as a whole",
                format!("`{}` frozen and `{}` trained", fixed.name, moving.name),
            ));
        }
        if !fixed.is_empty() {
            step.parameters = 0..0;
        }
        step.trained_before = step.inputs.iter().map(|&input| trained[input]).collect();
        trained[index + 1] = !step.parameters.is_empty() || step.trained_before.contains(&true);
    }
    if !trained[plan.output.buffer] {
        return Err(refuse(
            "an output computed with trained weights",
            "frozen weights alone".to_owned(),
        ));
    }
    Ok(frozen)
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, GraphError};
    use crate::models::builder::{Builder, int};

    /// Two linear layers, some of whose parameters are frozen.
    fn graph(frozen: &str) -> Result<Graph, GraphError> {
        let mut model = Builder::new("test", 1, &[3]).frozen(frozen);
        for layer in ["first", "second"] {
            model.layer(layer, &[3, 3]);
            let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
            model.then("Gemm", layer, &[&weight, &bias], vec![int("transB", 1)]);
            model.then("Tanh", &format!("{layer}.tanh"), &[], vec![]);
        }
        Graph::from_onnx(&model.finish(&[3]))
    }

    #[test]
    fn frozen_layers_have_no_gradient_and_what_is_before_them_neither() {
        let graph = graph("first.*").unwrap();
        assert_eq!(graph.frozen(), [0..9, 9..12]);
        let steps = &graph.plan().steps;
        let with_parameters: Vec<bool> = steps
            .iter()
            .map(|step| !step.parameters.is_empty())
            .collect();
        assert_eq!(with_parameters, [false, false, true, false]);
        assert_eq!(steps[2].trained_before, [false]);
        assert_eq!(steps[3].trained_before, [true]);
    }

    #[test]
    fn what_cannot_be_frozen_is_refused_by_name() {
        let check = |frozen: &str, words: &str| {
            let error = graph(frozen).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        check("third.weight", "third.weight");
        check(
            "first.weight",
            "`first.weight` frozen and `first.bias` trained",
        );
        check("first.* second.*", "frozen weights alone");
        assert!(graph("first.weight first.bias").is_ok());
    }
}
