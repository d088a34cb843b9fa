//! Plain loops in double precision over ONNX nodes, forward and backward.

use std::collections::HashMap;

use crate::onnx::{GraphProto, ModelProto, NodeProto};

/// A tensor of one example, or a weight.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) data: Vec<f64>,
}

impl Tensor {
    fn zeros(dims: &[usize]) -> Self {
        Self {
            dims: dims.to_vec(),
            data: vec![0.0; dims.iter().product()],
        }
    }

    fn image(&self) -> [usize; 3] {
        self.dims.clone().try_into().unwrap()
    }

    fn index(&self, c: usize, y: isize, x: isize) -> Option<usize> {
        let [_, height, width] = self.image();
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        (y < height && x < width).then_some((c * height + y) * width + x)
    }
}

fn ints_of<const N: usize>(node: &NodeProto, name: &str, default: i64) -> [isize; N] {
    let attribute = node
        .attribute
        .iter()
        .find(|attribute| attribute.name == name);
    let values = attribute.map_or(vec![default; N], |attribute| attribute.ints.clone());
    values
        .iter()
        .map(|&value| value as isize)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

fn int_of(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
        .map_or(default, |attribute| attribute.i)
}

/// Calls `visit(output index, input index or None for padding, weight index)` for every product of a convolution.
fn conv_products(
    node: &NodeProto,
    input: &Tensor,
    weight: &Tensor,
    mut visit: impl FnMut(usize, Option<usize>, usize),
) -> Vec<usize> {
    let [channels, height, width] = input.image();
    let [rows, group_channels, kh, kw]: [usize; 4] = weight.dims.clone().try_into().unwrap();
    let [top, left, bottom, right] = ints_of::<4>(node, "pads", 0);
    let [sy, sx] = ints_of::<2>(node, "strides", 1);
    let [dy, dx] = ints_of::<2>(node, "dilations", 1);
    let groups = int_of(node, "group", 1) as usize;
    assert_eq!(group_channels * groups, channels);
    let out_height =
        ((height as isize + top + bottom - dy * (kh as isize - 1) - 1) / sy + 1) as usize;
    let out_width =
        ((width as isize + left + right - dx * (kw as isize - 1) - 1) / sx + 1) as usize;
    for o in 0..rows {
        for y in 0..out_height {
            for x in 0..out_width {
                for c in 0..group_channels {
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let channel = o / (rows / groups) * group_channels + c;
                            let iy = y as isize * sy + ky as isize * dy - top;
                            let ix = x as isize * sx + kx as isize * dx - left;
                            let output = (o * out_height + y) * out_width + x;
                            visit(
                                output,
                                input.index(channel, iy, ix),
                                ((o * group_channels + c) * kh + ky) * kw + kx,
                            );
                        }
                    }
                }
            }
        }
    }
    vec![rows, out_height, out_width]
}

/// For every window of a pool: its output index and its elements inside the image.
fn pool_windows(node: &NodeProto, input: &Tensor) -> (Vec<usize>, Vec<Vec<usize>>) {
    let [channels, height, width] = input.image();
    let [kh, kw] = ints_of::<2>(node, "kernel_shape", 1);
    let [top, left, bottom, right] = ints_of::<4>(node, "pads", 0);
    let [sy, sx] = ints_of::<2>(node, "strides", 1);
    let extent = |size: usize, before: isize, after: isize, kernel: isize, stride: isize| {
        let room = size as isize + before + after - kernel;
        if int_of(node, "ceil_mode", 0) == 0 {
            return (room / stride + 1) as usize;
        }
        let up = (room + stride - 1) / stride + 1;
        // A window must begin in the image or in the padding before it.
        (up - isize::from((up - 1) * stride >= size as isize + before)) as usize
    };
    let out_height = extent(height, top, bottom, kh, sy);
    let out_width = extent(width, left, right, kw, sx);
    let mut windows = Vec::new();
    for c in 0..channels {
        for y in 0..out_height as isize {
            for x in 0..out_width as isize {
                let elements = (0..kh * kw)
                    .filter_map(|k| input.index(c, y * sy + k / kw - top, x * sx + k % kw - left));
                windows.push(elements.collect());
            }
        }
    }
    (vec![channels, out_height, out_width], windows)
}

