from dataclasses import dataclass
from pathlib import Path

import pytest

from edgevit_runtimes.runners.shell import Answer
from edgevit_runtimes.runners.state import read_state


@dataclass
class Said:
    """A shell that says what a test wants."""

    text: str

    def run(self, command: str, secs: float = 60) -> Answer:
        return Answer(0, self.text, "")


PHONE = "\n".join(
    (
        "machine\taarch64",
        "system\tLinux 5.10",
        "cores\t8",
        "cpu_part\t0xd05",
        "cpu_part\t0xd0d",
        "load_average\t0.10 0.20 0.30",
        "memory_kib\t7900000",
        "governor\tschedutil",
        "governor\tschedutil",
        "frequency_khz\t300000",
        "most_khz\t2841600",
        "thermal_zone\tcpu-0-0 45100",
        "thermal_zone\tmodem -273000",
        "thermal_zone\tbroken",
        "model\tMaker Phone 5",
        "android\t14",
        "battery_level\t80",
        "battery_tenths\t312",
        "thermal_status\t0",
        "nonsense",
        "empty\t",
    )
)


def test_a_phones_words_become_numbers() -> None:
    state = read_state(Said(PHONE))  # type: ignore[arg-type]
    assert state["cpu_parts"] == ["0xd05", "0xd0d"]
    assert (state["governors"], state["frequencies_mhz"]) == (["schedutil"], [300.0])
    assert state["most_mhz"] == [2841.6]
    assert state["temperature_c"] == 31.2  # of the battery
    assert (state["cores"], state["battery_level"], state["thermal_status"]) == (8, 80, 0)
    assert (state["model"], state["android"]) == ("Maker Phone 5", "14")


def test_a_board_has_the_temperature_of_its_warmest_zone() -> None:
    text = PHONE.replace("battery_tenths\t312\n", "")
    assert read_state(Said(text))["temperature_c"] == 45.1  # type: ignore[arg-type]


def test_what_is_not_told_is_none() -> None:
    state = read_state(Said(""))  # type: ignore[arg-type]
    lists = {"cpu_parts", "governors", "frequencies_mhz", "most_mhz"}
    assert all(value == ([] if name in lists else None) for name, value in state.items())


def test_the_script_runs_in_a_plain_shell(tmp_path: Path) -> None:
    import subprocess

    from edgevit_runtimes.runners.state import PROBE

    done = subprocess.run(["sh", "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    state = read_state(Said(done.stdout))  # type: ignore[arg-type]
    assert state["machine"]
    assert isinstance(state["cores"], int)
    assert isinstance(state["memory_kib"], int)


@pytest.mark.parametrize("zone", ["thermal_zone\tx 151000", "thermal_zone\tx -41000"])
def test_a_zone_without_a_sensor_is_left_out(zone: str) -> None:
    assert read_state(Said(zone))["temperature_c"] is None  # type: ignore[arg-type]
