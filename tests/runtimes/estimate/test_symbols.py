import random
import subprocess
from pathlib import Path

import pytest

from edgevit_runtimes.estimate import symbols as module
from edgevit_runtimes.estimate.symbols import Library, Mapped, Names, read_library
from tests.support.native import need
from tests.support.once import Shared

SOURCE = """
static int hidden(int x) { return x * 7 + 1; }
__attribute__((noinline)) int first(int x) { return hidden(x) + 3; }
__attribute__((noinline)) int second(int x) { return first(x) * first(x + 1); }
"""


@pytest.fixture(scope="session")
def library(shared: Shared) -> Path:
    """A small shared library of this machine: ELF is the same for every 64-bit one."""
    need("cc", "nm")

    def make(folder: Path) -> Path:
        path = folder / "libsmall.so"
        subprocess.run(
            ["cc", "-O1", "-shared", "-fPIC", "-xc", "-", "-o", path],
            input=SOURCE, text=True, check=True,
        )  # fmt: skip
        return path

    return shared("symbols", make)


def addresses(path: Path) -> dict[str, int]:
    said = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True)
    return {line.split()[2]: int(line.split()[0], 16) for line in said.stdout.splitlines()}


def place_of(library: Library, address: int) -> int:
    """Where an address lies in the file."""
    for offset, size, start in library.loads:
        if start <= address < start + size:
            return address - start + offset
    raise AssertionError("not in the file")


def test_functions_are_found_where_nm_finds_them(library: Path) -> None:
    read = read_library(library)
    assert read is not None
    for name in ("first", "second"):
        start = place_of(read, addresses(library)[name])
        assert read.name_at(start) == name
        assert read.name_at(start + 1) == name
    assert read.name_at(1 << 40) is None


def test_an_address_of_a_run_has_a_library_and_a_function(library: Path) -> None:
    read = read_library(library)
    assert read is not None
    offset = place_of(read, addresses(library)["second"])
    mapping = Mapped(0x7000_0000, 0x7010_0000, 0, "/somewhere/else/libsmall.so")
    other = Mapped(0x1000, 0x2000, 0, "/lib/unknown.so")
    names = Names([mapping, other], {"libsmall.so": library})
    assert names.at(0x7000_0000 + offset) == ("libsmall.so", "second")
    assert names.at(0x7000_0000 + offset + 2) == ("libsmall.so", "second")
    assert names.at(0x1004) == ("unknown.so", None)
    assert names.at(0x3000) == names.at(0) == (None, None)
    # The same code, mapped from a later page of the file.
    later = Mapped(0x9000_0000, 0x9010_0000, offset & ~0xFFF, "/x/libsmall.so")
    moved = Names([later], {"libsmall.so": library})
    assert moved.at(0x9000_0000 + (offset & 0xFFF)) == ("libsmall.so", "second")


def test_a_symbol_without_a_size_reaches_to_the_next() -> None:
    read = Library(((0, 0x1000, 0),), (0x100, 0x200), (("kernel", 0), ("other", 16)))
    assert read.name_at(0x1FF) == "kernel"
    assert read.name_at(0x20F) == "other"
    assert read.name_at(0x210) is None
    assert read.name_at(0xFF) is None


def test_what_is_no_library_has_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_library(tmp_path / "absent") is None
    (tmp_path / "text").write_text(
        "no library, but long enough to hold a header of sixty-four bytes"
    )
    assert read_library(tmp_path / "text") is None
    monkeypatch.setattr(module, "MOST_BYTES", 3)
    assert read_library(tmp_path / "text") is None


def test_damage_ends_in_no_names_and_never_in_an_error(library: Path, tmp_path: Path) -> None:
    content = library.read_bytes()
    generator = random.Random(0)
    damaged = tmp_path / "damaged.so"
    for turn in range(400):
        harmed = bytearray(content)
        if turn % 2:
            del harmed[generator.randrange(len(harmed)) :]
        for _ in range(turn % 7):
            if harmed:
                harmed[generator.randrange(min(len(harmed), 4096))] = generator.randrange(256)
        damaged.write_bytes(harmed)
        read = read_library(damaged)
        assert read is None or isinstance(read.name_at(0x1000), str | None)
