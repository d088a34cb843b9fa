//! What PyTorch calls the tensors whose names an exporter lost or merged.
//!
//! Both exporters say where a node comes from. `torch.export` notes the modules on each node
//! (`pkg.torch.onnx.name_scopes` and `…class_hierarchy`); the TorchScript exporter writes them into the node's name, as in
//! `/layers.0/self_attn/MatMul`. A weight that was folded into a constant, such as `val_21` or `onnx::Mul_285`, or that was
//! merged with another of equal values, is the weight of that module.

use std::collections::HashSet;

use crate::onnx::{GraphProto, NodeProto};

/// The module that a node belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name in the state dict, such as `layers.0.self_attn`; empty for the model itself.
    pub(crate) path: String,
    /// Its Python class, where the exporter noted it.
    pub(crate) class: Option<String>,
}

/// What a tensor is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What PyTorch's own modules call `weight`.
    Weight,
    /// What they call `bias`.
    Bias,
    /// A parameter of a module that is not PyTorch's.
    Other,
}

impl Module {
    /// The module of a node, where its exporter says.
    pub(crate) fn of(node: &NodeProto) -> Option<Self> {
        let note = |key: &str| {
            node.metadata_props
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| quoted(&entry.value))
        };
        if let Some(scopes) = note("pkg.torch.onnx.name_scopes") {
            // The last scope is the call itself.
            let (_, modules) = scopes.split_last()?;
            let classes = note("pkg.torch.onnx.class_hierarchy").unwrap_or_default();
            return Some(Self {
                path: modules.last()?.clone(),
                class: modules
                    .len()
                    .checked_sub(1)
                    .and_then(|last| classes.get(last).cloned()),
            });
        }
        let scopes = node.name.strip_prefix('/')?;
        let (modules, _) = scopes.rsplit_once('/').unwrap_or(("", scopes));
        let mut path: Vec<&str> = Vec::new();
        for module in modules.split('/').filter(|module| !module.is_empty()) {
            // A child of nn.Sequential bears its parent's name too: /d1/d1.1 is d1.1.
            if let Some(&parent) = path.last()
                && let Some(child) = module.strip_prefix(parent)
                && child.starts_with('.')
            {
                path.pop();
            }
            path.push(module);
        }
        Some(Self {
            path: path.join("."),
            class: None,
        })
    }

    /// Whether a parameter of this name can be the module's own, or of a module inside it.
    pub(crate) fn holds(&self, parameter: &str) -> bool {
        self.path.is_empty()
            || parameter
                .strip_prefix(&self.path)
                .is_some_and(|rest| rest.starts_with('.'))
    }

    /// What the module calls a tensor in this role that the file knows by `name`.
    pub(crate) fn parameter(&self, role: Role, name: &str) -> String {
        let own = if self.is_attention() {
            attention_parameter(name, role)
        } else {
            match role {
                Role::Weight => "weight",
                Role::Bias => "bias",
                Role::Other => name.rsplit('.').next().unwrap_or(name),
            }
        };
        if self.path.is_empty() {
            own.to_owned()
        } else {
            format!("{}.{own}", self.path)
        }
    }

    fn is_attention(&self) -> bool {
        self.class
            .as_deref()
            .is_some_and(|class| class.ends_with(".MultiheadAttention"))
    }
}

/// What `torch.export` notes of the tensors that a model has.
#[derive(Debug, Default)]
pub(crate) struct Signature {
    parameters: HashSet<String>,
    buffers: HashSet<String>,
}

impl Signature {
    /// The signature of a graph, where its exporter noted one: lines such as `p_fc_bias: PARAMETER target='fc.bias'`.
    pub(crate) fn of(graph: &GraphProto) -> Option<Self> {
        const KEY: &str = "pkg.torch.export.ExportedProgram.graph_signature";
        let note = graph.metadata_props.iter().find(|entry| entry.key == KEY)?;
        let mut signature = Self::default();
        for line in note.value.lines() {
            let Some((_, entry)) = line.split_once(": ") else {
                continue;
            };
            let names = match entry.split_once(' ') {
                Some(("PARAMETER", _)) => &mut signature.parameters,
                Some(("BUFFER", _)) => &mut signature.buffers,
                _ => continue,
            };
            names.extend(quoted(entry).into_iter().next());
        }
        Some(signature)
    }

    /// Whether it has this parameter.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.parameters.contains(name)
    }

    /// Whether the module at this path has parameters, not counting those of modules inside it.
    pub(crate) fn has_parameters_of(&self, module: &str) -> bool {
        let own = |name: &String| match name.rsplit_once('.') {
            Some((path, _)) => path == module,
            None => module.is_empty(),
        };
        self.parameters.iter().any(own)
    }

    /// Whether it has this buffer: a tensor that PyTorch keeps with the model and does not train.
    pub(crate) fn has_buffer(&self, name: &str) -> bool {
        self.buffers.contains(name)
    }
}

/// Whether an exporter made the name up, so that the tensor is no parameter by name.
pub(crate) fn is_made_up(name: &str) -> bool {
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.starts_with("onnx::")
        || name.starts_with('/')
        || name.starts_with("c_lifted_tensor")
        || name.starts_with("lifted_tensor")
        || numbered("val_")
        || numbered("")
        || is_view(name)
}