/// For each element of `value`, the element of `weight` that broadcasting puts there.
fn broadcast_index(value: &[usize], weight: &[usize], mut element: usize) -> usize {
    let weight = if weight.len() > value.len() {
        &weight[1..]
    } else {
        weight
    };
    let (mut index, mut stride) = (0, 1);
    for back in 0..value.len() {
        let coordinate = element % value[value.len() - 1 - back];
        element /= value[value.len() - 1 - back];
        if back < weight.len() {
            let size = weight[weight.len() - 1 - back];
            index += if size == 1 { 0 } else { coordinate * stride };
            stride *= size;
        }
    }
    index
}

fn forward(node: &NodeProto, inputs: &[&Tensor]) -> Tensor {
    let input = inputs[0];
    match node.op_type.as_str() {
        "Conv" => {
            let dims = conv_products(node, input, inputs[1], |_, _, _| {});
            let mut output = Tensor::zeros(&dims);
            conv_products(node, input, inputs[1], |o, i, w| {
                output.data[o] += i.map_or(0.0, |i| input.data[i]) * inputs[1].data[w];
            });
            if let Some(bias) = inputs.get(2) {
                let area = dims[1] * dims[2];
                output
                    .data
                    .iter_mut()
                    .enumerate()
                    .for_each(|(o, value)| *value += bias.data[o / area]);
            }
            output
        }
        "Gemm" => {
            let matrix = Matrix::of(node, inputs[1]);
            let mut output = Tensor::zeros(&[matrix.outputs]);
            for o in 0..matrix.outputs {
                output.data[o] = inputs.get(2).map_or(0.0, |bias| bias.data[o]);
                output.data[o] += (0..matrix.inputs)
                    .map(|k| inputs[1].data[matrix.at(o, k)] * input.data[k])
                    .sum::<f64>();
            }
            output
        }
        // Rows of a weight, one after the other.
        "Gather" => {
            let columns = inputs[0].dims[1];
            let row = |&index: &f64| &inputs[0].data[index as usize * columns..][..columns];
            Tensor {
                dims: vec![inputs[1].data.len(), columns],
                data: inputs[1].data.iter().flat_map(row).copied().collect(),
            }
        }
        "Relu" => Tensor {
            data: input.data.iter().map(|x| x.max(0.0)).collect(),
            ..input.clone()
        },
        "Tanh" => Tensor {
            data: input.data.iter().map(|x| x.tanh()).collect(),
            ..input.clone()
        },
        "MaxPool" => {
            let (dims, windows) = pool_windows(node, input);
            let largest = |window: &Vec<usize>| {
                window
                    .iter()
                    .map(|&i| input.data[i])
                    .fold(f64::NEG_INFINITY, f64::max)
            };
            Tensor {
                dims,
                data: windows.iter().map(largest).collect(),
            }
        }
        "AveragePool" => {
            let (dims, windows) = pool_windows(node, input);
            let mean = |(index, window): (usize, &Vec<usize>)| {
                let sum: f64 = window.iter().map(|&i| input.data[i]).sum();
                sum / divisor(node, input, &dims, index, window)
            };
            Tensor {
                data: windows.iter().enumerate().map(mean).collect(),
                dims,
            }
        }
        "Flatten" | "Reshape" => Tensor {
            dims: vec![input.data.len()],
            data: input.data.clone(),
        },
        "Identity" => input.clone(),
        "Sub" => Tensor {
            data: (input.data.iter().zip(&inputs[1].data))
                .map(|(a, b)| a - b)
                .collect(),
            ..input.clone()
        },
        "Add" => {
            let (value, other) = if inputs[0].data.len() >= inputs[1].data.len() {
                (inputs[0], inputs[1])
            } else {
                (inputs[1], inputs[0])
            };
            let sum = |(i, x): (usize, &f64)| {
                x + other.data[broadcast_index(&value.dims, &other.dims, i)]
            };
            Tensor {
                data: value.data.iter().enumerate().map(sum).collect(),
                ..value.clone()
            }
        }
        other => panic!("no reference for {other}"),
    }
}

