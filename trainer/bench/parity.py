"""Compare this trainer with PyTorch and onnxruntime on nets exported by both of PyTorch's exporters.

usage: parity.py FORWARD [NET…]             the nets below, and all files of shared/models where none is named
       parity.py --trained FORWARD [NET…]   the built-in networks, and the nets below, after a step of private training
FORWARD is target/release/examples/forward; needs torch, onnx, onnxscript, onnxruntime, numpy, safetensors

For each net and exporter the first prints
  forward    largest difference of our outputs from onnxruntime's on the same file
  export     the same on the file that we wrote with changed weights, after onnx.checker
  names      how many of the state dict's names our safetensors has, and what is missing; loaded into PyTorch
  torch      largest difference of PyTorch's outputs from ours with those weights
  gradient   largest difference from autograd's gradient, relative to the largest gradient of that tensor (batch of one)
and ends with 1 where a forward or export difference exceeds 1e-4, PyTorch's outputs differ by more than 1e-3, a file fails
the checker, a gradient differs by more than 1e-3, or a name is not the state dict's. A name may be missing where the
exporter left the tensor out of the file: torch.export drops biases that are all zero and folds slices of parameters.

The second prints forward and export, as above, of the file with trained weights, and how PyTorch loads the safetensors:
`strict` by load_state_dict(strict=True), or which names the file never had.
"""
import contextlib, copy, logging, os, subprocess, sys, tempfile, warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
import numpy as np, onnx, onnxruntime, torch
import torch.nn as nn, torch.nn.functional as F
from collections import OrderedDict
from safetensors.numpy import load_file, save_file

sys.path.insert(0, os.path.join(os.environ.get("TRIBUTARY_SHARED", "../shared"), "bench"))
import nets as reference


class Conv1d(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv1d(3, 8, 5, padding=2), nn.Conv1d(8, 16, 3, stride=2, padding=1, groups=2, dilation=2)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = F.max_pool1d(self.c1(x), 2)
        return self.fc(F.adaptive_avg_pool1d(F.elu(self.c2(F.leaky_relu(x))), 1).flatten(1))


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.position, self.fc = nn.Embedding(50, 16), nn.Parameter(torch.randn(9, 16)), nn.Linear(16, 3)

    def forward(self, x):
        return self.fc((self.e(x) + self.position[:7]).mean(1))


def encoder_layers(width, norm_first, n=2):
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, activation="gelu", norm_first=norm_first)
    return nn.TransformerEncoder(layer, n, enable_nested_tensor=False)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.pos = nn.Embedding(50, 32), nn.Parameter(torch.randn(1, 12, 32) * 0.1)
        self.t, self.fc = encoder_layers(32, False), nn.Linear(32, 5)

    def forward(self, x):
        return self.fc(self.t(self.e(x) + self.pos)[:, 0])


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, 32, 8, 8), nn.Parameter(torch.randn(1, 1, 32))
        self.pos = nn.Parameter(torch.randn(1, 17, 32) * 0.1)
        self.t, self.n, self.fc = encoder_layers(32, True), nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        return self.fc(self.n(self.t(x))[:, 0])


class Causal(nn.Module):
    """A decoder block written by hand: split, causal mask, tanh Gelu."""

    def __init__(self):
        super().__init__()
        self.e, self.qkv, self.out = nn.Embedding(30, 24), nn.Linear(24, 72), nn.Linear(24, 24, bias=False)
        self.n1, self.n2 = nn.LayerNorm(24), nn.LayerNorm(24, bias=False)
        self.up, self.down, self.fc = nn.Linear(24, 48), nn.Linear(48, 24), nn.Linear(24, 6)
        self.register_buffer("mask", torch.tril(torch.ones(9, 9)).bool(), persistent=False)

    def forward(self, x):
        x = self.e(x)
        q, k, v = (t.view(-1, 9, 3, 8).transpose(1, 2) for t in self.qkv(self.n1(x)).split(24, 2))
        a = (q @ k.transpose(-2, -1)) / 8**0.5
        a = torch.where(self.mask, a, torch.tensor(-1e9)).softmax(-1)
        x = x + self.out((a @ v).transpose(1, 2).reshape(-1, 9, 24))
        x = x + self.down(F.gelu(self.up(self.n2(x)), approximate="tanh"))
        return F.log_softmax(self.fc(x.mean(1)), -1)


