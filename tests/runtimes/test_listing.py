from pathlib import Path

import pytest

from edgevit.cli.views.devices import COLUMNS, device_facts, device_rows
from edgevit_runtimes import listing
from edgevit_runtimes.cores import CORES
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.listing import Listed, list_all
from edgevit_runtimes.runners.adb import Phone
from edgevit_runtimes.setup.emulated import COMMAND


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with Python packages, and all tools, and nothing set up."""

    def no_adb() -> tuple[Phone, ...]:
        raise MissingRuntime("adb is not installed.", next="apt-get install adb")

    monkeypatch.setattr(listing, "phones", no_adb)
    monkeypatch.setattr(listing, "find_emulated", lambda: None)
    monkeypatch.setattr(listing, "check_tools", lambda *_: None)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/ssh")
    return monkeypatch


def by_name(listed: tuple[Listed, ...]) -> dict[str, Listed]:
    return {entry.device: entry for entry in listed}


def test_what_is_not_set_up_has_its_command(nothing: pytest.MonkeyPatch) -> None:
    found = by_name(list_all())
    assert found["local"].state == "ready"
    assert "onnxruntime" in found["local"].engines
    assert found["adb"].next == "apt-get install adb"
    assert found["ssh:USER@HOST"].next == COMMAND
    for core in CORES:
        entry = found[f"emulated:{core}"]
        assert (entry.state, entry.engines, entry.next) == ("missing", (), COMMAND)


def test_what_is_set_up_is_ready(nothing: pytest.MonkeyPatch) -> None:
    nothing.setattr(listing, "find_emulated", lambda: Path("/somewhere"))
    nothing.setattr(listing, "phones", lambda: (Phone("A1", "device"), Phone("B2", "unauthorized")))
    found = by_name(list_all())
    assert found["emulated:cortex-a77"].engines == ("onnxruntime", "litert", "executorch")
    assert found["ssh:USER@HOST"].state == found["adb:A1"].state == "ready"
    assert found["adb:B2"].state == "missing"
    assert "unauthorized" in found["adb:B2"].how
    rows = device_rows(tuple(found.values()))
    assert all(len(row) == len(COLUMNS) for row in rows)
    facts = device_facts(tuple(found.values()))
    assert facts[0]["device"] == "local"
    assert {fact["next"] for fact in facts if fact["state"] == "ready"} == {None}


def test_tools_that_are_missing_come_first(nothing: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingRuntime("qemu is not installed.", next="apt-get install qemu-user")

    nothing.setattr(listing, "check_tools", missing)
    assert by_name(list_all())["emulated:cortex-a76"].next == "apt-get install qemu-user"


def test_phones_that_are_not_there(nothing: pytest.MonkeyPatch) -> None:
    nothing.setattr(listing, "phones", tuple)
    assert by_name(list_all())["adb"].how == "adb sees no phone"

    def broken() -> tuple[Phone, ...]:
        raise DeviceFailed("adb does not work: no server.", next="adb start-server")

    nothing.setattr(listing, "phones", broken)
    assert by_name(list_all())["adb"].next == "adb start-server"