/// What the mean of window number `index` divides by. Padding counts where it is asked for; what lies behind it, which only
/// `ceil_mode` reaches, never does.
fn divisor(
    node: &NodeProto,
    input: &Tensor,
    dims: &[usize],
    index: usize,
    window: &[usize],
) -> f64 {
    if int_of(node, "count_include_pad", 0) == 0 {
        return window.len() as f64;
    }
    let kernel = ints_of::<2>(node, "kernel_shape", 1);
    let pads = ints_of::<4>(node, "pads", 0);
    let strides = ints_of::<2>(node, "strides", 1);
    let [_, sizes @ ..] = input.image();
    let place = [index / dims[2] % dims[1], index % dims[2]];
    let along = |axis: usize| {
        let start = place[axis] as isize * strides[axis];
        let end = sizes[axis] as isize + pads[axis] + pads[axis + 2];
        (start + kernel[axis]).min(end) - start
    };
    (along(0) * along(1)) as f64
}

/// A linear layer's matrix, which lies as outputs x inputs or the other way round.
struct Matrix {
    outputs: usize,
    inputs: usize,
    outputs_first: bool,
}

impl Matrix {
    fn of(node: &NodeProto, weight: &Tensor) -> Self {
        let [rows, columns]: [usize; 2] = weight.dims.clone().try_into().unwrap();
        let outputs_first = int_of(node, "transB", 0) == 1;
        let (outputs, inputs) = if outputs_first {
            (rows, columns)
        } else {
            (columns, rows)
        };
        Self {
            outputs,
            inputs,
            outputs_first,
        }
    }

    fn at(&self, output: usize, input: usize) -> usize {
        if self.outputs_first {
            output * self.inputs + input
        } else {
            input * self.outputs + output
        }
    }
}

