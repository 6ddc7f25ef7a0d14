import json
import platform
from pathlib import Path

import pytest

from edgevit_runtimes import device as subject
from edgevit_runtimes import devices
from edgevit_runtimes.device import (
    CORES,
    Device,
    local_half,
    machine_facts,
    parse_device,
    usable_cores,
)
from edgevit_runtimes.errors import UnknownDevice
from edgevit_runtimes.runners.shell import Answer


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("local", Device("local")),
        ("adb", Device("adb")),
        ("adb:emulator-5554", Device("adb", "emulator-5554")),
        ("adb:192.168.0.7:5555", Device("adb", "192.168.0.7:5555")),
        ("ssh:pi@board.local", Device("ssh", "pi@board.local")),
        *((f"emulated:{core}", Device("emulated", core)) for core in CORES),
    ],
)
def test_a_device_reads_as_it_is_written(text: str, device: Device) -> None:
    assert parse_device(text) == device
    assert str(device) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "gpu", "local:1", "adb:", "adb:-s", "adb:a b", "ssh", "ssh:board",
        "ssh:-oProxyCommand=x@h", "ssh:pi@-h", "ssh:pi@h;reboot", "emulated", "LOCAL",
    ],
)  # fmt: skip
def test_anything_else_tells_the_grammar(text: str) -> None:
    with pytest.raises(UnknownDevice) as caught:
        parse_device(text)
    assert "local" in caught.value.message or "cortex-a76" in caught.value.message
    assert caught.value.exit_code == 2


def test_an_unknown_core_lists_the_cores() -> None:
    with pytest.raises(UnknownDevice, match=r"cortex-a55.*cortex-a76, cortex-a77"):
        parse_device("emulated:cortex-a55")


def test_facts_are_json_and_know_this_machine() -> None:
    facts = machine_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["machine"] == platform.machine()
    assert facts["python"] == platform.python_version()
    assert facts["usable_cores"] == usable_cores() >= 1


def test_facts_that_cannot_be_read_are_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> str:
        raise PermissionError("no")

    monkeypatch.setattr(subject, "CPU0", tmp_path / "absent")
    monkeypatch.setattr(subject, "_cpuinfo", fail)
    monkeypatch.setattr(platform, "platform", fail)
    facts = machine_facts()
    for name in ("governor", "frequency_mhz", "cpu_flags", "os"):
        assert facts[name] is None


def test_an_arm_board_is_known_by_its_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "scaling_governor").write_text("performance\n")
    (tmp_path / "scaling_cur_freq").write_text("2400000\n")
    fields = {
        "features": "fp asimd evtstrm asimdhp asimddp",
        "cpu implementer": "0x41",
        "cpu part": "0xd0b",
    }
    monkeypatch.setattr(subject, "CPU0", tmp_path)
    monkeypatch.setattr(subject, "_cpuinfo", lambda: fields)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    facts = machine_facts()
    assert facts["cpu_flags"] == ["asimd", "asimdhp", "asimddp"]
    assert facts["governor"] == "performance"
    assert facts["frequency_mhz"] == 2400.0
    assert facts["cpu"] == "implementer 0x41 part 0xd0b"


@pytest.mark.parametrize(
    ("machine", "flags", "half"),
    [
        ("x86_64", "avx2 f16c", False),
        ("aarch64", "fp asimd asimdhp", True),
        ("aarch64", "fp asimd", False),
        ("armv7l", "neon asimdhp", False),
    ],
)
def test_halves_are_computed_by_arm_cores_that_say_so(
    machine: str, flags: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(subject, "_cpuinfo", lambda: {"features": flags})
    assert local_half() is half


def test_apples_cores_all_compute_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert local_half()


@pytest.mark.parametrize(("flags", "half"), [("fp asimd fphp asimdhp", True), ("fp asimd", False)])
def test_another_device_is_asked(flags: str, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Board:
        def run(self, command: str) -> Answer:
            assert command == "cat /proc/cpuinfo"
            return Answer(0, f"processor\t: 0\nFeatures\t: {flags}\n", "")

    monkeypatch.setattr(devices, "shell_of", lambda _: Board())
    assert devices.computes_half(Device("ssh", "pi@board")) is half