class Fire(nn.Module):
    def __init__(self, i, q, e):
        super().__init__()
        self.s, self.a, self.b = nn.Conv2d(i, q, 1), nn.Conv2d(q, e, 1), nn.Conv2d(q, e, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.s(x))
        return torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)


class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 8, 16),
                               Fire(32, 8, 16), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(32, 8, 24))
        self.c = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(48, 7, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return torch.flatten(self.c(self.f(x)), 1)


class Assorted(nn.Module):
    """Upsampling, padding, averages, odd paddings, and activations that nothing else has."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(2, 8, (3, 5), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
        self.g, self.i = nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True)
        self.t = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=1)
        self.scale, self.fc = nn.Parameter(torch.rand(6, 1, 1) + 0.5), nn.Linear(6, 4)

    def forward(self, x):
        x = F.pad(x, (1, 2, 0, 1), mode="reflect")
        x = F.softplus(self.g(self.c1(x)))
        x = F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True, count_include_pad=False)
        x = torch.sigmoid(self.i(x)) * x - x / 3
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.hardswish(self.t(x)) * self.scale
        a, b = x.chunk(2, 1)
        x = torch.cat([a.tanh(), (b**2 + 1).sqrt()], 1)
        return self.fc(x.mean((2, 3)))


class Pools(nn.Module):
    def forward(self, x):
        x = F.max_pool2d(x, (3, 2), (2, 1), padding=(1, 0), dilation=(1, 2), ceil_mode=True)
        x = F.avg_pool2d(x, (3, 2), (2, 3), padding=(1, 1), ceil_mode=True)
        x = F.avg_pool2d(x, 2, 1, padding=1, count_include_pad=False)
        x = F.max_pool1d(x.flatten(2), 3, 2, padding=1, ceil_mode=True)
        return F.adaptive_avg_pool1d(F.avg_pool1d(x, 4, 3, padding=2, ceil_mode=True), 1).flatten(1)


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.ConvTranspose1d(4, 6, 4, stride=3, padding=1, output_padding=2, groups=2, dilation=2)
        self.b = nn.ConvTranspose2d(1, 3, (2, 3), stride=(2, 1), padding=(0, 1), bias=False)
        self.c, self.d = nn.Conv2d(3, 4, (4, 2), padding="same"), nn.Conv2d(4, 4, 3, padding=(2, 3), dilation=(2, 3), groups=2)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.b(self.a(x).unsqueeze(1))
        return self.fc(self.d(F.silu(self.c(x))).mean((2, 3)))


class Norms(nn.Module):
    """Each kind with and without its affine part, fresh and changed."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(2, 6, 1)
        self.g, self.h = nn.GroupNorm(3, 6), nn.GroupNorm(2, 6, affine=False)
        self.i, self.j = nn.InstanceNorm2d(6, affine=True), nn.InstanceNorm2d(6)
        self.l, self.m = nn.LayerNorm((5, 4)), nn.LayerNorm(4, elementwise_affine=False)
        self.n, self.fc = nn.LayerNorm(4, bias=False), nn.Linear(120, 3)
        for own in (self.g.weight, self.i.bias, self.l.weight, self.n.weight):
            nn.init.uniform_(own, 0.5, 1.5)

    def forward(self, x):
        x = self.j(self.i(self.h(self.g(self.c(x))).tanh()))
        return self.fc(self.n(self.m(self.l(x).tanh()) + x).flatten(1))


class BatchNormed(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.b, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        nn.init.uniform_(self.b.running_mean, -0.5, 0.5), nn.init.uniform_(self.b.running_var, 0.5, 1.5)

    def forward(self, x):
        return self.fc(F.relu(self.b(self.c(x).sigmoid())).mean((2, 3)))


class Activations(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Linear(12, 24), nn.Linear(24, 4)

    def forward(self, x):
        x = self.a(x)
        x = F.elu(x, 0.7) + F.leaky_relu(x, 0.2) + F.softplus(x, beta=2.0) + F.gelu(x) + F.gelu(x, approximate="tanh")
        x = F.silu(x) + F.hardsigmoid(x) + F.hardtanh(x, -0.8, 0.9) + torch.erf(x) + torch.exp(-(x**2)) + F.relu6(x)
        return F.log_softmax(self.fc(F.softmax(x, 1) + x.tanh()), 1)


class Upsampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.fc = nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), nn.Linear(3, 3)

    def forward(self, x):
        x = F.interpolate(self.c(x), size=(9, 7), mode="bilinear", align_corners=True)
        x = F.interpolate(x, scale_factor=(2, 3), mode="nearest")
        x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        return self.fc((F.interpolate(x, size=(5, 11), mode="nearest") ** 2).mean((2, 3)))


class Shapes(nn.Module):
    """Layout by every means, a buffer, comparisons, and whole numbers worked out of sizes."""

    def __init__(self):
        super().__init__()
        self.a, self.token, self.fc = nn.Linear(8, 8), nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 4)
        self.register_buffer("waves", torch.sin(torch.arange(56.0)).view(1, 7, 8))

    def forward(self, x):
        n, t, w = x.shape
        x = torch.cat([self.token.expand(n, -1, -1), self.a(x)], 1) + self.waves
        a, b, c = x.split([2, 3, 3], 2)
        x = torch.cat([b, c, a], 2).transpose(1, 2)
        x = F.pad(x, (1, 0, 0, 1), value=0.5)[:, :-1, 1::2].unsqueeze(1).permute(0, 1, 3, 2).squeeze(1)
        x = torch.stack([x, x * 2], 1).reshape(n, -1, w)
        even = (torch.arange(x.shape[1], device=x.device) % 2 == 0).view(1, -1, 1)
        x = torch.where(even, x, 0.25 - x)
        x = torch.where(x > 0, x, 0.1 * x) / x.pow(2).sum(-1, keepdim=True).add(1).sqrt()
        return self.fc(x.mean(1))


class Merged(nn.Module):
    """Layers of equal weights that are trained apart: exporters store what is equal once."""

    def __init__(self):
        super().__init__()
        first = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh())
        self.a, self.b, self.fc = first, copy.deepcopy(first), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.b(self.a(x)))