/// The gradients of a node's inputs.
fn backward(
    node: &NodeProto,
    inputs: &[&Tensor],
    output: &Tensor,
    gradient: &Tensor,
) -> Vec<Tensor> {
    let mut result: Vec<Tensor> = inputs
        .iter()
        .map(|input| Tensor::zeros(&input.dims))
        .collect();
    match node.op_type.as_str() {
        "Conv" => {
            let (mut of_input, mut of_weight) = (result[0].clone(), result[1].clone());
            conv_products(node, inputs[0], inputs[1], |o, i, w| {
                if let Some(i) = i {
                    of_input.data[i] += gradient.data[o] * inputs[1].data[w];
                    of_weight.data[w] += gradient.data[o] * inputs[0].data[i];
                }
            });
            if let Some(of_bias) = result.get_mut(2) {
                let area = gradient.dims[1] * gradient.dims[2];
                gradient
                    .data
                    .iter()
                    .enumerate()
                    .for_each(|(o, value)| of_bias.data[o / area] += value);
            }
            (result[0], result[1]) = (of_input, of_weight);
        }
        "Gemm" => {
            let matrix = Matrix::of(node, inputs[1]);
            for (o, &value) in gradient.data.iter().enumerate() {
                for k in 0..matrix.inputs {
                    result[0].data[k] += value * inputs[1].data[matrix.at(o, k)];
                    result[1].data[matrix.at(o, k)] += value * inputs[0].data[k];
                }
                if let Some(of_bias) = result.get_mut(2) {
                    of_bias.data[o] += value;
                }
            }
        }
        "Relu" => {
            for (i, value) in result[0].data.iter_mut().enumerate() {
                *value = if inputs[0].data[i] > 0.0 {
                    gradient.data[i]
                } else {
                    0.0
                };
            }
        }
        "Tanh" => {
            for (i, value) in result[0].data.iter_mut().enumerate() {
                *value = gradient.data[i] * (1.0 - output.data[i] * output.data[i]);
            }
        }
        "MaxPool" => {
            for (o, window) in pool_windows(node, inputs[0]).1.iter().enumerate() {
                let first = window
                    .iter()
                    .find(|&&i| inputs[0].data[i] == output.data[o])
                    .unwrap();
                result[0].data[*first] += gradient.data[o];
            }
        }
        "AveragePool" => {
            let (dims, windows) = pool_windows(node, inputs[0]);
            for (o, window) in windows.iter().enumerate() {
                let divisor = divisor(node, inputs[0], &dims, o, window);
                window
                    .iter()
                    .for_each(|&i| result[0].data[i] += gradient.data[o] / divisor);
            }
        }
        "Gather" => {
            let columns = inputs[0].dims[1];
            for (own, &index) in gradient.data.chunks(columns).zip(&inputs[1].data) {
                let row = &mut result[0].data[index as usize * columns..][..columns];
                row.iter_mut()
                    .zip(own)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        "Flatten" | "Reshape" => result[0].data.clone_from(&gradient.data),
        "Sub" => {
            result[0].data.clone_from(&gradient.data);
            result[1].data = gradient.data.iter().map(|value| -value).collect();
        }
        // Of weights only, in these tests: what comes out is trained apart from what goes in.
        "Identity" => {}
        "Add" => {
            for (result, input) in result.iter_mut().zip(inputs) {
                for (i, value) in gradient.data.iter().enumerate() {
                    result.data[broadcast_index(&gradient.dims, &input.dims, i)] += value;
                }
            }
        }
        other => panic!("no reference for {other}"),
    }
    result
}

/// A network in double precision.
pub(super) struct Reference {
    graph: GraphProto,
    pub(super) weights: HashMap<String, Tensor>,
}

impl Reference {
    pub(super) fn new(model: &[u8]) -> Self {
        let graph = ModelProto::read(model).unwrap().graph.unwrap();
        let tensors = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.data_type == crate::onnx::FLOAT);
        let weights = tensors.map(|tensor| {
            let data = tensor
                .floats()
                .unwrap()
                .into_iter()
                .map(f64::from)
                .collect();
            (
                tensor.name.clone(),
                Tensor {
                    dims: tensor.shape().unwrap(),
                    data,
                },
            )
        });
        Self {
            weights: weights.collect(),
            graph,
        }
    }

    fn nodes(&self) -> impl DoubleEndedIterator<Item = &NodeProto> {
        self.graph
            .node
            .iter()
            .filter(|node| node.op_type != "Constant")
    }

    fn values(&self, input: &Tensor) -> HashMap<String, Tensor> {
        let mut values = self.weights.clone();
        values.insert(self.graph.input[0].name.clone(), input.clone());
        for node in self.nodes() {
            let inputs: Vec<&Tensor> = node
                .input
                .iter()
                .filter_map(|name| values.get(name))
                .collect();
            let output = forward(node, &inputs);
            values.insert(node.output[0].clone(), output);
        }
        values
    }

    pub(super) fn output(&self, input: &Tensor) -> Vec<f64> {
        self.values(input)[&self.graph.output[0].name].data.clone()
    }

    pub(super) fn loss(&self, input: &Tensor, label: usize) -> f64 {
        let output = self.output(input);
        let largest = output.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        output
            .iter()
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
            - (output[label] - largest)
    }

    /// The gradient of each weight.
    pub(super) fn gradient(&self, input: &Tensor, label: usize) -> HashMap<String, Tensor> {
        let values = self.values(input);
        let output = &values[&self.graph.output[0].name];
        let sum: f64 = output.data.iter().map(|value| value.exp()).sum();
        let mut gradient = Tensor {
            data: output.data.iter().map(|value| value.exp() / sum).collect(),
            ..output.clone()
        };
        gradient.data[label] -= 1.0;
        let mut gradients = HashMap::from([(self.graph.output[0].name.clone(), gradient)]);
        for node in self.nodes().rev() {
            let Some(gradient) = gradients.get(&node.output[0]).cloned() else {
                continue;
            };
            let names: Vec<&String> = node
                .input
                .iter()
                .filter(|name| values.contains_key(*name))
                .collect();
            let inputs: Vec<&Tensor> = names.iter().map(|&name| &values[name]).collect();
            let found = backward(node, &inputs, &values[&node.output[0]], &gradient);
            for (name, part) in names.into_iter().zip(found) {
                let sum = gradients
                    .entry(name.clone())
                    .or_insert_with(|| Tensor::zeros(&part.dims));
                sum.data
                    .iter_mut()
                    .zip(&part.data)
                    .for_each(|(sum, part)| *sum += part);
            }
        }
        gradients
    }
}
