"""Every precision of every format: what the file computes, its size, its bytes, what is in it."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit_export.artifact import content_sha256
from edgevit_export.errors import BadCalibration, LoweringFailed, Unsupported
from edgevit_export.formats import FORMATS, reader
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import PRECISIONS, Scheme
from edgevit_runtimes.errors import DeviceFailed
from tests.support.products import open_exact

SHAPE = (1, 3, 16, 16)
NAMES = Names(("image",), ("map", "scores"))

# Decibels over the worst of two outputs and three inputs; measured on x86-64: 5 dB more and better.
BOUNDS = {"fp16": 55, "w8a8": 22, "mixed": 22, "w8dyn": 28, "w8": 32, "w4": 10, "p6": 20, "p4": 10}
# Of the float weights, 110 kB, without anything else of a file.
RATIOS = {
    "fp16": 0.65, "w8a8": 0.55, "mixed": 0.55, "w8dyn": 0.5, "w8": 0.45, "w4": 0.4, "p6": 0.4,
    "p4": 0.3,
}  # fmt: skip
CELLS = [(name, p) for name in FORMATS for p in FORMATS[name].precisions if p != "fp32"]
# What the reader must find: the operations of each cell's technique.
OPERATIONS = {
    ("onnx", "fp16"): {"Cast": 6},
    ("onnx", "w8a8"): {"QuantizeLinear": 6},
    ("onnx", "mixed"): {"QuantizeLinear": 6},
    ("onnx", "w8dyn"): {"MatMulInteger": 3, "Cast": 3},
    ("onnx", "w8"): {"Cast": 6, "Mul": 6},
    ("onnx", "w4"): {"com.microsoft::MatMulNBits": 3, "Cast": 3},
    ("executorch", "fp16"): {"XNNFullyConnected": 3, "XNNGelu": 1},
    ("executorch", "w8a8"): {"XNNFullyConnected": 3},
    ("executorch", "mixed"): {"XNNFullyConnected": 3},
    ("executorch", "w8dyn"): {"XNNFullyConnected": 3, "XNNConvert": 3},
    ("executorch", "w4"): {"XNNFullyConnected": 3, "XNNConvert": 3},
    ("litert", "fp16"): {"DEQUANTIZE": 6},
    ("litert", "w8a8"): {"QUANTIZE": 1, "DEQUANTIZE": 1},
    ("litert", "mixed"): {"QUANTIZE": 1, "DEQUANTIZE": 1},
    ("litert", "w8dyn"): {"DEQUANTIZE": 3, "FULLY_CONNECTED": 3},
    ("litert", "w8"): {"DEQUANTIZE": 6},
    ("litert", "w4"): {"DEQUANTIZE": 3, "FULLY_CONNECTED": 3},
    ("coreml", "fp16"): {"cast": 1},
    ("coreml", "w8a8"): {"constexpr_affine_dequantize": 6, "quantize": 6},
    ("coreml", "mixed"): {"constexpr_affine_dequantize": 6, "quantize": 6},
    ("coreml", "w8"): {"constexpr_affine_dequantize": 6},
    ("coreml", "w4"): {"constexpr_blockwise_shift_scale": 6},
    ("coreml", "p6"): {"constexpr_lut_to_dense": 6},
    ("coreml", "p4"): {"constexpr_lut_to_dense": 6},
}
HALF_LIMIT = 70000.0


# One cell of each way to write integers; those of w8a8 are of one graph for all formats.
REPEATED = (
    ("onnx", "w8a8"),
    ("onnx", "w8dyn"),
    ("onnx", "w4"),
    ("litert", "w4"),
    ("executorch", "w4"),
    ("coreml", "w4"),
    ("coreml", "p4"),
)
# What another cell stands for in a short run: mixed is written as w8a8, with floats that the caller
# names, and the .onnx file shows it; palettes differ in their number of values alone.
ALIKE = {*((name, "mixed") for name in FORMATS if name != "onnx"), ("coreml", "p6")}
# Layers are sought behind the exporter there, by one call for all four; w8 stands for the others.
SOUGHT = {(name, p) for name in ("onnx", "litert") for p in ("fp16", "w8dyn", "w4")}
SOUGHT.add(("executorch", "fp16"))


def each(full):
    """Every cell, those of `full` in make test-all alone."""
    cells = [
        pytest.param(*cell, id=" ".join(cell), marks=pytest.mark.full if cell in full else ())
        for cell in CELLS
    ]
    return pytest.mark.parametrize(("format_", "precision"), cells)


class Small(nn.Module):
    """Three convolutions, a block of two linear layers behind a norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 4, stride=4)
        self.mix = nn.Conv2d(64, 64, 1)
        self.depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.norm = nn.LayerNorm(64)
        self.wide = nn.Linear(64, 160)
        self.narrow = nn.Linear(160, 64)
        self.head = nn.Linear(64, 7)
        nn.init.normal_(self.norm.weight, 1, 0.2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(x))
        x = x + self.depthwise(self.mix(x))
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.narrow(F.gelu(self.wide(self.norm(tokens))))
        return x, self.head(tokens)