class Twice(nn.Module):
    """A layer that is applied twice."""

    def __init__(self):
        super().__init__()
        self.c, self.a, self.fc = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(10, 10), nn.Linear(10, 3)

    def forward(self, x):
        x = torch.tanh(self.c(torch.tanh(self.c(x)))).flatten(1)
        return self.fc(torch.tanh(self.a(torch.tanh(self.a(x)))))


class Tied(nn.Module):
    """An embedding that is the output layer's matrix too, by word or by position."""

    def __init__(self, by_word):
        super().__init__()
        self.e, self.up, self.out = nn.Embedding(30, 16), nn.Linear(16, 16), nn.Linear(16, 30, bias=False)
        self.out.weight, self.by_word = self.e.weight, by_word

    def forward(self, x):
        x = torch.tanh(self.up(self.e(x)))
        return self.out(x).mean(1) if self.by_word else self.out(x.mean(1))


NETS = {name: (make, lambda n, shape=shape: torch.randn(n, *shape)) for name, (make, shape, _) in reference.CFG.items()}
NETS |= {
    "conv1d": (Conv1d, lambda n: torch.randn(n, 3, 32)),
    "embedding": (Embedded, lambda n: torch.randint(0, 50, (n, 7))),
    "encoder": (Encoder, lambda n: torch.randint(0, 50, (n, 12))),
    "vit": (ViT, lambda n: torch.randn(n, 3, 32, 32)),
    "causal": (Causal, lambda n: torch.randint(0, 30, (n, 9))),
    "squeezenet": (Squeeze, lambda n: torch.randn(n, 3, 45, 45)),
    "assorted": (Assorted, lambda n: torch.randn(n, 2, 13, 17)),
    "pools": (lambda: nn.Sequential(nn.Conv2d(2, 4, 1), Pools(), nn.Linear(4, 3)), lambda n: torch.randn(n, 2, 14, 13)),
    "transposed": (Transposed, lambda n: torch.randn(n, 4, 7)),
    "norms": (Norms, lambda n: torch.randn(n, 2, 5, 4)),
    "batchnorm": (BatchNormed, lambda n: torch.randn(n, 2, 6, 5)),
    "activations": (Activations, lambda n: torch.randn(n, 12)),
    "upsampled": (Upsampled, lambda n: torch.randn(n, 2, 4, 6)),
    "shapes": (Shapes, lambda n: torch.randn(n, 6, 8)),
    "merged": (Merged, lambda n: torch.randn(n, 6)),
    "twice": (Twice, lambda n: torch.randn(n, 2, 5, 1)),
    "tied": (lambda: Tied(False), lambda n: torch.randint(0, 30, (n, 5))),
    "tied_words": (lambda: Tied(True), lambda n: torch.randint(0, 30, (n, 5))),
}


