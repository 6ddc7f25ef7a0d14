"""The table of targets."""

import pytest

from edgevit.errors import UsageError
from edgevit.networks.system import ALL_FORMATS
from edgevit.request.targets import FORMAT_ALIASES, TARGETS, narrowed, target_named
from edgevit_export.formats import FORMATS


@pytest.mark.parametrize("name", TARGETS)
def test_each_entry_is_whole(name):
    target = target_named(name)
    assert target.name == name
    assert target.formats
    assert len(set(target.formats)) == len(target.formats)
    assert set(target.formats) <= set(FORMATS)
    assert all(target.precision in FORMATS[f].precisions for f in target.formats)


def test_tables_agree_on_the_formats():
    assert set(ALL_FORMATS) == set(FORMATS) == set(TARGETS["host"].formats)
    assert {alias for f in FORMATS.values() for alias in f.aliases} == set(FORMAT_ALIASES)


def test_preferences():
    assert TARGETS["android-arm64"].formats == ("executorch", "onnx", "litert")
    assert TARGETS["linux-arm64"].formats == ("onnx", "litert", "executorch")
    assert TARGETS["ios-arm64"].formats == TARGETS["macos-arm64"].formats == ("coreml",)


@pytest.mark.parametrize(
    ("asked", "near"), [("android", "android-arm64"), ("ios", "ios-arm64"), ("hots", "host")]
)
def test_an_unknown_target_names_the_nearest_and_all(asked, near):
    with pytest.raises(UsageError, match=f"There is no target '{asked}'") as caught:
        target_named(asked)
    guess = caught.value.message.partition("did you mean ")[2].partition("?")[0]
    assert near in guess.split(" or ")
    assert all(name in caught.value.message for name in TARGETS)
    assert caught.value.exit_code == 2


def test_narrowing():
    android = TARGETS["android-arm64"]
    assert narrowed(android, ()) == android.formats
    assert narrowed(android, ("litert", "onnx", "onnx")) == ("onnx", "litert")
    assert narrowed(android, ("tflite",)) == ("litert",)
    for wrong in ("coreml", "tensorrt", ""):
        with pytest.raises(UsageError, match="android-arm64 takes executorch, onnx, litert, not"):
            narrowed(android, ("onnx", wrong))
