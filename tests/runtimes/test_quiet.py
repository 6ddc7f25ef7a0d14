import os
import sys

import pytest

from edgevit_runtimes.quiet import quiet


def test_native_output_is_dropped_meanwhile_only(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    with quiet():
        os.write(2, b"dropped\n")
        os.write(1, b"kept\n")
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("kept\n", "before\nafter\n")


def test_an_error_passes_and_restores(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), quiet():
        raise KeyboardInterrupt
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_a_program_without_stderr_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with quiet():
        os.write(2, b"dropped\n")
    assert capfd.readouterr().err == ""


def test_descriptors_are_not_leaked() -> None:
    before = os.dup(0)
    os.close(before)
    for _ in range(5):
        with quiet():
            pass
    after = os.dup(0)
    os.close(after)
    assert after == before