/// Whether it is what `torch.export` calls the result of an operator that only looks at a tensor otherwise: what such an
/// operator makes of a parameter is folded, and bears the operator's name, as in `slice_1`.
fn is_view(name: &str) -> bool {
    const VIEWS: [&str; 12] = [
        "alias",
        "clone",
        "detach",
        "expand",
        "permute",
        "reshape",
        "select",
        "slice",
        "squeeze",
        "transpose",
        "unsqueeze",
        "view",
    ];
    let (base, number) = name.rsplit_once('_').unwrap_or((name, "0"));
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && VIEWS.contains(&base)
}

/// `nn.MultiheadAttention` has two pairs of parameters; a name that was merged says which.
fn attention_parameter(name: &str, role: Role) -> &'static str {
    match (name.contains("out_proj"), role) {
        (true, Role::Bias) => "out_proj.bias",
        (true, _) => "out_proj.weight",
        (false, Role::Bias) => "in_proj_bias",
        (false, _) => "in_proj_weight",
    }
}

/// The strings in a Python list, as `repr` writes it.
fn quoted(list: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = &rest[start..=start];
        let behind = &rest[start + 1..];
        let Some(end) = behind.find(quote) else { break };
        found.push(behind[..end].to_owned());
        rest = &behind[end + 1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::StringEntryProto;

    fn legacy(name: &str) -> Option<Module> {
        Module::of(&NodeProto {
            name: name.to_owned(),
            ..NodeProto::default()
        })
    }

    fn noted(scopes: &str, classes: &str) -> Module {
        let entry = |key: &str, value: &str| StringEntryProto {
            key: format!("pkg.torch.onnx.{key}"),
            value: value.to_owned(),
        };
        Module::of(&NodeProto {
            metadata_props: vec![
                entry("name_scopes", scopes),
                entry("class_hierarchy", classes),
            ],
            ..NodeProto::default()
        })
        .unwrap()
    }

    #[test]
    fn modules_are_read_from_names_of_the_torchscript_exporter() {
        let path = |name: &str| legacy(name).map(|module| module.path);
        assert_eq!(path("/d1/d1.1/Mul").as_deref(), Some("d1.1"));
        assert_eq!(path("/l/l.0/g1/Mul").as_deref(), Some("l.0.g1"));
        assert_eq!(
            path("/t/layers.0/self_attn/MatMul").as_deref(),
            Some("t.layers.0.self_attn")
        );
        assert_eq!(path("/Add").as_deref(), Some(""));
        assert_eq!(path("Identity_3"), None);
    }

    #[test]
    fn modules_are_read_from_notes_of_torch_export() {
        let module = noted(
            "['', 't', 't.layers.0', 't.layers.0.self_attn', 'linear']",
            "['net.Enc', 'torch.nn.T', 'torch.nn.L', 'torch.nn.modules.activation.MultiheadAttention', 'aten.linear.default']",
        );
        assert_eq!(module.path, "t.layers.0.self_attn");
        assert_eq!(
            module.parameter(Role::Weight, "val_2"),
            "t.layers.0.self_attn.in_proj_weight"
        );
        assert_eq!(
            module.parameter(Role::Bias, "t.layers.1.self_attn.out_proj.bias"),
            "t.layers.0.self_attn.out_proj.bias"
        );
        assert!(module.holds("t.layers.0.self_attn.out_proj.weight"));
        assert!(!module.holds("t.layers.0.self_attn2.weight"));
        let norm = noted(
            "['', 'n', 'layer_norm']",
            "['net.Enc', 'torch.nn.LayerNorm', 'aten']",
        );
        assert_eq!(
            norm.parameter(Role::Weight, "t.layers.0.norm1.weight"),
            "n.weight"
        );
        let own = noted("['', 'add']", "['net.Enc', 'aten.add.Tensor']");
        assert_eq!(own.parameter(Role::Other, "pos"), "pos");
        assert!(own.holds("pos"));
    }

    #[test]
    fn the_signature_of_torch_export_tells_parameters_from_buffers() {
        assert!(Signature::of(&GraphProto::default()).is_none());
        let value = "\n# inputs\np_fc_weight: PARAMETER target='fc.weight'\n\
            b_mask: BUFFER target='mask' persistent=True\nx: USER_INPUT\n\n# outputs\nlinear: USER_OUTPUT\n";
        let signature = Signature::of(&GraphProto {
            metadata_props: vec![StringEntryProto {
                key: "pkg.torch.export.ExportedProgram.graph_signature".to_owned(),
                value: value.to_owned(),
            }],
            ..GraphProto::default()
        })
        .unwrap();
        assert!(signature.has_parameter("fc.weight") && signature.has_buffer("mask"));
        assert!(!signature.has_parameter("mask") && !signature.has_parameter("x"));
        assert!(signature.has_parameters_of("fc"));
        assert!(!signature.has_parameters_of("") && !signature.has_parameters_of("f"));
    }

    #[test]
    fn made_up_names_are_told_from_parameters() {
        for name in [
            "val_21",
            "onnx::Mul_285",
            "/Constant_output_0",
            "123",
            "c_lifted_tensor_0",
            "slice_1",
            "clone",
        ] {
            assert!(is_made_up(name), "{name}");
        }
        for name in [
            "fc.weight",
            "val_net.weight",
            "pos",
            "val_",
            "l.0.weight",
            "slices_1",
            "view_a",
            "weight_1",
        ] {
            assert!(!is_made_up(name), "{name}");
        }
    }
}