@contextlib.contextmanager
def silence():
    """The TorchScript exporter prints the whole graph where it fails, past Python's own stdout."""
    sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept), os.close(null)


def exports(model, x, folder):
    """Files by exporter: TorchScript in training mode and as most call it, and torch.export."""
    axes = dict(input_names=["input"], output_names=["output"], dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
    preserve = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    ways = {
        "script13": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, opset_version=13, **preserve, **axes),
        "script17": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, opset_version=17, **preserve, **axes),
        "script20": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, opset_version=20, **axes),
        "folded": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, **axes),
        "dynamo": lambda f: torch.onnx.export(model, (x,), f, dynamo=True, external_data=False, verbose=False,
                                              dynamic_shapes=({0: torch.export.Dim("batch")},)),
        "dynamo21": lambda f: torch.onnx.export(model, (x,), f, dynamo=True, external_data=False, verbose=False,
                                                opset_version=21, dynamic_shapes=({0: torch.export.Dim("batch")},)),
        "beside": lambda f: torch.onnx.export(model, (x,), f, dynamo=True, external_data=True, verbose=False,
                                              dynamic_shapes=({0: torch.export.Dim("batch")},)),
    }
    for way, write in ways.items():
        file = f"{folder}/{way}.onnx"
        try:
            with silence():
                write(file)
            yield way, file
        except Exception as error:
            print(f"    {way}: PyTorch does not export it: {str(error).splitlines()[0][:100]}", flush=True)


def quiet():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def check(file, original):
    """The checker must pass our file, unless it fails the exporter's own."""
    try:
        onnx.checker.check_model(original, full_check=True)
    except Exception as error:
        print(f"    the exporter's file fails the checker: {str(error).splitlines()[0][:160]}", flush=True)
        return
    onnx.checker.check_model(file, full_check=True)


def session(file, x):
    s = onnxruntime.InferenceSession(file, quiet(), providers=["CPUExecutionProvider"])
    return s.run(None, {s.get_inputs()[0].name: x.numpy()})[0]


def lost_here(way, file, missing):
    """The missing names that no exporter explains: torch.export leaves out biases that are all zero, and parameters of which a part is used."""
    stored = {t.name for t in onnx.load(file, load_external_data=False).graph.initializer}
    return [key for key in missing if key in stored or not way.startswith(("dynamo", "beside", "folded", "script20"))]


