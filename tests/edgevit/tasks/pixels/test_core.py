"""Finding the native core; what it computes is in tests/runtimes/native/core."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevit.errors import EnvironmentFailed, UsageError
from edgevit.tasks.pixels import library
from edgevit.tasks.pixels.core import Core, InputForm, core, fast_mask
from edgevit.tasks.pixels.frame import Frame
from edgevit.tasks.pixels.mask import exact_mask
from tests.support.maps import piecewise_smooth
from tests.support.native import built, need
from tests.support.once import Shared


@pytest.fixture(autouse=True)
def looked_for_anew() -> Iterator[None]:
    core.cache_clear()
    yield
    core.cache_clear()


def test_without_a_library_numpy_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEVIT_CORE", raising=False)
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
    assert core() is None
    logits = piecewise_smooth(5, 7)
    assert np.array_equal(fast_mask(logits, (30, 40)), exact_mask(logits, (30, 40)))


def test_the_one_that_is_named_is_used(monkeypatch: pytest.MonkeyPatch, shared: Shared) -> None:
    monkeypatch.setenv("EDGEVIT_CORE", str(built(shared, "host") / "core" / "libedgevit_core.so"))
    used = core()
    assert used is not None
    asked = []
    monkeypatch.setattr(Core, "mask", lambda self, logits, size: asked.append(size))
    fast_mask(piecewise_smooth(5, 7), (30, 40))
    assert asked == [(30, 40)]
    with pytest.raises(UsageError, match="float32"):  # as without the library
        fast_mask(np.zeros((2, 3, 3)), (8, 8))  # type: ignore[arg-type]


def test_what_is_no_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "core.so").write_bytes(b"no library")
    monkeypatch.setenv("EDGEVIT_CORE", str(tmp_path / "core.so"))
    with pytest.raises(EnvironmentFailed, match=r"core\.so cannot be loaded") as caught:
        core()
    assert caught.value.next == "make native"


def test_a_library_of_another_version_is_refused(tmp_path: Path) -> None:
    need("cc")
    source, built_library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("int edgevit_core_version(void) { return 99; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", built_library, source], check=True)
    with pytest.raises(EnvironmentFailed, match=r"has version 99 of the core, and 1 is needed"):
        Core(built_library)


def test_a_frame_that_goes_backward_is_refused(shared: Shared) -> None:
    native = Core(built(shared, "host") / "core" / "libedgevit_core.so")
    plane = np.zeros((4, 6), np.uint8)
    with pytest.raises(UsageError, match="go forward"):
        native.network_input(Frame("rgb", (plane[::-1], plane, plane)), InputForm((4, 6), (4, 6)))
