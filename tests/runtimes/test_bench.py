import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgevit_runtimes import bench as subject
from edgevit_runtimes.bench import bench
from edgevit_runtimes.device import Device
from edgevit_runtimes.errors import BadSetting, RuntimesError, UnknownDevice, UnknownEngine
from edgevit_runtimes.result import (
    CLOCKS_MOVED,
    FEW_SAMPLES,
    NO_WINNER,
    TOO_WARM,
    BenchResult,
    BenchRow,
    BenchSettings,
)
from edgevit_runtimes.timing import Timings

FAST: dict[str, Any] = {"warmup": 1, "runs": 4, "min_secs": 0.0, "max_secs": 20.0}


def test_files_of_two_engines_side_by_side(tiny: Any) -> None:
    files = [tiny.files["onnxruntime"], tiny.files["litert"]]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    told: list[tuple[str, int, int]] = []
    result = bench(
        files,
        [tiny.inputs] * 2,
        hashes,
        repeat=2,
        progress=lambda *step: told.append(step),
        **FAST,
    )
    stored = json.loads(json.dumps(result.to_json()))
    assert stored == result.to_json()
    assert stored["schema"] == 3
    assert stored["device"] == "local"
    assert stored["machine"]["logical_cores"] >= 1
    timed = {"cold_import", "cold_load", "cold_first", "warm"}
    assert set(stored["covers"]) == {*timed, "native", "peak_rss", "counted", "estimate"}
    assert stored["counted"] == []
    assert [row["engine"] for row in stored["rows"]] == ["onnxruntime", "litert"]
    for row, digest in zip(stored["rows"], hashes, strict=True):
        assert row["validity"]["enough_samples"] is True
        assert row["validity"]["outputs_right"] is None  # nobody compared them
        assert row["peak_rss_kib"] > 10_000  # Python alone takes that
        assert row["sha256"] == digest
        assert row["threads"] == 1
        assert row["versions"]
        assert len(row["repeats"]) == 2
        for repeat in row["repeats"]:
            assert len(repeat["samples_s"]) == 4
            assert min(repeat["cold_import_s"], repeat["cold_load_s"], repeat["cold_first_s"]) > 0
        warm = row["warm_ms"]
        assert 0 < warm["p10"] <= warm["p50"] <= warm["p90"] <= warm["p99"]
    second = next(label for label, _, _ in told if "repeat 2 of 2" in label)
    assert second.startswith("tiny.tflite")  # each repeat starts with the next file
    assert told[0] == ("tiny.onnx, threads 1, repeat 1 of 2", 0, 16)
    assert told[-1][1:] == (16, 16)


def row(*repeats: Timings) -> BenchRow:
    return BenchRow("model.pte", "0" * 64, "executorch", {}, 2, (0.1,) * len(repeats), repeats)


def test_a_spread_over_five_percent_has_no_winner() -> None:
    steady = row(*(Timings(0.1, 0.2, (ms / 1e3,) * 3) for ms in (100.0, 104.0, 102.0)))
    assert steady.spread == pytest.approx(4 / 102)
    assert steady.note is None
    unsteady = row(*(Timings(0.1, 0.2, (ms / 1e3,) * 3) for ms in (100.0, 106.0, 102.0)))
    assert unsteady.note == NO_WINNER == "spread over 5 %: no winner"
    result = BenchResult(Device("local"), {}, BenchSettings(), (steady, unsteady))
    assert result.notes == ("model.pte, threads 2: spread over 5 %: no winner",)
    assert row(Timings(0.1, 0.2, (0.1,))).spread is None


def test_cold_times_are_medians_of_the_repeats() -> None:
    timed = row(*(Timings(load, 2 * load, (0.01,)) for load in (0.5, 0.1, 0.2)))
    assert timed.cold_load_ms == pytest.approx(200)
    assert timed.cold_first_ms == pytest.approx(400)


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"threads": ()}, BadSetting, "at least one"),
        ({"threads": (1, 1)}, BadSetting, "once each"),
        ({"threads": (0,)}, BadSetting, "not 0"),
        ({"threads": (1, 4097)}, BadSetting, "threads at once, not 4097"),
        ({"runs": 0}, BadSetting, "at least 1"),
        ({"repeat": 0}, BadSetting, "at least 1"),
        ({"warmup": -1}, BadSetting, "at least 0"),
        ({"min_secs": 5.0, "max_secs": 1.0}, BadSetting, r"minimum time \(5 s\)"),
        ({"max_secs": float("nan")}, BadSetting, "minimum time"),
        ({"max_secs": 0.0}, BadSetting, "minimum time"),
        ({"files": []}, BadSetting, "at least one file"),
        ({"hashes": []}, BadSetting, "a hash for each"),
        ({"files": [Path("model.bin")]}, UnknownEngine, "none of the suffixes"),
        ({"device": "emulated:cortex-a77", "threads": (1, 2)}, BadSetting, "counts on one thread"),
        ({"device": "moon"}, UnknownDevice, "no device 'moon'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    kind: type[RuntimesError],
    sentence: str,
) -> None:
    monkeypatch.setattr(subject, "meter", None)
    monkeypatch.setattr(subject, "prepare", lambda _: None)
    asked = {"files": [Path("model.onnx")], "inputs": [()], "hashes": ["0" * 64], **FAST, **change}
    with pytest.raises(kind, match=sentence) as caught:
        bench(**asked)
    assert caught.value.exit_code == 2


