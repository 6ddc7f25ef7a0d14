"""--format, --runtime and --engine: what each command line takes, the older ones included."""

import pytest

from edgevit.cli.choice import Choice, choose, choose_formats
from edgevit.errors import UsageError
from edgevit_export.formats import FORMATS
from edgevit_runtimes.engines import ENGINES, engine_of


def given(text: str | None) -> list[str] | None:
    """What an option of lists has from a command line that names it once, or not at all."""
    return None if text is None else [text]


@pytest.mark.parametrize(
    ("formats", "runtimes", "engine", "chosen"),
    [
        (None, None, None, Choice((), None)),
        ("onnx,litert", None, None, Choice(("onnx", "litert"), None)),
        (None, "onnxruntime", None, Choice(("onnx",), None)),
        (None, "litert,executorch", None, Choice(("litert", "executorch"), None)),
        (None, "tflite-runtime", None, Choice(("litert",), "tflite")),
        ("litert", "tflite-runtime", None, Choice(("litert",), "tflite")),
        ("onnx,litert,coreml", "litert,onnxruntime", None, Choice(("onnx", "litert"), None)),
        # As before --format existed.
        (None, "onnx,litert", None, Choice(("onnx", "litert"), None)),
        (None, "tflite", None, Choice(("tflite",), None)),
        (None, None, "tflite", Choice((), "tflite")),
        (None, None, "onnx", Choice((), "onnx")),
        (None, "litert", "tflite", Choice(("litert",), "tflite")),
        (None, "tensorrt", None, Choice(("tensorrt",), None)),
    ],
)
def test_what_is_chosen(formats, runtimes, engine, chosen):
    assert choose(given(formats), given(runtimes), engine) == chosen


def test_every_runtime_and_every_format_can_be_named():
    for entry in ENGINES.values():
        for name in (entry.name, *entry.aliases):
            assert choose(None, [name]).formats
    for entry in FORMATS.values():
        name = [entry.name]
        assert choose(None, name) == choose(name, None) == Choice((entry.name,), None)
        (held,) = {e.name for e in ENGINES.values() if e is engine_of_format(entry)}
        assert choose(None, [held]).formats in ((entry.name,),)


def engine_of_format(entry):
    from pathlib import Path

    return engine_of(Path(f"model{entry.suffix}"))


@pytest.mark.parametrize(
    ("formats", "runtimes", "engine", "sentence"),
    [
        ("onnx", "litert", None, "--runtime litert opens litert, and --format names onnx"),
        (None, "tflite-runtime", "onnxruntime", "--runtime takes one of"),
        (",", None, None, "--format takes names"),
        (None, ",", None, "--runtime takes names"),
    ],
)
def test_what_cannot_be_chosen_is_refused(formats, runtimes, engine, sentence):
    with pytest.raises(UsageError, match=sentence):
        choose(given(formats), given(runtimes), engine)


def test_where_files_have_their_own_runtime_no_other_is_taken():
    assert choose_formats("run", None, ["onnxruntime"]) == ("onnx",)
    with pytest.raises(UsageError, match="`run` opens each file in its format's own runtime"):
        choose_formats("run", None, ["tflite-runtime"])
