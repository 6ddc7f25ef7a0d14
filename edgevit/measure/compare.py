"""compare: whether one measurement of `bench` is slower than another, or cannot be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgevit.errors import UsageError
from edgevit.measure.results import numbers, read_result, unusable

RESAMPLES = 2000
CLOCKS = 0.05  # allowed clocks of two measurements may differ by this share

Verdict = Literal["same", "faster", "slower", "noisy"]
What = Literal["latency", "instructions"]


@dataclass(frozen=True, slots=True)
class Line:
    """One file at one thread count in both results. a, b: milliseconds, or instructions.

    ratio: b / a; low and high: its 95 % interval, which for exact counts is the ratio itself.
    """

    file: str
    threads: int
    what: What
    a: float
    b: float
    ratio: float
    low: float
    high: float
    verdict: Verdict
    note: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two results have in common, and what only one of them has."""

    lines: tuple[Line, ...]
    alone: tuple[str, ...]
    tolerance: float

    @property
    def slower(self) -> bool:
        """Whether anything got slower by more than the tolerance."""
        return any(line.verdict == "slower" for line in self.lines)


def compare_results(a: Path, b: Path, tolerance: float) -> Comparison:
    """Compare two files of `edgevit bench -o`; b is the newer one.

    A file is slower where b takes longer by more than `tolerance` (a share: 0.05) and the whole
    interval of the ratio lies above 1. Where either measurement's own repeats spread by more than
    the tolerance, nothing is said: "noisy". Instructions are exact and compared as they are.

    Raises `UsageError` on files that are no results, and on results that cannot be compared:
    another device, another machine, another input, or other clocks.
    """
    if not 0 < tolerance < 1:
        raise UsageError(
            f"The tolerance is a share between 0 and 100 %, not {tolerance:.3g}.",
            next="--fail-on 5%",
        )
    one, two = read_result(a), read_result(b)
    _check_comparable(one, two)
    lines, seen = [], set()
    for what, name in (("latency", "rows"), ("instructions", "counted")):
        before, after = _by_key(one[name]), _by_key(two[name])
        seen |= {f"{file}, threads {threads}" for file, threads in before.keys() ^ after.keys()}
        for key in (key for key in before if key in after):
            _check_rows(key[0], before[key], after[key])
            line = _timed if what == "latency" else _counted
            lines.append(line(key, before[key], after[key], tolerance))
    if not lines:
        raise UsageError(
            f"{a.name} and {b.name} have no file in common at the same thread count.",
            next=f"edgevit bench BUNDLE -o {b.name}",
        )
    return Comparison(tuple(lines), tuple(sorted(seen)), tolerance)


def parse_share(text: str) -> float:
    """`5%` or `0.05`; raises `UsageError`."""
    number = text.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        raise UsageError(
            f"--fail-on takes a share such as 5%, not {text!r}.", next="--fail-on 5%"
        ) from None
    return value / 100 if text.endswith("%") else value


def _check_comparable(one: Mapping[str, Any], two: Mapping[str, Any]) -> None:
    def told(result: Mapping[str, Any], name: str, part: str = "machine") -> object:
        machine = result.get(part)
        return machine.get(name) if isinstance(machine, dict) else None

    if one.get("device") != two.get("device"):
        raise _incomparable("device", one.get("device"), two.get("device"))
    if str(one.get("device")).startswith("emulated"):
        return  # counts are the same on every machine, and in every mode
    modes = [told(result, "mode", "settings") for result in (one, two)]
    if modes[0] != modes[1]:
        raise _incomparable("mode", *modes)
    if "quick" in modes:
        raise UsageError(
            "These two were measured with --mode quick, which is no ground for a comparison.",
            next="edgevit bench BUNDLE -o AGAIN.json",
        )
    for name in ("cpu", "machine", "model", "cpu_parts", "governor"):
        if told(one, name) != told(two, name):
            raise _incomparable(name, told(one, name), told(two, name))


