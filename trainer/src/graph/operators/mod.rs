//! The operators that can be trained. A new one is a file here and a line in [`REGISTRY`].

mod activation;
mod add;
mod affine;
mod choice;
mod comparison;
mod concat;
mod conv;
mod conv_transpose;
mod elementwise;
mod embedding;
mod gemm;
mod layout;
pub(crate) mod linear;
pub(crate) mod normalisation;
mod pick;
mod pool;
mod rearrange;
mod reduce;
mod resize;
mod side;
mod softmax;
mod source;
mod unary;
mod windows;

use super::import::Import;

/// ONNX operator names and what translates them. Operators that only ever work out constants are in `fold`.
pub(crate) const REGISTRY: &[(&str, Import)] = &[
    ("Add", elementwise::import_add),
    ("AveragePool", pool::import_average),
    ("BatchNormalization", normalisation::import_batch),
    ("Cast", layout::import_cast),
    ("Clip", unary::import_clip),
    ("Concat", concat::import),
    ("Constant", pick::import_constant),
    ("Conv", conv::import),
    ("ConvTranspose", conv_transpose::import),
    ("Div", elementwise::import_div),
    ("Dropout", layout::import_dropout),
    ("Elu", unary::import_elu),
    ("Equal", comparison::import),
    ("Erf", unary::import_erf),
    ("Exp", unary::import_exp),
    ("Expand", pick::import_expand),
    ("Flatten", layout::import_flatten),
    ("Gather", pick::import_gather),
    ("Gelu", unary::import_gelu),
    ("Gemm", linear::import_gemm),
    ("GlobalAveragePool", reduce::import_global_average),
    ("Greater", comparison::import),
    ("GreaterOrEqual", comparison::import),
    ("GroupNormalization", normalisation::import_group),
    ("HardSigmoid", unary::import_hard_sigmoid),
    ("HardSwish", unary::import_hard_swish),
    ("Identity", layout::import_identity),
    ("InstanceNormalization", normalisation::import_instance),
    ("LayerNormalization", normalisation::import_layer),
    ("LeakyRelu", unary::import_leaky_relu),
    ("Less", comparison::import),
    ("LessOrEqual", comparison::import),
    ("Log", unary::import_log),
    ("LogSoftmax", softmax::import_log_softmax),
    ("MatMul", linear::import_matmul),
    ("MaxPool", pool::import_max),
    ("Mul", elementwise::import_mul),
    ("Neg", unary::import_neg),
    ("Pad", pick::import_pad),
    ("Pow", elementwise::import_pow),
    ("Reciprocal", unary::import_reciprocal),
    ("ReduceMean", reduce::import_mean),
    ("ReduceSum", reduce::import_sum),
    ("Relu", activation::import_relu),
    ("Reshape", layout::import_reshape),
    ("Resize", resize::import),
    ("Shape", pick::import_shape),
    ("Sigmoid", unary::import_sigmoid),
    ("Size", pick::import_size),
    ("Slice", pick::import_slice),
    ("Softmax", softmax::import_softmax),
    ("Softplus", unary::import_softplus),
    ("Split", pick::import_split),
    ("Sqrt", unary::import_sqrt),
    ("Squeeze", layout::import_squeeze),
    ("Sub", elementwise::import_sub),
    ("Tanh", activation::import_tanh),
    ("Transpose", layout::import_transpose),
    ("Unsqueeze", layout::import_unsqueeze),
    ("Where", choice::import),
];
