"""The table of formats and its lazy door."""

from importlib.metadata import version
from pathlib import Path

import pytest

from edgevit_export.errors import Unsupported
from edgevit_export.formats import (
    ABSENT,
    FORMATS,
    Format,
    backend,
    format_named,
    reader,
    tool_versions,
    why_absent,
)
from edgevit_export.scheme import PRECISIONS
from edgevit_runtimes.engines import ENGINES

PARTS = ("backends", "readers")


def modules(part: str) -> set[str]:
    import edgevit_export

    folder = Path(edgevit_export.__file__).parent / part
    return {path.stem for path in folder.glob("*.py")}


@pytest.mark.parametrize("name", FORMATS)
def test_each_entry_is_whole(name):
    entry = FORMATS[name]
    assert entry.name == name == entry.extra
    assert entry.suffix.startswith(".")
    assert "fp32" in entry.precisions
    assert entry.packages[0] == "torch"
    assert entry.max_bytes == 2 << 30


@pytest.mark.parametrize("name", FORMATS)
def test_each_has_a_writer_and_a_reader(name):
    entry = FORMATS[name]
    assert backend(entry).__name__ == f"edgevit_export.backends.{name}"
    assert reader(entry).__name__ == f"edgevit_export.readers.{name}"
    assert callable(backend(entry).write)
    assert callable(reader(entry).read)


def test_no_backend_stands_outside_the_table():
    names = {name.partition("_")[0] for name in modules("backends") - {"__init__"}}
    assert names == set(FORMATS)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", FORMATS)
def test_each_cell_exists_or_says_why_not(name, precision):
    entry = FORMATS[name]
    if precision in entry.precisions:
        assert (name, precision) not in ABSENT
        with pytest.raises(KeyError):
            why_absent(entry, precision)
    else:
        assert why_absent(entry, precision) == ABSENT[name, precision]


def test_no_precision_is_unknown():
    assert {p for entry in FORMATS.values() for p in entry.precisions} == set(PRECISIONS)


def test_names_aliases_and_suffixes():
    assert format_named("tflite") is format_named("litert") is FORMATS["litert"]
    for entry in FORMATS.values():
        assert format_named(entry.name) is entry
    suffixes = [entry.suffix for entry in FORMATS.values()]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize("name", ["", "ONNX", "onnx ", "torchscript"])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(Unsupported, match="there are onnx, executorch, litert, coreml"):
        format_named(name)


def test_what_is_in_the_table_alone_has_no_door():
    stranger = Format("other", ".x", "x", (), ("fp32",), 1)
    for door in (backend, reader):
        with pytest.raises(Unsupported, match="'other'"):
            door(stranger)


def test_versions_of_what_writes():
    for entry in FORMATS.values():
        found = tool_versions(entry)
        assert list(found) == list(entry.packages)
        assert found["torch"] == version("torch")


def test_every_format_has_a_runtime():
    opened = {suffix for engine in ENGINES.values() for suffix in engine.suffixes}
    assert {entry.suffix for entry in FORMATS.values()} == opened
