"""Compare this trainer with PyTorch and onnxruntime on nets exported by both of PyTorch's exporters.

usage: parity.py FORWARD [NET…]     FORWARD is target/release/examples/forward; needs torch, onnx, onnxscript, onnxruntime,
                                    numpy, safetensors

For each net and exporter it prints
  forward    largest difference of our outputs from onnxruntime's on the same file
  export     the same on the file that we wrote with changed weights, after onnx.checker
  names      how many of the state dict's names our safetensors has, and what is missing; loaded into PyTorch
  torch      largest difference of PyTorch's outputs from ours with those weights
  gradient   largest difference from autograd's gradient, relative to the largest gradient of that tensor (batch of one)
and ends with 1 where a forward difference exceeds 1e-4, a file fails the checker, or a gradient differs by more than 1e-3.
"""
import copy, os, subprocess, sys, tempfile, warnings

warnings.filterwarnings("ignore")
import numpy as np, onnx, onnxruntime, torch
import torch.nn as nn, torch.nn.functional as F
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


NETS = {name: (make, lambda n, shape=shape: torch.randn(n, *shape)) for name, (make, shape, _) in reference.CFG.items()}
NETS |= {
    "conv1d": (Conv1d, lambda n: torch.randn(n, 3, 32)),
    "embedding": (Embedded, lambda n: torch.randint(0, 50, (n, 7))),
    "encoder": (Encoder, lambda n: torch.randint(0, 50, (n, 12))),
    "vit": (ViT, lambda n: torch.randn(n, 3, 32, 32)),
    "causal": (Causal, lambda n: torch.randint(0, 30, (n, 9))),
    "squeezenet": (Squeeze, lambda n: torch.randn(n, 3, 45, 45)),
    "assorted": (Assorted, lambda n: torch.randn(n, 2, 13, 17)),
}


def exports(model, x, folder):
    """Files by exporter: TorchScript in training mode and as most call it, and torch.export."""
    axes = dict(input_names=["input"], output_names=["output"], dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
    preserve = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    ways = {
        "script13": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, opset_version=13, **preserve, **axes),
        "script17": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, opset_version=17, **preserve, **axes),
        "folded": lambda f: torch.onnx.export(model, (x,), f, dynamo=False, **axes),
        "dynamo": lambda f: torch.onnx.export(model, (x,), f, dynamo=True, external_data=False, verbose=False,
                                              dynamic_shapes=({0: torch.export.Dim("batch")},)),
        "dynamo21": lambda f: torch.onnx.export(model, (x,), f, dynamo=True, external_data=False, verbose=False,
                                                opset_version=21, dynamic_shapes=({0: torch.export.Dim("batch")},)),
    }
    for way, write in ways.items():
        file = f"{folder}/{way}.onnx"
        try:
            write(file)
            yield way, file
        except Exception as error:
            print(f"    {way}: PyTorch does not export it: {str(error).splitlines()[0][:100]}")


def session(file, x):
    s = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return s.run(None, {s.get_inputs()[0].name: x.numpy()})[0]


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
    missing = sorted(set(state) - set(weights))
    found["names"] = f"{len(state) - len(missing)}/{len(state)}"

    rng = np.random.default_rng(1)
    changed = {key: (value + 0.05 * rng.standard_normal(value.shape)).astype(np.float32) for key, value in weights.items()}
    save_file(changed, f"{folder}/c.safetensors")
    run("export", file, f"{folder}/c.safetensors", f"{folder}/c.onnx")
    onnx.checker.check_model(onnx.load(f"{folder}/c.onnx"), full_check=True)
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
          f"not the state dict's: {wrong}" if wrong else "", f"missing: {missing}" if missing else "", flush=True)
    # Random weights of a deep net may make outputs large: single precision is relative.
    bound = lambda key, scale: found.get(key, 0.0) <= 1e-4 * max(1.0, scale)
    largest = float(np.abs(expected).max())
    return bound("forward", largest) and bound("export", float(np.abs(ours).max())) and not wrong and (gradient or 0) <= 1e-3


def main():
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
                except subprocess.CalledProcessError as error:
                    print(f"{name:13} {way:9} {error.stderr.strip()[:300]}", flush=True)
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