def _check_rows(file: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    if a.get("engine") != b.get("engine"):
        raise _incomparable(f"runtime of {file}", a.get("engine"), b.get("engine"))
    if a.get("input_sha256") != b.get("input_sha256"):
        raise _incomparable(f"input of {file}", _short(a), _short(b))
    clocks_a, clocks_b = _clocks(a), _clocks(b)
    if len(clocks_a) != len(clocks_b) or any(
        abs(y - x) > CLOCKS * x for x, y in zip(clocks_a, clocks_b, strict=True)
    ):
        raise _incomparable(f"clock regime of {file}", clocks_a, clocks_b)


def _short(row: Mapping[str, Any]) -> str:
    return str(row.get("input_sha256"))[:12] or "unknown"


def _clocks(row: Mapping[str, Any]) -> list[float]:
    """The clocks that the device allowed its cores, before the first repeat."""
    try:
        return [float(mhz) for mhz in row["states"][0][0]["most_mhz"] if mhz is not None]
    except (KeyError, IndexError, TypeError, ValueError):
        return []


def _incomparable(what: str, a: object, b: object) -> UsageError:
    return UsageError(
        f"These two cannot be compared: the {what} is {a} in one and {b} in the other.",
        next="edgevit bench BUNDLE -o AGAIN.json, on the same device as the other",
    )


def _by_key(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    return {(str(row.get("file")), int(row.get("threads", 1))): row for row in rows}


def _counted(
    key: tuple[str, int], a: Mapping[str, Any], b: Mapping[str, Any], tolerance: float
) -> Line:
    before, after = (numbers(row, "instructions", key[0]) for row in (a, b))
    ratio = float(after[0] / before[0])
    noisy = max(_spread(before), _spread(after)) > tolerance
    return Line(
        *key, "instructions", float(before[0]), float(after[0]), ratio, ratio, ratio,
        "noisy" if noisy else _verdict(ratio, ratio, ratio, tolerance), _note(a, b),
    )  # fmt: skip


def _timed(
    key: tuple[str, int], a: Mapping[str, Any], b: Mapping[str, Any], tolerance: float
) -> Line:
    before, after = _repeats(a, key[0]), _repeats(b, key[0])
    medians_a, medians_b = ([float(np.median(r)) for r in row] for row in (before, after))
    middle_a, middle_b = (float(np.median(np.concatenate(row))) for row in (before, after))
    ratio, (low, high) = middle_b / middle_a, _interval(before, after)
    own = max(_spread(np.array(medians_a)), _spread(np.array(medians_b)))
    note = _note(a, b)
    if own > tolerance:
        note = f"repeats spread by {own:.0%}" + (f"; {note}" if note else "")
    verdict: Verdict = "noisy" if own > tolerance else _verdict(ratio, low, high, tolerance)
    return Line(*key, "latency", 1e3 * middle_a, 1e3 * middle_b, ratio, low, high, verdict, note)


def _verdict(ratio: float, low: float, high: float, tolerance: float) -> Verdict:
    if ratio > 1 + tolerance:
        return "slower" if low > 1 else "noisy"
    if ratio < 1 / (1 + tolerance):
        return "faster" if high < 1 else "noisy"
    return "same"


def _interval(
    a: Sequence[np.ndarray[Any, Any]], b: Sequence[np.ndarray[Any, Any]]
) -> tuple[float, float]:
    """The 95 % interval of the ratio of medians: repeats are drawn in pairs, then their samples.

    Percentile bootstrap in two steps (Efron and Tibshirani, 1993, chapters 8 and 13), so that what
    differs from repeat to repeat widens it, and more samples of one repeat do not hide that.
    """
    generator = np.random.default_rng(0)
    count = min(len(a), len(b))
    ratios = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(count, size=count)
        middles = []
        for repeats in (a, b):
            drawn = [generator.choice(repeats[i], size=min(len(repeats[i]), 200)) for i in chosen]
            middles.append(float(np.median(np.concatenate(drawn))))
        ratios.append(middles[1] / middles[0])
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)


def _repeats(row: Mapping[str, Any], file: str) -> list[np.ndarray[Any, Any]]:
    repeats = row.get("repeats")
    if not isinstance(repeats, list) or not repeats:
        raise unusable(file)
    return [numbers(repeat, "samples_s", file) for repeat in repeats]


def _spread(values: np.ndarray[Any, Any]) -> float:
    return float((values.max() - values.min()) / np.median(values))


def _note(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """What else differs, and what the measurements say of themselves."""
    notes = []
    if a.get("versions") != b.get("versions"):
        notes.append("other versions of the runtime")
    if a.get("kleidiai") != b.get("kleidiai"):
        notes.append(f"KleidiAI is {a.get('kleidiai')} in a and {b.get('kleidiai')} in b")
    notes += [f"{name}: {row['note']}" for name, row in (("a", a), ("b", b)) if row.get("note")]
    return "; ".join(notes)
