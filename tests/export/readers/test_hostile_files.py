"""Whatever is in a file: a report or one sentence, never anything else."""

import random
from pathlib import Path

import pytest

from edgevit_export.errors import UnreadableFile
from edgevit_export.formats import FORMATS, reader
from edgevit_export.readers.report import FileReport

FILES = ("onnx_file", "pte_file", "tflite_file")
SUFFIXES = (".onnx", ".pte", ".tflite")
FLIPS = 50
BY_SUFFIX = {entry.suffix: entry for entry in FORMATS.values()}


def outcome(path: Path) -> str:
    try:
        report = reader(BY_SUFFIX[path.suffix]).read(path)
    except UnreadableFile as error:
        sentence = error.message
    else:
        assert isinstance(report, FileReport)
        return "report"
    assert str(path) in sentence
    assert sentence.count("\n") == 0
    return "refused"


def flips(raw: bytes, seed: int):
    chance = random.Random(seed)
    for _ in range(FLIPS):
        broken = bytearray(raw)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(raw))] = chance.randrange(256)
        yield bytes(broken)


def header_flips(raw: bytes, seed: int):
    """The first bytes hold offsets, magics and lengths: the ones worth lying about."""
    chance = random.Random(seed)
    for _ in range(FLIPS):
        broken = bytearray(raw)
        broken[chance.randrange(min(256, len(raw)))] = chance.choice((0, 1, 127, 128, 255))
        yield bytes(broken)


@pytest.mark.parametrize("fixture", FILES)
def test_truncated_files(fixture, request, tmp_path):
    whole = request.getfixturevalue(fixture)
    raw = whole.read_bytes()
    path = tmp_path / f"cut{whole.suffix}"
    for part in range(20):
        path.write_bytes(raw[: len(raw) * part // 20])
        assert outcome(path) == "refused"


@pytest.mark.parametrize("fixture", FILES)
def test_flipped_bytes(fixture, request, tmp_path):
    whole = request.getfixturevalue(fixture)
    raw = whole.read_bytes()
    path = tmp_path / f"flipped{whole.suffix}"
    seen = []
    for broken in (*flips(raw, 1), *header_flips(raw, 2)):
        path.write_bytes(broken)
        seen.append(outcome(path))
    assert set(seen) == {"report", "refused"}


@pytest.mark.parametrize(
    "member",
    [
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    ],
)
def test_broken_packages(member, mlpackage, copied):
    package = copied(mlpackage)
    raw = (package / member).read_bytes()
    seen = []
    cuts = [raw[: len(raw) * part // 20] for part in range(20)]
    for broken in (*cuts, *flips(raw, 3), *header_flips(raw, 4)):
        (package / member).write_bytes(broken)
        seen.append(outcome(package))
    # A weight file holds the weights in order, so that every cut takes the last one away.
    assert seen[:20] == ["refused"] * 20
    assert set(seen[20:]) == {"report", "refused"}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("raw", [b"", b"\0", b"garbage " * 100, bytes(range(256)) * 16])
def test_garbage(suffix, raw, tmp_path):
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(raw)
    assert outcome(path) == "refused"


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mlpackage"])
def test_missing_files_and_directories(suffix, tmp_path):
    assert outcome(tmp_path / f"missing{suffix}") == "refused"
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    assert outcome(folder) == "refused"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_oversized_files_are_not_opened(suffix, tmp_path):
    path = tmp_path / f"large{suffix}"
    with path.open("wb") as stream:
        stream.truncate((4 << 30) + 1)  # sparse: takes no room on the disk
    with pytest.raises(UnreadableFile, match="is not opened"):
        reader(BY_SUFFIX[path.suffix]).read(path)
