"""quantize and the tools around it: what they refuse, odd networks, and what files of those do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit_export.capture import capture
from edgevit_export.errors import BadCalibration, Unsupported
from edgevit_export.formats import FORMATS
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme
from tests.support.products import open_exact

with quiet():  # torchao tells of every CUDA library it does not find
    from edgevit_export.quantization.graph import layer_counts, quantize
    from edgevit_export.quantization.layers import (
        Layers,
        fingerprint,
        fingerprints,
        kept_fp32,
        layers_of,
    )
    from edgevit_export.quantization.paths import layer_paths, layers_run
    from edgevit_export.quantization.styles import STYLES

SHAPE = (1, 8, 12, 12)
X = (torch.zeros(SHAPE),)
W8A8 = Scheme("w8a8")
RUN = ("onnx", "executorch", "litert")


def samples(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(SHAPE, generator=generator),) for _ in range(count)]


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


class Depthwise(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(), nn.Conv2d(8, 4, 1))


class Deconvolution(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1), nn.ReLU())


class Grouped(nn.Sequential):
    """Its transposed convolution stays float."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(8, 8, 1), nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, groups=2)
        )


class Padded(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"))


class Pooled(nn.Sequential):
    """A pool between two layers, which XNNPACK computes as integers of one scale."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(8, 4, 1),
            nn.Sigmoid(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 1),
        )


class Joined(nn.Module):
    """Outputs of different ranges, the smallest last, that LiteRT concatenates as integers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.first.weight.data *= 8
        self.read = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = [layer(x).flatten(2).transpose(1, 2) for layer in (self.first, self.last)]
        read = self.read(F.gelu(torch.cat(tokens, dim=1)))
        return read.transpose(1, 2).reshape(1, 4, 24, 12)


class PooledBeside(nn.Module):
    """A pool that no layer reads."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.layer(x), 3, 2, 1) + F.avg_pool2d(x, 2)


class Twice(nn.Module):
    """One layer at two places, and two layers of one weight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 12)
        self.other = nn.Linear(12, 12)
        self.other.weight = self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(torch.relu(self.layer(self.layer(x).tanh())))


class FloatEnd(nn.Module):
    """A float output behind an integer layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).softmax(1) * 2


class NoLayers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(1)


class Overflows(nn.Sequential):
    """Finite weights, values that are not."""

    def __init__(self):
        super().__init__(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 1e38)


ODD = (
    Depthwise,
    Deconvolution,
    Grouped,
    Padded,
    Pooled,
    Joined,
    Twice,
    FloatEnd,
)


class Together(nn.Module):
    """The odd networks side by side, with an output each: one file takes a third of their time."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([made(kind) for kind in ODD])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(x) for part in self.parts)


def errors(model, outputs, format_, folder):
    """The relative squared error of each output of the network's file, on a picture of its own."""
    path = folder / f"m{FORMATS[format_].suffix}"
    names = Names(("x",), outputs)
    lower(model, X, format_, W8A8, path, names, samples(8))
    (x,) = samples(1, 9)[0]
    with torch.no_grad():
        out = model(x)
    wanted = out if isinstance(out, tuple) else (out,)
    picture = x.numpy()
    if format_ == "litert":
        picture = np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
    with open_exact(path, integers=True) as session:
        assert {port.dtype for port in (*session.inputs, *session.outputs)} == {"float32"}
        found = session.run(picture)
    if format_ == "litert":
        found = [got.transpose(0, 3, 1, 2) if got.ndim == 4 else got for got in found]
    return {
        name: float(((got - want.numpy()) ** 2).mean() / (want.numpy() ** 2).mean())
        for name, got, want in zip(outputs, found, wanted, strict=True)
    }


@pytest.mark.parametrize("format_", RUN)
def test_odd_networks_compute_the_same(format_, tmp_path):
    outputs = tuple(kind.__name__ for kind in ODD)
    found = errors(Together().eval(), outputs, format_, tmp_path)
    assert {name: error for name, error in found.items() if not error < 10**-2.5} == {}