class Few(nn.Module):
    """Two convolutions and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 32, 4, stride=4), nn.Conv2d(32, 32, 1)
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(x))
        x = x + self.mix(x)
        return x, self.narrow(F.relu(self.wide(x.flatten(2).transpose(1, 2))))


class Line(nn.Module):
    """One linear layer: the least that can be refused."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.relu(x), self.wide(x.mean(1))


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def network() -> nn.Module:
    return made(Small)


def pictures(count: int, seed: int) -> list[tuple[Tensor]]:
    """Noise with a spectrum of 1/f, as natural pictures have it."""
    draws = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None])
    frequency[0, 0] = 1 / 16
    found = []
    for _ in range(count):
        x = np.fft.ifft2(np.fft.fft2(draws.standard_normal(SHAPE)) / frequency).real
        x = (x - x.mean((-1, -2), keepdims=True)) / x.std((-1, -2), keepdims=True)
        found.append((torch.from_numpy(x.astype(np.float32)),))
    return found


def write(folder, format_, scheme, model=None, samples=None):
    entry = FORMATS[format_]
    return lower(
        model or network(),
        (torch.zeros(SHAPE),),
        format_,
        scheme,
        folder / f"model-{scheme.precision}{entry.suffix}",
        NAMES,
        pictures(8, 1) if samples is None else samples,
    )


def sqnr(want, got) -> float:
    want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
    return float(10 * np.log10((want**2).sum() / ((want - got) ** 2).sum()))


def worst(artifact, model) -> float:
    """The lowest SQNR of its outputs on three pictures, reopened from the disk."""
    found = []
    with open_exact(artifact.path, artifact.precision in ("w8a8", "mixed")) as session:
        for (x,) in pictures(3, 2):
            with torch.no_grad():
                wanted = model(x)
            picture = x.numpy()
            if artifact.inputs[0].layout == "NHWC":
                picture = np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
            for got, want, spec in zip(session.run(picture), wanted, artifact.outputs, strict=True):
                value = got.transpose(0, 3, 1, 2) if spec.layout == "NHWC" else got
                assert np.isfinite(value).all()
                found.append(sqnr(want, value))
    return min(found)


