"""One tiny configuration of every architecture through every format, verified."""

from collections.abc import Callable

import numpy as np
import pytest

from edgevit.bundle.inspect import inspect_file
from edgevit.bundle.opened import Bundle
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.bundle.verify import verify_bundle
from edgevit.networks.zoo import MODELS, model_card
from edgevit_export.formats import FORMATS
from tests.support.slow import SLOW

# Every network of ours but topformer-t, which is `host_bundle`'s.
MICRO = [name for name in MODELS if "-micro" in name]
EACH = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.full if n in SLOW else ()) for n in MICRO]
)
MOST_DIMENSIONS = 5  # that a Core ML tensor may have
# What our networks become on a Mac or an iPhone: plain arithmetic on dense tensors. Nothing
# gathers, scatters, loops or computes shapes. Which unit takes what there, nobody has measured.
CORE_ML_OPS = {
    *("add", "sub", "mul", "real_div", "exp", "rsqrt"),
    *("conv", "conv_transpose", "linear", "matmul", "avg_pool", "max_pool"),
    *("batch_norm", "layer_norm", "softmax", "relu", "clip", "gelu", "reduce_mean", "reduce_sum"),
    *("reshape", "transpose", "expand_dims", "concat", "split", "slice_by_index", "pad"),
    *("upsample_bilinear", "resample"),
}

Made = Callable[[str], Bundle]


def test_every_architecture_has_a_tiny_network():
    assert {model_card(name).architecture for name in MICRO} | {"topformer"} == {
        card.architecture for card in MODELS.values()
    }


@EACH
def test_every_format_is_written_and_verified(name: str, micro_bundle: Made) -> None:
    bundle = micro_bundle(name)
    assert [file.format for file in bundle.manifest.files] == list(FORMATS)
    for file in bundle.manifest.files:
        report = inspect_file(bundle.path / file.path)
        assert [spec.shape for spec in report.inputs] == [spec.shape for spec in file.inputs]
        assert [spec.shape for spec in report.outputs] == [spec.shape for spec in file.outputs]
        found = file.verification
        if file.format == "coreml":
            assert found.status in ("executed", "not verified")
            assert found.status == "executed" or found.reason == "Core ML runs on macOS only"
            continue
        assert found.status == "executed"
        assert found.difference is not None
        assert found.difference <= FP32_DIFFERENCE
        assert found.cases == 3


@EACH
def test_the_delegate_takes_all_in_one_piece(name: str, micro_bundle: Made) -> None:
    bundle = micro_bundle(name)
    report = inspect_file(bundle.path / bundle.entry("executorch").path)
    assert report.delegated_subgraphs == 1
    assert report.left_out == ()


@EACH
def test_core_ml_gets_no_more_dimensions_than_it_takes(name: str, micro_bundle: Made) -> None:
    bundle = micro_bundle(name)
    report = inspect_file(bundle.path / bundle.entry("coreml").path)
    assert report.facts is not None
    assert 2 <= int(report.facts["highest rank"]) <= MOST_DIMENSIONS


@EACH
def test_core_ml_gets_plain_arithmetic_alone(name: str, micro_bundle: Made) -> None:
    bundle = micro_bundle(name)
    report = inspect_file(bundle.path / bundle.entry("coreml").path)
    assert set(report.ops) <= CORE_ML_OPS
    assert {"matmul", "softmax", "layer_norm"} <= set(report.ops)


@EACH
def test_every_rewrite_is_proven(name: str, micro_bundle: Made) -> None:
    passes = micro_bundle(name).manifest.passes
    assert {entry.format for entry in passes} >= {"executorch", "onnx", "litert", "coreml"}
    assert all(entry.difference <= 1e-9 for entry in passes)


@EACH
def test_the_sealed_bundle_verifies_again_and_is_not_trivial(name: str, micro_bundle: Made) -> None:
    bundle = micro_bundle(name)
    found = verify_bundle(bundle)
    assert all(value.status in ("executed", "not verified") for value in found.values())
    for output in model_card(name).outputs:
        golden = bundle.golden(output)
        assert np.isfinite(golden).all()
        assert golden.std() > 1e-3
