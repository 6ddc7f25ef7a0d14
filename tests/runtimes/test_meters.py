"""What makes a repeat on another device valid, with a device that a test speaks for."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgevit_runtimes import meters
from edgevit_runtimes.device import Device
from edgevit_runtimes.engines import ENGINES
from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.meters import CLOCKS_MOVED, FEW_SAMPLES, TOO_WARM, Here, Job, There, meter
from edgevit_runtimes.runners.native import Asked, Told
from tests.runtimes.test_profiles import written_profile

JOB = Job(Path("m.onnx"), ENGINES["onnxruntime"], [], 1, 0, 2, 0.0, 9.0)
COOL: dict[str, object] = {"temperature_c": 30.0, "most_mhz": [2000.0, 2400.0]}


class Pretended:
    """Answers with states in turn; its file always takes two samples."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: dict[str, object]) -> None:
        self.states = list(states)
        self.slept = 0.0
        self.outputs = np.zeros(3)
        self.samples: tuple[int, ...] = (10, 20)
        monkeypatch.setattr(meters, "read_state", lambda _: self.next())
        monkeypatch.setattr(meters.remote, "placed", lambda *_: ExitStack())
        monkeypatch.setattr(meters.remote, "opened", lambda *_: SimpleNamespace(run=self.run))
        monkeypatch.setattr(meters.time, "sleep", self.sleep)

    def next(self) -> dict[str, object]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def sleep(self, secs: float) -> None:
        self.slept += secs

    def run(self, asked: object, inputs: object) -> tuple[Told, list[np.ndarray]]:
        return Told("1", (), (), 5, 7, self.samples, 99, True), [self.outputs.copy()]


def there(cool_c: float | None = 35.0) -> There:
    return There(SimpleNamespace(), ExitStack(), cool_c)  # type: ignore[arg-type]


def test_a_cool_phone_is_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Pretended(monkeypatch, COOL)
    repeat = there().repeat(JOB)
    assert (repeat.flags, repeat.states, device.slept) == ((), (COOL, COOL), 0)
    assert repeat.timings.samples_s == (1e-8, 2e-8)
    assert (repeat.timings.cold_load_s, repeat.timings.cold_first_s) == (5e-9, 7e-9)
    assert (repeat.import_s, repeat.peak_rss_kib) == (None, 99)


def test_a_warm_phone_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    warm = {**COOL, "temperature_c": 36.0}
    device = Pretended(monkeypatch, warm, warm, COOL)
    assert there().repeat(JOB).flags == ()
    assert device.slept == 20


def test_one_that_stays_warm_is_measured_and_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Pretended(monkeypatch, {**COOL, "temperature_c": 36.0})
    assert there().repeat(JOB).flags == (TOO_WARM,)
    assert device.slept == meters.GATE_SECS
    device.slept = 0
    assert there(None).repeat(JOB).flags == ()  # a board
    assert device.slept == 0
    Pretended(monkeypatch, {**COOL, "temperature_c": None})
    assert there().repeat(JOB).flags == ()  # it does not tell


def test_clocks_that_move_and_samples_that_lack_are_flagged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Pretended(monkeypatch, COOL, {**COOL, "most_mhz": [2000.0, 1800.0]})
    assert there().repeat(JOB).flags == (CLOCKS_MOVED,)
    device = Pretended(monkeypatch, COOL, {**COOL, "most_mhz": [2000.0, 2390.0]})
    device.samples = (10,)
    assert there().repeat(JOB).flags == (FEW_SAMPLES,)
    device = Pretended(monkeypatch, COOL, {**COOL, "most_mhz": [2000.0]})
    assert there().repeat(JOB).flags == (CLOCKS_MOVED,)


def test_other_outputs_in_another_repeat_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Pretended(monkeypatch, COOL)
    measuring = there()
    measuring.repeat(JOB)
    measuring.repeat(JOB)
    device.outputs[0] = 1
    measuring.repeat(replace(JOB, threads=2))  # work divided otherwise may round otherwise
    with pytest.raises(RunFailed, match=r"m\.onnx gave other outputs"):
        measuring.repeat(JOB)


def test_a_profile_is_fetched_from_the_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = Pretended(monkeypatch, COOL)
    asked: list[Asked] = []

    def run(words: Asked, inputs: object) -> tuple[Told, list[np.ndarray]]:
        asked.append(words)
        return device.run(words, inputs)

    place = SimpleNamespace(folder="/there")
    monkeypatch.setattr(meters.remote, "opened", lambda *_: SimpleNamespace(run=run, place=place))

    def pull(remote: str, local: Path) -> None:
        assert remote == "/there/profile"
        local.write_text(written_profile(Conv=[9, 9, *[30] * 10]))

    measuring = There(SimpleNamespace(pull=pull), ExitStack(), None)  # type: ignore[arg-type]
    (found,) = measuring.profile(replace(JOB, settings={"a": "b"}))
    assert (found.kind, found.ms, found.share) == ("Conv", 0.03, 1.0)
    (words,) = asked
    assert words.profile
    assert words.settings == {"a": "b"}
    assert 1 + words.warmup + words.runs == 12  # the first run is in the profile, too


def test_which_device_has_which_meter() -> None:
    with meter(Device("local"), lambda: pytest.fail("no shell is needed"), None) as here:
        assert isinstance(here, Here)
    for kind, gate in (("adb", meters.COOL_C), ("ssh", None)):
        with meter(Device(kind, "x"), SimpleNamespace, None) as other:  # type: ignore[arg-type]
            assert isinstance(other, There)
            assert other._cool_c == gate