def content(path: Path) -> dict[str, bytes]:
    members = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {member.relative_to(path).as_posix(): member.read_bytes() for member in members}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A function that writes the file of a format and a precision, once."""
    folder = tmp_path_factory.mktemp("cells")
    return cache(lambda format_, precision: write(folder, format_, Scheme(precision)))


@each(full=ALIKE)
def test_a_cell_computes_and_is_small(format_, precision, cells):
    artifact = cells(format_, precision)
    assert artifact.precision == precision
    weights = 4 * sum(parameter.numel() for parameter in network().parameters())
    assert artifact.size < RATIOS[precision] * weights + 25_000
    ops = reader(FORMATS[format_]).read(artifact.path).ops
    for name, count in OPERATIONS[format_, precision].items():
        assert ops.get(name, 0) >= count, (name, ops)
    if (format_, precision) != ("coreml", "fp16"):
        quantized, left = (artifact.facts[f"{word}_layers"] for word in ("quantized", "float"))
        only_linear = format_ == "executorch" and precision in ("w8dyn", "w4")
        assert (quantized, left) == ((3, 3) if only_linear else (6, 0))
    try:
        assert worst(artifact, network()) > BOUNDS[precision]
    except DeviceFailed:
        assert format_ == "coreml"
        assert precision == "fp16" or "written only" in str(artifact.facts["executed"])


# REPEATED and the float files of test_backends.py stand for the others in a short run.
@each(full=set(CELLS) - set(REPEATED))
def test_a_cell_has_the_same_bytes_twice(format_, precision, cells, tmp_path):
    again = write(tmp_path, format_, Scheme(precision))
    assert content(again.path) == content(cells(format_, precision).path)


# The modules have the same names there: LiteRT names tensors after them.
ELSEWHERE = """
import importlib.util, sys
from pathlib import Path
folder, *modules = sys.argv[1:]
for name, path in zip(modules[::2], modules[1::2], strict=True):
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
tiny, precisions = (sys.modules[name] for name in modules[::2])
for name in tiny.FORMATS:
    tiny.write(Path(folder), name)
for name, precision in precisions.REPEATED:
    precisions.write(Path(folder), name, precisions.Scheme(precision))
"""


@pytest.mark.full  # half a minute
def test_another_process_with_other_hashes_gives_the_same_bytes_without_chatter(
    tiny, written, cells, tmp_path, run_python
):
    """Files of tiny.py and of some cells, in one process: importing the exporters takes 20 s."""
    modules = (tiny.__name__, tiny.__file__, __name__, __file__)
    done = run_python("-c", ELSEWHERE, str(tmp_path), *modules, PYTHONHASHSEED="4321")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    here = [written[name] for name in FORMATS] + [cells(*cell) for cell in REPEATED]
    for artifact in here:
        other = tmp_path / artifact.path.name
        assert content(other) == content(artifact.path), artifact.path
        assert content_sha256(other) == artifact.sha256


class Parallel(nn.Module):
    """Three products of the same tokens, which onnxsim would make one of."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(48, 64) for _ in range(3))

    def forward(self, x):
        tokens = x.reshape(1, 16, 48)
        mixed = (self.q(tokens) @ self.k(tokens).transpose(1, 2)).softmax(-1)
        return mixed @ self.v(tokens), mixed.mean(1)


def weights_only(*full):
    """The precisions of float activations, those of `full` in make test-all alone."""
    names = ("fp16", "w8dyn", "w8", "w4")
    cells = [pytest.param(n, marks=pytest.mark.full if n in full else ()) for n in names]
    return pytest.mark.parametrize("precision", cells)


# All precisions search by one call: w8 stands for the others in a short run.
@weights_only("fp16", "w8dyn", "w4")
@pytest.mark.parametrize("format_", ["onnx", "litert"])
def test_weights_of_parallel_products_are_found(format_, precision, tmp_path):
    """MViTv2's queries, keys and values stayed float in .onnx files: mvitv2-t had 38.8 MB in w8
    for 27.8.
    """
    path = tmp_path / f"model{FORMATS[format_].suffix}"
    facts = lower(
        made(Parallel), (torch.zeros(SHAPE),), format_, Scheme(precision), path, NAMES
    ).facts
    assert (facts["quantized_layers"], facts["float_layers"]) == (3, 0)


