import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevit.cli.views.compare import COLUMNS, comparison_facts, comparison_rows
from edgevit.errors import UsageError
from edgevit.measure import results
from edgevit.measure.compare import compare_results, parse_share

Write = Callable[..., Path]


def timed(factor: float = 1.0, spread: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """A row of three repeats of 40 samples around 10 ms; `spread` moves the last repeat."""
    rng = np.random.default_rng(seed)
    repeats = [
        {"samples_s": (0.01 * factor * (1 + spread * (i == 2)) * rng.normal(1, 0.01, 40)).tolist()}
        for i in range(3)
    ]
    return {
        "file": "model.onnx",
        "threads": 1,
        "engine": "onnxruntime",
        "versions": {"onnxruntime": "1"},
        "input_sha256": "ab" * 32,
        "states": [],
        "note": None,
        "repeats": repeats,
    }


def counted(*instructions: int) -> dict[str, Any]:
    row = {
        **timed(),
        "file": "model.pte",
        "engine": "executorch",
        "instructions": list(instructions),
    }
    del row["repeats"]
    return row


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, *rows: dict[str, Any], **changes: Any) -> Path:
        result = {
            "schema": 3,
            "kind": "edgevit-bench",
            "device": "local",
            "settings": {"mode": "standard"},
            "machine": {"cpu": "A", "machine": "x86_64", "governor": "performance"},
            "rows": [row for row in rows if "repeats" in row],
            "counted": [row for row in rows if "instructions" in row],
            **changes,
        }
        path = tmp_path / name
        path.write_text(json.dumps(result))
        return path

    return written


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "same"), (1.03, "same"), (1.2, "slower"), (0.8, "faster")]
)
def test_latencies(write: Write, factor: float, verdict: str) -> None:
    comparison = compare_results(write("a", timed()), write("b", timed(factor, seed=1)), 0.05)
    (line,) = comparison.lines
    assert line.verdict == verdict
    assert line.low <= line.ratio <= line.high
    assert line.ratio == pytest.approx(factor, rel=0.01)
    assert line.a == pytest.approx(10, rel=0.01)
    assert comparison.slower == (verdict == "slower")


def test_an_unsteady_measurement_gets_no_verdict(write: Write) -> None:
    comparison = compare_results(
        write("a", timed()), write("b", timed(1.3, spread=0.2, seed=1)), 0.05
    )
    assert comparison.lines[0].verdict == "noisy"
    assert "repeats spread by 20%" in comparison.lines[0].note
    assert not comparison.slower


def test_a_difference_within_the_interval_gets_none(write: Write) -> None:
    """Two repeats that contradict each other: the middle moved, and the interval holds 1."""
    a, b = timed(), timed()
    a["repeats"] = [{"samples_s": [1.0] * 5}, {"samples_s": [1.09] * 4}]
    b["repeats"] = [{"samples_s": [1.09] * 5}, {"samples_s": [1.0] * 4}]
    (line,) = compare_results(write("a", a), write("b", b), 0.085).lines
    assert line.ratio > 1.085
    assert line.low < 1
    assert line.verdict == "noisy"


def test_counts_are_exact(write: Write) -> None:
    one = write("a", counted(1000, 1000), device="emulated:cortex-a77")
    for instructions, verdict in ((1000, "same"), (1060, "slower"), (900, "faster")):
        two = write(
            "b", counted(instructions), device="emulated:cortex-a77", machine={"cpu": "another"}
        )
        (line,) = compare_results(one, two, 0.05).lines
        assert (line.verdict, line.what) == (verdict, "instructions")
        assert line.low == line.ratio == line.high == instructions / 1000


def test_what_only_one_has_is_told(write: Write) -> None:
    other = {**timed(), "threads": 2}
    comparison = compare_results(write("a", timed(), other), write("b", timed()), 0.05)
    assert comparison.alone == ("model.onnx, threads 2",)
    with pytest.raises(UsageError, match="no file in common"):
        compare_results(write("a", other), write("b", timed()), 0.05)


