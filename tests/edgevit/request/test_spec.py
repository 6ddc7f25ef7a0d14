"""DeploySpec: what it resolves and what it refuses."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from edgevit.errors import UsageError
from edgevit.request.spec import WORDS, DeploySpec, bundle_name
from edgevit.request.targets import TARGETS
from edgevit_export.formats import FORMATS
from edgevit_export.scheme import PRECISIONS

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


def test_formats_narrow_in_the_targets_order():
    spec = DeploySpec(
        "topformer-t", OUT, target="android-arm64", only_formats=("tflite", "executorch")
    )
    assert spec.formats == ("executorch", "litert")


@pytest.mark.parametrize("word", WORDS)
def test_every_precision_of_the_workshop_can_be_asked_for_and_int8(word):
    assert DeploySpec("topformer-t", OUT, precision=word).resolved_precision == word
    assert set(WORDS) == {*PRECISIONS, "int8"}


@pytest.mark.parametrize("precision", ["", "FP32", "fp64"])
def test_an_unknown_precision_lists_the_known(precision):
    if not precision:
        assert DeploySpec("topformer-t", OUT, precision=precision).resolved_precision == "fp32"
        return
    with pytest.raises(UsageError, match=r"there are fp32, fp16, w8a8"):
        _ = DeploySpec("topformer-t", OUT, precision=precision).resolved_precision


def test_names_of_bundles_beside_each_other():
    assert bundle_name("topformer-t", (448, 512), "fp32") == "topformer-t-448x512-fp32"