class Twins(nn.Module):
    """Three layers with the same weights, which onnxsim makes one constant of, and another one."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(48, 48) for _ in range(3))
        for twin in (self.second, self.third):
            twin.weight = nn.Parameter(self.first.weight.detach().clone())
        self.head = nn.Linear(48, 7)

    def forward(self, x):
        tokens = x.reshape(1, 16, 48)
        mixed = self.third(F.relu(self.second(F.relu(self.first(tokens)))))
        return mixed, self.head(self.second(mixed))


@pytest.mark.parametrize(
    ("floats", "expected"), [((), (4, 0)), (("third",), (1, 3))], ids=["all", "one float"]
)
# w8 and w4, with and without a tool of ONNX Runtime's, stand for the others in a short run.
@weights_only("fp16", "w8dyn")
def test_onnx_layers_with_equal_weights_are_quantized_together(
    precision, floats, expected, tmp_path
):
    """They were counted as one quantized layer and the others as float."""
    scheme = Scheme(precision, floats=floats)
    facts = write(tmp_path, "onnx", scheme, made(Twins)).facts
    assert (facts["quantized_layers"], facts["float_layers"]) == expected


def test_onnx_weights_that_the_exporter_tells_nothing_of_are_an_error(tmp_path, monkeypatch):
    from edgevit_export.backends import onnx_precisions

    monkeypatch.setattr(onnx_precisions, "SCOPES", "a note of another exporter")
    with pytest.raises(LoweringFailed, match=r"None of the network's weights was found in the"):
        write(tmp_path, "onnx", Scheme("w8"), made(Line))
    assert list(tmp_path.iterdir()) == []


PATTERNS = ("stem", "w*")


# Every search for layers, and every tool that is told what to leave alone. Static integers beside
# float layers are test_quantization.py's, too, for every format.
FLOATS = {
    ("onnx", "w8a8"),
    ("onnx", "w8dyn"),
    ("onnx", "w4"),
    ("executorch", "w4"),
    ("litert", "w4"),
    ("coreml", "w4"),
}


@each(full=set(CELLS) - FLOATS)
def test_floats_stay_float(format_, precision, tmp_path):
    if (format_, precision) == ("coreml", "fp16"):
        pytest.skip("floats of Core ML's fp16 are products, not weights")
    scheme = Scheme(precision, floats=PATTERNS)
    facts = write(tmp_path, format_, scheme, made(Few)).facts
    only_linear = format_ == "executorch" and precision in ("w8dyn", "w4")
    expected = (1, 3) if only_linear else (2, 2)
    assert (facts["quantized_layers"], facts["float_layers"]) == expected


@each(full=SOUGHT)
def test_where_no_layer_is_left_nothing_is_written(format_, precision, tmp_path):
    if (format_, precision) == ("coreml", "fp16"):
        pytest.skip("a network whose products are all float32 is a file of fp32")
    with pytest.raises(Unsupported, match="No layer of the network is left"):
        write(tmp_path, format_, Scheme(precision, floats=("*",)), made(Line))
    assert list(tmp_path.iterdir()) == []


@each(full=SOUGHT)
def test_weights_that_are_not_numbers_are_refused(format_, precision, tmp_path):
    model = made(Line)
    with torch.no_grad():
        model.wide.weight[0, 0] = torch.nan
    with pytest.raises(BadCalibration, match=r"The weight wide\.weight holds values that are not"):
        write(tmp_path, format_, Scheme(precision), model)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "cell", [c for c in CELLS if c[1] == "fp16" or c[0] == "coreml"], ids=" ".join
)
def test_weights_beyond_float16_are_refused(cell, tmp_path):
    format_, precision = cell
    if PRECISIONS[precision].activations == "static":
        pytest.skip("integers hold them")
    model = made(Line)
    with torch.no_grad():
        model.wide.weight[0, 0] = HALF_LIMIT
    with pytest.raises(Unsupported, match=r"wide\.weight has the value 70000; 16-bit floats end"):
        write(tmp_path, format_, Scheme(precision), model)
    assert list(tmp_path.iterdir()) == []


def test_onnxruntime_multiplies_integers(cells, tmp_path):
    import onnx
    import onnxruntime

    artifact = cells("onnx", "w8a8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert not {"Conv", "Gemm", "MatMul", "FusedConv"} & set(kinds), kinds
    integer = ("QGemm", "MatMulIntegerToFloat", "QLinearMatMul")
    assert sum(kind in integer for kind in kinds) == 3
    assert sum(kind == "QLinearConv" for kind in kinds) == 3
