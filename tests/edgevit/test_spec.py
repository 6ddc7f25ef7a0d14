"""DeploySpec: what it resolves and what it refuses."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from edgevit.errors import UsageError
from edgevit.spec import AVAILABLE, PRECISIONS, DeploySpec, bundle_name
from edgevit.targets import TARGETS
from edgevit_export.formats import FORMATS

OUT = Path("out")


def test_a_spec_is_a_value():
    spec = DeploySpec("topformer-t", OUT)
    assert spec == DeploySpec("topformer-t", OUT)
    with pytest.raises(FrozenInstanceError):
        spec.model = "other"
    assert hash(spec) == hash(DeploySpec("topformer-t", OUT))


@pytest.mark.parametrize("target", TARGETS)
def test_formats_and_precision_are_the_targets(target):
    spec = DeploySpec("topformer-t", OUT, target=target)
    assert spec.formats == TARGETS[target].formats
    assert spec.resolved_precision == TARGETS[target].precision
    assert spec.card.name == "topformer-t"
    for name in spec.formats:
        assert spec.resolved_precision in FORMATS[name].precisions


def test_runtimes_narrow_in_the_targets_order():
    spec = DeploySpec("topformer-t", OUT, target="android-arm64", runtimes=("tflite", "executorch"))
    assert spec.formats == ("executorch", "litert")


@pytest.mark.parametrize("precision", [p for p in PRECISIONS if p not in AVAILABLE])
def test_what_is_not_built_yet_says_so(precision):
    with pytest.raises(UsageError, match=f"Precision {precision} is not built yet") as caught:
        _ = DeploySpec("topformer-t", OUT, precision=precision).resolved_precision
    assert caught.value.next == "--precision fp32"


@pytest.mark.parametrize("precision", ["", "FP32", "fp64"])
def test_an_unknown_precision_lists_the_known(precision):
    if not precision:
        assert DeploySpec("topformer-t", OUT, precision=precision).resolved_precision == "fp32"
        return
    with pytest.raises(UsageError, match=r"there are fp32, fp16, w8a8"):
        _ = DeploySpec("topformer-t", OUT, precision=precision).resolved_precision


def test_names_of_bundles_beside_each_other():
    assert bundle_name("topformer-t", (448, 512), "fp32") == "topformer-t-448x512-fp32"
