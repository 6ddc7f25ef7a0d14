"""Halves in .tflite files: the same numbers where nothing computes them, and kernels on ARM."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.bundle.ports import from_file, to_file
from edgevit.difference import sqnr
from edgevit_export.backends import litert, litert_half
from edgevit_export.backends.litert_graph import Graph
from edgevit_export.formats import FORMATS
from edgevit_export.halves import HALVES
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import Scheme
from edgevit_runtimes.cores import CORES, DEFAULT_CORE
from edgevit_runtimes.engines import chosen, open_session
from edgevit_runtimes.estimate.latency import estimate
from edgevit_runtimes.runners import emulated

SHAPE = (1, 3, 16, 12)
LEAST_DB = 45.0  # measured: 61


class Forms(nn.Module):
    """All that has no kernel in half as the converter writes it: A^T B, a constant B, a pad."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        self.register_buffer("table", torch.randn(4, 12, 5))

    def forward(self, x: Tensor) -> Tensor:
        tokens = F.relu6(self.depthwise(F.relu(self.stem(x)))).flatten(2)  # [1, 8, 12]
        halves = tokens.reshape(2, 4, 12)
        weights = torch.bmm(halves.transpose(1, 2), halves).softmax(-1)  # [2, 12, 12]
        mixed = torch.bmm(halves, weights.transpose(1, 2)).reshape(4, 2, 12)
        return torch.bmm(mixed, self.table).reshape(1, 40)


@pytest.fixture(scope="module")
def forms():
    torch.manual_seed(0)
    return Forms().eval()


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(SHAPE, generator=generator),) for _ in range(8)]


@pytest.fixture(scope="module")
def written(forms, samples, tmp_path_factory):
    """precision -> the file, and the same without `allow_half`."""
    folder = tmp_path_factory.mktemp("half")

    def write(precision, name):
        scheme, names = Scheme(precision), Names(("image",), ("out",))
        given = samples if scheme.calibrated else ()
        path = folder / f"{precision}-{name}.tflite"
        return lower(forms, (torch.zeros(SHAPE),), "litert", scheme, path, names, given)

    made = {name: write(name, "half") for name in ("fp16", "w8a8")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litert, "allow_half", lambda graph: None)
        plain = {name: write(name, "plain") for name in made}
    return {name: (made[name], plain[name]) for name in made}


def outputs(artifact, x):
    with open_session(artifact.path) as session:
        (out,) = session.run(to_file(x.numpy(), artifact.inputs[0]))
    return from_file(out, artifact.outputs[0])


@pytest.mark.parametrize("precision", ["fp16", "w8a8"])
def test_elsewhere_it_computes_the_same_numbers(precision, written, samples):
    half, plain = written[precision]
    assert half.path.read_bytes() != plain.path.read_bytes()
    assert np.array_equal(outputs(half, samples[0][0]), outputs(plain, samples[0][0]))


@pytest.mark.parametrize("precision", ["fp16", "w8a8"])
def test_nothing_without_a_kernel_is_left(precision, written):
    half, plain = (Graph(artifact.path.read_bytes()) for artifact in written[precision])
    for graph, wanted in ((half, False), (plain, True)):
        products = graph.of_kind("BATCH_MATMUL")
        turned = any(product.builtinOptions.adjX for product in products)
        constant = any(graph.value(int(product.inputs[1])) is not None for product in products)
        assert (turned, constant) == (wanted, wanted)
    if precision == "fp16":  # int8 pads have their kernel
        wide = [len(half.shape(int(pad.inputs[0]))) for pad in half.of_kind("PAD")]
        assert wide == [3, 3]


@pytest.mark.parametrize("precision", ["fp16", "w8a8"])
def test_the_file_says_what_its_floats_are(precision, written):
    half, _ = written[precision]
    assert half.facts["floats"] == HALVES["litert"].fact["floats"]
    names = [entry.name for entry in Graph(half.path.read_bytes()).model.metadata]
    assert litert_half.METADATA.encode() in names


def test_float_files_are_as_they_were(forms, tmp_path):
    names = Names(("image",), ("out",))
    example = (torch.zeros(SHAPE),)
    for precision in set(FORMATS["litert"].precisions) - set(HALVES["litert"].precisions) - {"w4"}:
        path = tmp_path / f"{precision}.tflite"
        artifact = lower(forms, example, "litert", Scheme(precision), path, names)
        known = [entry.name for entry in Graph(path.read_bytes()).model.metadata]
        assert litert_half.METADATA.encode() not in known
        assert "floats" not in artifact.facts


def test_what_asks_for_float32_keeps_all_of_its_file_in_float32(tmp_path, samples):
    """No part of a .tflite file can be left out of the halves."""
    torch.manual_seed(0)
    model = Forms().eval()
    model.stem.keeps_fp32 = True
    for scheme in (Scheme("fp16"), Scheme("w8a8")):
        path, names = tmp_path / "model.tflite", Names(("image",), ("out",))
        artifact = lower(model, (torch.zeros(SHAPE),), "litert", scheme, path, names, samples)
        told = Graph(path.read_bytes()).model.metadata
        assert litert_half.METADATA.encode() not in [entry.name for entry in told]
        assert "floats" not in artifact.facts


@pytest.mark.usefixtures("emulated_device")
@pytest.mark.parametrize("precision", ["fp16", "w8a8"])
def test_an_arm_core_computes_it_in_half(precision, written, forms, samples):
    half, plain = written[precision]
    (x,) = samples[0]
    fed = [to_file(x.numpy(), half.inputs[0])]
    runs = [
        emulated.count(artifact.path, chosen(artifact.path, None), DEFAULT_CORE, fed)
        for artifact in (half, plain)
    ]
    types = [estimate(run.counts, CORES[DEFAULT_CORE]).multiply_adds for run in runs]
    assert types[0]["fp16"] > 0 == types[0]["fp32"]
    assert types[1]["fp16"] == 0 < types[1]["fp32"]
    found, same = (from_file(run.outputs[0], half.outputs[0]) for run in runs)
    assert not np.array_equal(found, same)
    assert sqnr(found, same) >= LEAST_DB