class Pyramid(nn.Module):
    """Outputs that are read inside, too: by a convolution, and by what flattens them."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(SHAPE[1], 8, 3, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return fine, coarse, self.head(coarse.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("format_", RUN)
def test_outputs_that_are_read_inside_compute_the_same(format_, tmp_path):
    """ExecuTorch's file did not run, or its export ended with a KeyError; LiteRT's had a map that
    was turned twice.
    """
    outputs = ("fine", "coarse", "scores")
    found = errors(made(Pyramid), outputs, format_, tmp_path)
    assert {name: error for name, error in found.items() if not error < 10**-2.5} == {}


@pytest.mark.full  # the test above has them in one file
@pytest.mark.parametrize("format_", RUN)
@pytest.mark.parametrize("kind", ODD, ids=lambda kind: kind.__name__)
def test_an_odd_network_of_its_own_computes_the_same(kind, format_, tmp_path):
    assert errors(made(kind), ("y",), format_, tmp_path)["y"] < 10**-2.5


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_it_counts_layers_once(style):
    graph = quantize(made(Twice), X, W8A8, style, samples())
    assert layer_counts(graph) == {"quantized_layers": 2, "float_layers": 0}
    graph = quantize(made(Depthwise), X, Scheme("w8a8", floats=("0",)), style, samples())
    assert layer_counts(graph) == {"quantized_layers": 1, "float_layers": 1}


@pytest.mark.parametrize(("kind", "integer"), [(Pooled, 2), (PooledBeside, 0)])
def test_a_pool_is_integer_between_layers_alone(kind, integer):
    """LiteRT pads all of a file's pools by one constant: if they were integer where nothing asks
    for it, they all would get one scale, as those of MViTv2's skips did.
    """
    graph = quantize(made(kind), X, W8A8, STYLES["litert"], samples()).graph
    pools = [node for node in graph.nodes if "max_pool2d" in str(node.target)]
    after = [str(user.target) for pool in pools for user in pool.users]
    assert sum("quantize_per_tensor" in name for name in after) == integer


CONSTANT = [(torch.full(SHAPE, 0.25),)] * 2
BAD = {
    "none": ([], "There are no calibration samples"),
    "nan": ([(torch.full(SHAPE, torch.nan),)], "sample holds values that are not finite"),
    "infinite": ([(torch.full(SHAPE, torch.inf),)], "sample holds values that are not finite"),
    "shape": ([(torch.zeros(1, 8, 4, 4),)], "sample has shapes"),
}


@pytest.mark.parametrize("observer", ["mse", "percentile", "minmax"])
@pytest.mark.parametrize("case", BAD)
def test_samples_that_tell_no_ranges_are_refused(case, observer):
    given, message = BAD[case]
    with pytest.raises(BadCalibration, match=message):
        quantize(made(Depthwise), X, Scheme("w8a8", observer=observer), STYLES["onnx"], given)


@pytest.mark.parametrize("observer", ["mse", "percentile", "minmax"])
def test_values_that_overflow_are_refused(observer):
    scheme = Scheme("w8a8", observer=observer)
    with pytest.raises(BadCalibration, match=r"not finite") as caught:
        quantize(made(Overflows), X, scheme, STYLES["onnx"], samples())
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("observer", ["mse", "percentile", "minmax"])
def test_constant_samples_are_numbers_too(observer):
    model = made(Depthwise)
    graph = quantize(model, X, Scheme("w8a8", observer=observer), STYLES["onnx"], CONSTANT)
    with torch.no_grad():
        got, want = graph(*CONSTANT[0]), model(*CONSTANT[0])
    assert torch.isfinite(got).all()
    assert (got - want).abs().max() < 0.05 * want.abs().max()


@pytest.mark.parametrize(("kind", "floats"), [(NoLayers, ()), (Depthwise, ("*",))])
def test_nothing_to_quantize_is_refused(kind, floats):
    with pytest.raises(Unsupported, match="No layer of the network is left"):
        quantize(made(kind), X, Scheme("w8a8", floats=floats), STYLES["onnx"], samples())
    with pytest.raises(Unsupported, match="No layer of the network is left"):
        layers_of(made(kind), X, Scheme("w8", floats=floats))


class Named(nn.Sequential):
    """Padding by a name: an operation that no place of integers is known for."""

    def __init__(self):
        super().__init__(nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 4, 1))


class Unused(nn.Module):
    """A layer that is not run."""

    def __init__(self):
        super().__init__()
        self.used, self.left = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


@pytest.mark.parametrize("kind", [*ODD, Named, Unused, NoLayers], ids=lambda kind: kind.__name__)
def test_a_forward_finds_the_layers_of_the_graph(kind):
    model = made(kind)
    graph = capture(model, X).module().graph
    assert list(layers_run(model, X)) == list(dict.fromkeys(layer_paths(list(graph.nodes))))


def test_finding_layers_leaves_no_hooks():
    model = made(Overflows)
    model[1] = nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        layers_run(model, X)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_weight_is_known_by_its_numbers_in_any_order():
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    assert fingerprint(values) == fingerprint(values.T) == fingerprint(values.ravel()[::-1])
    assert fingerprint(values) != fingerprint(-values)


def test_a_weight_that_a_float_layer_shares_stays_float():
    assert fingerprints(made(Twice), Layers(("layer",), ("other",))) == {}
    assert list(fingerprints(made(Twice), Layers(("layer", "other"), ())).values()) == ["other"]


def test_keeps_fp32_covers_what_is_inside():
    model = made(Depthwise)
    model[0].keeps_fp32 = True
    assert kept_fp32(model) == {"0"}
    graph = quantize(model, X, W8A8, STYLES["coreml"], samples())
    assert kept_fp32(graph) == {"0"}
    assert layers_of(model, X, Scheme("fp16")).floats == ("0",)
    model.keeps_fp32 = True
    with pytest.raises(Unsupported):
        layers_of(model, X, Scheme("fp16"))