def compare(forward, name, way, file, model, x, folder):
    run = lambda *arguments: subprocess.run([forward, *arguments], check=True, capture_output=True, text=True)
    x.numpy().astype(np.float32).tofile(f"{folder}/x")
    run("outputs", file, f"{folder}/x", f"{folder}/y")
    expected = session(file, x)
    difference = lambda got, want: float(np.abs(np.asarray(got).reshape(want.shape) - want).max())
    found = {"forward": difference(np.fromfile(f"{folder}/y", np.float32), expected)}

    run("weights", file, f"{folder}/w.safetensors")
    weights = load_file(f"{folder}/w.safetensors")
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    wrong = sorted(set(weights) - set(state)) + [k for k in weights if k in state and weights[k].shape != state[k].shape]
    # Running statistics are no parameters. A tensor that two names share bears one of them.
    parameters = dict(model.named_parameters(remove_duplicate=False))
    twins = {key: {k for k, v in parameters.items() if v is parameters[key]} for key in parameters}
    missing = sorted(key for key in parameters if not twins[key] & set(weights))
    lost = lost_here(way, file, missing)
    found["names"] = f"{len(parameters) - len(missing)}/{len(parameters)}"

    rng = np.random.default_rng(1)
    changed = {key: (value + 0.05 * rng.standard_normal(value.shape)).astype(np.float32) for key, value in weights.items()}
    save_file(changed, f"{folder}/c.safetensors")
    run("export", file, f"{folder}/c.safetensors", f"{folder}/c.onnx")
    check(f"{folder}/c.onnx", file)
    run("outputs", file, f"{folder}/x", f"{folder}/y", f"{folder}/c.safetensors")
    ours = np.fromfile(f"{folder}/y", np.float32)
    found["export"] = difference(ours, session(f"{folder}/c.onnx", x))
    run("outputs", f"{folder}/c.onnx", f"{folder}/x", f"{folder}/y2")
    assert difference(np.fromfile(f"{folder}/y2", np.float32), ours) == 0, "the exported file reads otherwise"

    gradient = None
    if not wrong:
        twin = copy.deepcopy(model)
        twin.load_state_dict({key: torch.from_numpy(value) for key, value in changed.items()}, strict=False)
        with torch.no_grad():
            found["torch"] = difference(ours, twin(x).numpy())
        if expected.ndim == 2:
            one = twin(x[:1])
            F.cross_entropy(one, torch.tensor([1])).backward()
            rate = 1024.0
            run("step", f"{folder}/c.onnx", f"{folder}/x", "1", str(rate), f"{folder}/s.safetensors")
            after, gradient = load_file(f"{folder}/s.safetensors"), 0.0
            for key, parameter in twin.named_parameters():
                if key in after:
                    own, want = (changed[key] - after[key]) / rate, parameter.grad.numpy()
                    gradient = max(gradient, float(np.abs(own - want).max() / max(np.abs(want).max(), 1e-3)))
            found["gradient"] = gradient
    show = lambda value: value if isinstance(value, str) else f"{value:.1e}"
    print(f"{name:13} {way:9}", *(f"{key} {show(value):8}" for key, value in found.items()),
          f"not the state dict's: {wrong}" if wrong else "", f"missing: {missing}" if missing else "",
          f"lost: {lost}" if lost else "", flush=True)
    # Random weights of a deep net may make outputs large: single precision is relative.
    bound = lambda key, scale: found.get(key, 0.0) <= 1e-4 * max(1.0, scale)
    largest = float(np.abs(expected).max())
    return (bound("forward", largest) and bound("export", float(np.abs(ours).max())) and found.get("torch", 0.0) <= 1e-3
            and not wrong and not lost and (gradient or 0) <= 1e-3)


def private_step(forward, name, way, file, module, x, folder):
    """Train by a private step; compare the exported file in onnxruntime with us, and load the weights into PyTorch."""
    run = lambda *arguments: subprocess.run([forward, *arguments], check=True, capture_output=True, text=True)
    largest = lambda got, want: float(np.abs(np.asarray(got).reshape(want.shape) - want).max())
    x.numpy().astype(np.float32).tofile(f"{folder}/x")
    before = session(file, x)
    run("outputs", file, f"{folder}/x", f"{folder}/y")
    found = {"forward": largest(np.fromfile(f"{folder}/y", np.float32), before)}
    np.random.default_rng(2).standard_normal(before.shape).astype(np.float32).tofile(f"{folder}/t")
    run("private", file, f"{folder}/x", f"{folder}/t", f"{folder}/w.safetensors")
    run("export", file, f"{folder}/w.safetensors", f"{folder}/trained.onnx")
    check(f"{folder}/trained.onnx", file)
    idle = lambda graph: {t.name for t in graph.initializer} - {i for node in graph.node for i in node.input}
    unused = sorted(idle(onnx.load(f"{folder}/trained.onnx").graph) - idle(onnx.load(file).graph))
    run("outputs", file, f"{folder}/x", f"{folder}/y", f"{folder}/w.safetensors")
    ours, theirs = np.fromfile(f"{folder}/y", np.float32), session(f"{folder}/trained.onnx", x)
    found["export"] = largest(ours, theirs)
    moved = float(np.abs(theirs - before).max())
    weights, good, loaded = load_file(f"{folder}/w.safetensors"), moved > 0 and not unused, ""
    if module is not None:
        state = {key: torch.from_numpy(value) for key, value in weights.items()}
        tied = {id(v): state[k] for k, v in module.named_parameters(remove_duplicate=False) if k in state}
        state |= {k: tied[id(v)] for k, v in module.named_parameters(remove_duplicate=False) if id(v) in tied}
        wanted = dict(module.named_parameters(remove_duplicate=False))
        missing = sorted(set(wanted) - set(state))
        good &= not lost_here(way, file, missing)
        state |= {key: value for key, value in module.state_dict().items() if key not in wanted or key in missing}
        module.load_state_dict(state, strict=True)
        loaded = f"missing: {missing}" if missing else "strict"
        with torch.no_grad():
            found["torch"] = largest(ours, module(x).numpy())
    scale = max(1.0, float(np.abs(theirs).max()))
    good &= found["forward"] <= 1e-4 and found["export"] <= 1e-4 * scale and found.get("torch", 0.0) <= 1e-3 * scale
    print(f"{name:14} {way:9}", *(f"{key} {value:.1e}" for key, value in found.items()), f"moved {moved:.1e}", loaded,
          f"unused: {unused}" if unused else "", "" if good else "FAILED", flush=True)
    return good


