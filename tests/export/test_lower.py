"""lower: one clear refusal before any work, and nothing left where an exporter gives up."""

import hashlib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edgevit_export import formats
from edgevit_export import lower as lower_module
from edgevit_export.artifact import Artifact, Contents, TensorSpec
from edgevit_export.errors import LoweringFailed, MissingPackage, TooLarge, Unsupported
from edgevit_export.formats import FORMATS, tool_versions
from edgevit_export.lower import check_size, lower
from edgevit_export.names import Names
from edgevit_export.scheme import FP32, Scheme

NAMES = Names(("x",), ("y",))
X = (torch.zeros(1, 3, 8, 8),)


@pytest.fixture(params=list(FORMATS))
def format_(request):
    return request.param


@pytest.fixture
def no_work(monkeypatch):
    """Fail where an exporter is reached."""

    def backend(entry):
        raise AssertionError("the exporter was started")

    monkeypatch.setattr(lower_module, "backend", backend)


@pytest.fixture
def exporter(monkeypatch):
    """Put a function in the place of every exporter."""

    def replace_with(write):
        monkeypatch.setattr(lower_module, "backend", lambda entry: SimpleNamespace(write=write))

    return replace_with


class Huge(nn.Module):
    """More weights than any format holds, none of them in memory."""

    def __init__(self, count=1 << 29):
        super().__init__()
        with torch.device("meta"):
            self.weight = nn.Parameter(torch.empty(count))

    def forward(self, x):
        return x


def test_two_gibibytes_are_refused_before_lowering(format_, no_work, tmp_path):
    path = tmp_path / "x"
    with pytest.raises(TooLarge) as caught:
        lower(Huge().eval(), X, format_, FP32, path, NAMES)
    assert caught.value.message == (
        f"The {format_} file would hold 2.0 GiB of weights; the format allows 2 GiB."
    )
    assert caught.value.next == "choose a smaller model (edgevit list)"
    assert caught.value.exit_code == 2
    assert not path.exists()


def test_half_the_bytes_a_number_hold_twice_the_weights():
    check_size(Huge((1 << 29) - 1), FORMATS["onnx"], FP32)
    check_size(Huge((1 << 30) - 1), FORMATS["coreml"], Scheme("fp16"))
    with pytest.raises(TooLarge, match=r"would hold 2\.0 GiB"):
        check_size(Huge(1 << 30), FORMATS["coreml"], Scheme("fp16"))


def test_buffers_count_as_weights():
    model = nn.Module()
    with torch.device("meta"):
        model.register_buffer("table", torch.empty(1 << 29))
    with pytest.raises(TooLarge):
        check_size(model, FORMATS["litert"], FP32)


def test_an_unknown_format_lists_the_known(no_work, tmp_path):
    with pytest.raises(Unsupported, match="There is no format 'tensorrt'; there are onnx, exec"):
        lower(nn.Identity().eval(), X, "tensorrt", FP32, tmp_path / "x", NAMES)


def test_a_precision_that_a_format_lacks_is_refused(format_, no_work, tmp_path):
    entry = FORMATS[format_]
    for precision in {"fp16", "w8a8"} - set(entry.precisions):
        with pytest.raises(Unsupported, match=f"{format_} files have no precision") as caught:
            lower(nn.Identity().eval(), X, format_, Scheme(precision), tmp_path / "x", NAMES)
        assert caught.value.next == f"--precision {entry.precisions[0]}"


def test_a_missing_package_is_named_with_its_extra(format_, no_work, tmp_path, monkeypatch):
    missing = FORMATS[format_].packages[-1]

    def version(package):
        if package == missing:
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(formats, "version", version)
    with pytest.raises(MissingPackage, match=f"needs {missing}, which is not") as caught:
        lower(nn.Identity().eval(), X, format_, FP32, tmp_path / "x", NAMES)
    assert caught.value.next == f"pip install 'edgevit[{format_}]'"
    assert caught.value.exit_code == 3


def test_a_network_in_training_mode_is_refused(format_, tiny, tmp_path):
    with pytest.raises(LoweringFailed, match="in training mode; call"):
        tiny.write(tmp_path, format_, tiny.network().train())
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    """Depends on its input's values, which no capture can follow."""

    def forward(self, x):
        return (x + 1, x) if x.sum() > 0 else (x, x)


def test_a_network_that_cannot_be_captured_is_one_sentence(format_, tiny, tmp_path):
    with pytest.raises(LoweringFailed) as caught:
        tiny.write(tmp_path, format_, Branching().eval())
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


FAILURES = [
    RuntimeError("first line\nsecond line"),
    ValueError(""),
    KeyError("key"),
    NotImplementedError("op"),
    AssertionError("its own invariant"),
    AttributeError("NoneType"),
    IndexError("list"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
def test_whatever_an_exporter_raises_is_one_sentence_and_leaves_nothing(
    failure, exporter, tmp_path
):
    def write(model, example, names, scheme, path):
        path.write_bytes(b"half a file")
        raise failure

    exporter(write)
    with pytest.raises(LoweringFailed, match="The onnx exporter failed: ") as caught:
        lower(nn.Identity().eval(), X, "onnx", FP32, tmp_path / "m.onnx", NAMES)
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is failure
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [KeyboardInterrupt(), OSError(28, "No space left"), MemoryError(), LoweringFailed("said")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_exporters_fault_passes_and_leaves_nothing(failure, exporter, tmp_path):
    def write(model, example, names, scheme, path):
        path.mkdir()
        (path / "Manifest.json").write_text("{}")
        raise failure

    exporter(write)
    with pytest.raises(type(failure)) as caught:
        lower(nn.Identity().eval(), X, "coreml", FP32, tmp_path / "m.mlpackage", NAMES)
    assert caught.value is failure
    assert list(tmp_path.iterdir()) == []


def test_the_backend_gets_what_was_asked_and_its_file_is_stamped(exporter, tmp_path):
    seen = []
    contents = Contents((TensorSpec("x", (1,), "float32"),), (), {"opset": 20})

    def write(*arguments):
        seen.append(arguments)
        arguments[-1].write_bytes(b"a file")
        return contents

    exporter(write)
    model, scheme = nn.Identity().eval(), replace(FP32, opset=20)
    path = tmp_path / "m.tflite"
    assert lower(model, X, "tflite", scheme, path, NAMES) == Artifact(
        format="litert",
        path=path,
        precision="fp32",
        size=6,
        sha256=hashlib.sha256(b"a file").hexdigest(),
        inputs=contents.inputs,
        outputs=(),
        tools=tool_versions(FORMATS["litert"]),
        facts={"opset": 20},
    )
    assert seen == [(model, X, NAMES, scheme, path)]


LOWER_TWICE = """
import sys, torch
from pathlib import Path
from edgevit_export.errors import LoweringFailed
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import FP32

class Branching(torch.nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x

for model in (torch.nn.Conv2d(3, 2, 1), Branching()):
    try:
        lower(model.eval(), (torch.zeros(1, 3, 4, 4),), "onnx", FP32, Path(sys.argv[1]),
              Names(("x",), ("y",)))
    except LoweringFailed:
        print("failed")
    print(Path(sys.argv[1]).exists())
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"executorch", "coremltools", "litert_torch", "jax"}))
"""


def test_one_format_is_written_without_chatter_and_without_the_others(tmp_path, run_python):
    done = run_python("-c", LOWER_TWICE, str(tmp_path / "m.onnx"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "failed", "False", "[]"]
    assert done.stderr == ""
