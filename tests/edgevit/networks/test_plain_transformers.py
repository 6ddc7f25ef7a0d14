"""The line on every network of plain blocks: exact, whole on XNNPACK, the same in every format.

The micro networks of ViT, ViTPose and T2T-ViT go through every format in tests/e2e/test_matrix.py,
the last two in `make test-all`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.difference import difference
from edgevit.networks.line import TOLERANCE, run_line
from edgevit.networks.parts.transformer import Attend, Placed, Thirds
from edgevit.networks.system import ALL_FORMATS
from edgevit.networks.t2t_vit.network import FeatureAttend, SoftSplit
from edgevit_export.formats import FORMATS, format_named, reader
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import KEEPS_FP32, Scheme
from edgevit_runtimes.engines import open_session


def example_of(network, seed=7):
    return torch.randn(network.input_shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def answer(network, x):
    return network(x).numpy()


def kinds(network):
    return {type(module) for module in network.modules()}


def test_the_line_is_exact(plain):
    network = plain.double()
    x = example_of(network).double()
    common = run_line(network, "common")
    names = {name.rpartition(".")[2] for name in common.state_dict()}
    assert not names & {"cls_token", "dist_token", "pos_embed"}
    for format_ in ALL_FORMATS:
        rewritten = run_line(common, "format", format_)
        assert difference(answer(rewritten, x), answer(network, x)) <= TOLERANCE
        left = kinds(rewritten)
        assert not left & {Placed, SoftSplit, FeatureAttend, nn.BatchNorm2d}
        assert nn.LayerNorm in left
        assert (Attend in left) == (format_ == "executorch")
        assert (Thirds in left) == (format_ in ("onnx", "coreml"))


def test_running_the_line_again_changes_nothing(plain):
    common = run_line(plain, "common")
    once = run_line(common, "format", "executorch")
    reports = []
    again = run_line(run_line(once, "common"), "format", "executorch", report=reports.append)
    assert reports == []
    x = example_of(plain)
    assert np.array_equal(answer(again, x), answer(once, x))


def lowered(network, format_, folder, precision="fp32"):
    path = Path(folder) / f"network{FORMATS[format_].suffix}"
    rewritten = run_line(run_line(network, "common"), "format", format_)
    names = Names(("image",), ("out",))
    lower(rewritten, (example_of(network),), format_, Scheme(precision), path, names)
    return path, reader(format_named(format_)).read(path)


def to_file(x, path):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if path.suffix == ".tflite" else x


@pytest.mark.parametrize("format_", ["onnx", "executorch", "litert"])
def test_files_compute_what_the_network_does(format_, plain_to_lower, tmp_path):
    path, report = lowered(plain_to_lower, format_, tmp_path)
    x = example_of(plain_to_lower)
    with open_session(path, threads=1) as session:
        (got,) = session.run(to_file(x.numpy(), path))
    assert difference(got, to_file(answer(plain_to_lower, x), path)) <= FP32_DIFFERENCE
    if format_ == "executorch":
        assert report.delegated_subgraphs == 1
        assert report.left_out == ()


def operations(path):
    """Type, data type and rank of every operation of an ML program."""
    from coremltools.proto import MIL_pb2, Model_pb2

    spec = (path / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes()
    (block,) = (
        Model_pb2.Model.FromString(spec).mlProgram.functions["main"].block_specializations.values()
    )
    for operation in block.operations:
        if operation.type != "const":
            kind = operation.outputs[0].type.tensorType
            yield operation.type, MIL_pb2.DataType.Name(kind.dataType), kind.rank


def test_core_ml_takes_it_and_keeps_linear_attention_in_float32(plain_to_halve, tmp_path):
    rewritten = run_line(plain_to_halve, "common")
    path, _ = lowered(plain_to_halve, "coreml", tmp_path, "fp16")
    found = list(operations(path))
    assert max(rank for _, _, rank in found) <= 5
    wide = {kind for kind, dtype, _ in found if dtype == "FLOAT32"} - {"cast"}
    if any(getattr(module, KEEPS_FP32, False) for module in rewritten.modules()):
        assert "rsqrt" in wide
        assert ("exp" in wide) == any(kind == "exp" for kind, _, _ in found)
        assert ("exp", "FLOAT16", 3) not in found
    else:
        assert wide == set()
    assert ("linear", "FLOAT16") in {(kind, dtype) for kind, dtype, _ in found}