BUILT_IN = {
    "mnist_cnn": (None, (1, 28, 28)), "mnist_cnn_relu": ("a_mnist", (1, 28, 28)), "lenet": ("b_lenet", (3, 32, 32)),
    "unet": ("c_unet", (1, 128, 128)), "resnet18gn": ("d_resnet18gn", (3, 32, 32)), "linear": (None, (784,)),
    "mnist_scatter": (None, (1, 28, 28)),
}


class Tempered(reference.MnistCNN):
    def forward(self, x):
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 2, 1)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2, 1).flatten(1)
        return self.fc2(torch.tanh(self.fc1(x)))


def trained(forward, wanted):
    good = True
    modules = {"mnist_cnn": Tempered, "linear": lambda: nn.Sequential(OrderedDict(linear=nn.Linear(784, 10)))}
    for name, (net, shape) in BUILT_IN.items():
        if wanted and name not in wanted:
            continue
        make = reference.CFG[net][0] if net else modules.get(name)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([forward, "model", name, f"{folder}/m.onnx"], check=True)
            torch.manual_seed(0)
            module = make().eval() if make else None
            good &= private_step(forward, name, "built-in", f"{folder}/m.onnx", module, torch.randn(3, *shape), folder)
    for name, (make, draw) in NETS.items():
        # Private training refuses batch normalisation, which the tests of the importer see to.
        if wanted and name not in wanted or name == "batchnorm":
            continue
        torch.manual_seed(0)
        model, x = make().eval(), draw(3)
        with tempfile.TemporaryDirectory() as folder:
            for way, file in exports(model, draw(2), folder):
                if way not in ("script17", "folded", "dynamo", "beside"):
                    continue
                try:
                    good &= private_step(forward, name, way, file, copy.deepcopy(model), x, folder)
                except Exception as error:
                    print(f"{name:14} {way:9} FAILED: {getattr(error, 'stderr', error)!s:.300}", flush=True)
                    good = False
    return good


def main():
    if sys.argv[1] == "--trained":
        sys.exit(0 if trained(sys.argv[2], sys.argv[3:]) else 1)
    forward, wanted = sys.argv[1], sys.argv[2:]
    good = True
    for name, (make, draw) in NETS.items():
        if wanted and name not in wanted:
            continue
        torch.manual_seed(0)
        model, x = make().eval(), draw(3)
        with tempfile.TemporaryDirectory() as folder:
            for way, file in exports(model, draw(2), folder):
                try:
                    good &= compare(forward, name, way, file, model, x, folder)
                except Exception as error:
                    print(f"{name:13} {way:9} FAILED: {getattr(error, 'stderr', error)!s:.300}", flush=True)
                    good = False
    shared = os.path.join(os.environ.get("TRIBUTARY_SHARED", "../shared"), "models")
    for file in sorted(os.listdir(shared)) if not wanted else []:
        if file.endswith(".onnx"):
            s = onnxruntime.InferenceSession(f"{shared}/{file}", providers=["CPUExecutionProvider"])
            shape = [3] + [d for d in s.get_inputs()[0].shape[1:]]
            if not isinstance(s.get_inputs()[0].shape[0], str):
                shape[0] = s.get_inputs()[0].shape[0]
            x = torch.randn(*shape)
            with tempfile.TemporaryDirectory() as folder:
                x.numpy().tofile(f"{folder}/x")
                subprocess.run([forward, "outputs", f"{shared}/{file}", f"{folder}/x", f"{folder}/y"], check=True)
                want = session(f"{shared}/{file}", x)
                got = np.fromfile(f"{folder}/y", np.float32).reshape(want.shape)
            largest = float(np.abs(got - want).max())
            print(f"{file:23} forward {largest:.1e}")
            good &= largest <= 1e-4
    sys.exit(0 if good else 1)


main()