def test_what_a_journal_has_is_not_measured_again(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, hashes = [tiny.files["onnxruntime"]], ["h"]
    settings = BenchSettings(
        (1,), FAST["warmup"], FAST["runs"], FAST["min_secs"], FAST["max_secs"], 2
    )
    journal = subject.journal_of(
        tmp_path / "r.json", Device("local"), settings, hashes, [tiny.inputs], None
    )
    other = [[array + 1 for array in tiny.inputs]]
    whole = bench(files, [tiny.inputs], hashes, repeat=2, journal=journal, **FAST)
    lines = journal.path.read_text().splitlines()
    assert len(lines) == 3
    journal.path.write_text("\n".join(lines[:2]) + "\n")  # broken off in the second repeat
    resumed = bench(files, [tiny.inputs], hashes, repeat=2, journal=journal, resume=True, **FAST)
    assert resumed.rows[0].repeats[0] == whole.rows[0].repeats[0]
    assert resumed.rows[0].repeats[1] != whole.rows[0].repeats[1]
    monkeypatch.setattr(subject, "Job", lambda *_: pytest.fail("it was measured again"))
    again = bench(files, [tiny.inputs], hashes, repeat=2, journal=journal, resume=True, **FAST)
    assert again.rows == resumed.rows
    for given, engine in ((other, None), ([tiny.inputs], "onnxruntime")):
        changed = subject.journal_of(
            tmp_path / "r.json", Device("local"), settings, hashes, given, engine
        )
        with pytest.raises(BadSetting, match="other files, settings or another device"):
            changed.known()


def test_what_a_device_does_not_tell_is_not_called_valid() -> None:
    timings = Timings(0.1, 0.2, (0.1,))
    silent = row(timings)
    assert silent.validity == {
        "enough_samples": True,
        "cool_enough": None,
        "clocks_unchanged": None,
        "outputs_right": None,
    }
    phone: dict[str, object] = {"temperature_c": 36.0, "battery_level": 80, "most_mhz": [2000.0]}
    flags = (FEW_SAMPLES, TOO_WARM, CLOCKS_MOVED)
    told = replace(silent, states=((phone, phone),), outputs_right=True)
    assert set(told.validity.values()) == {True}
    assert list(replace(told, flags=flags).validity.values()) == [False, False, False, True]
    board: dict[str, object] = {"temperature_c": 60.0, "battery_level": None, "most_mhz": [1500.0]}
    assert replace(told, states=((board, board),)).validity["cool_enough"] is None


def test_a_quick_look_says_so() -> None:
    quick = BenchResult(
        Device("local"), {}, BenchSettings(mode="quick"), (row(Timings(0, 0, (0.1,))),)
    )
    assert quick.notes == ("--mode quick: a first look, no ground for a comparison",)
    assert BenchResult(Device("local"), {}, BenchSettings(), ()).notes == ()


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("litert", "local", "only ONNX Runtime has a profile"),
        ("onnxruntime", "emulated:cortex-a77", "its hottest blocks are counted"),
    ],
)
def test_a_profile_that_nobody_has_is_refused(
    tiny: Any, engine: str, device: str, message: str
) -> None:
    path = tiny.files[engine]
    with pytest.raises(BadSetting, match=message) as caught:
        bench([path], [tiny.inputs], ["0" * 64], profile=True, device=device, **FAST)
    assert caught.value.next.startswith("edgevit bench BUNDLE")


def test_a_profile_is_a_part_of_its_row(tiny: Any) -> None:
    files = [tiny.files["onnxruntime"], tiny.files["litert"]]
    result = bench(files, [tiny.inputs] * 2, ["0" * 64] * 2, profile=True, **FAST)
    onnx, litert = result.to_json()["rows"]  # type: ignore[misc]
    assert onnx["profile"][0]["share"] > 0
    assert litert["profile"] is None
    assert (onnx["kleidiai"], litert["kleidiai"]) == ("on", "as built")