@pytest.mark.parametrize(
    ("changes", "row", "message"),
    [
        ({"device": "adb"}, {}, "the device is local in one and adb in the other"),
        ({"machine": {"cpu": "B", "machine": "x86_64"}}, {}, "the cpu is A in one and B"),
        (
            {"machine": {"cpu": "A", "machine": "x86_64", "governor": "powersave"}},
            {},
            "the governor is performance in one and powersave",
        ),
        ({"settings": {"mode": "sustained"}}, {}, "the mode is standard in one and sustained"),
        ({}, {"input_sha256": "cd" * 32}, "input of model.onnx is abababababab in one"),
        ({}, {"engine": "other"}, "runtime of model.onnx is onnxruntime in one and other"),
        ({}, {"states": [[{"most_mhz": [1800.0]}]]}, "clock regime of model.onnx"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    write: Write, changes: dict[str, Any], row: dict[str, Any], message: str
) -> None:
    one, two = write("a", timed()), write("b", {**timed(), **row}, **changes)
    with pytest.raises(UsageError, match="These two cannot be compared") as caught:
        compare_results(one, two, 0.05)
    assert message in caught.value.message


def test_a_quick_look_is_no_ground(write: Write) -> None:
    quick = {"settings": {"mode": "quick"}}
    with pytest.raises(UsageError, match="--mode quick, which is no ground for a comparison"):
        compare_results(write("a", timed(), **quick), write("b", timed(), **quick), 0.05)


def test_a_switch_of_kernels_is_told(write: Write) -> None:
    on, off = {**timed(), "kleidiai": "on"}, {**timed(seed=1), "kleidiai": "off"}
    (line,) = compare_results(write("a", on), write("b", off), 0.05).lines
    assert line.note == "KleidiAI is on in a and off in b"


def test_clocks_of_one_regime_may_differ_a_little(write: Write) -> None:
    def at(mhz: float) -> dict[str, Any]:
        return {**timed(), "states": [[{"most_mhz": [mhz, None]}, {}]]}

    assert compare_results(write("a", at(2000.0)), write("b", at(2050.0)), 0.05).lines
    with pytest.raises(UsageError, match="clock regime"):
        compare_results(write("a", at(2000.0)), write("b", at(2200.0)), 0.05)


@pytest.mark.parametrize(
    "harm",
    [
        {"repeats": []},
        {"repeats": [{"samples_s": []}]},
        {"repeats": [{"samples_s": [0.0]}]},
        {"repeats": [{"samples_s": [True]}]},
        {"repeats": [{"samples_s": ["fast"]}]},
        {"repeats": [{"samples_s": [float("nan")]}]},
        {"repeats": ["fast"]},
    ],
)
def test_samples_that_are_none_are_refused(write: Write, harm: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"no usable samples of model\.onnx"):
        compare_results(write("a", timed()), write("b", {**timed(), **harm}), 0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no result"),
        ('{"kind": "edgevit-eval"}', "is no result"),
        ('{"kind": "edgevit-bench", "schema": 1}', "has schema 1 of results, and 3 is read"),
        ('{"kind": "edgevit-bench", "schema": 3, "rows": [1]}', "is no whole result"),
    ],
)
def test_files_that_are_no_results_are_refused(
    write: Write, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(UsageError, match=message):
        compare_results(write("a", timed()), tmp_path / "b", 0.05)


def test_files_that_are_not_there_or_too_large_are_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="No such file"):
        compare_results(write("a", timed()), tmp_path / "absent", 0.05)
    monkeypatch.setattr(results, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="more than 10 bytes"):
        compare_results(write("a", timed()), tmp_path / "a", 0.05)


def test_shares() -> None:
    assert parse_share("5%") == parse_share("0.05") == 0.05
    with pytest.raises(UsageError, match="a share such as 5%"):
        parse_share("five")
    with pytest.raises(UsageError, match="between 0 and 100 %"):
        compare_results(Path("a"), Path("b"), parse_share("500%"))


def test_rows_and_facts(write: Write) -> None:
    comparison = compare_results(
        write("a", timed(), counted(2_000_000)), write("b", timed(), counted(2_000_000)), 0.05
    )
    rows = comparison_rows(comparison)
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[1][3:7] == ["2.00 M", "2.00 M", "1.000", "exact"]
    facts = json.loads(json.dumps(comparison_facts(comparison)))
    assert facts["slower"] is False
    assert [file["verdict"] for file in facts["files"]] == ["same", "same"]
