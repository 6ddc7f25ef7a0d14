"""report: results of `bench` as one page that needs nothing else, for a browser or a phone."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevit.errors import UsageError
from edgevit.measure.charts import intervals, lines, mix, places, strips
from edgevit.measure.results import numbers, read_result

MOST_RESULTS = 32
MOST_ROWS = 200

STYLE = """
:root { color-scheme: light dark; --ink: #18181c; --dim: #62626c; --paper: #fcfcfc; --line: #d8d8de;
  --mark: #2f6fb3; --band: #b9d3ee; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --dim: #a0a0ac; --paper: #17171a;
  --line: #3a3a42; --mark: #7fb2e6; --band: #2c4a6b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.note { color: var(--dim); } b.warn { color: #b3421f; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; }
th, td { text-align: left; padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 100%; max-width: 34rem; height: auto; display: block; }
svg text { fill: var(--ink); font-size: 12px; }
code { overflow-wrap: anywhere; }
"""


def report(paths: Sequence[Path]) -> str:
    """The page of some results, in their order; raises `UsageError` on files that are none.

    Nothing in it is loaded from elsewhere, and nothing of a result is taken for markup.
    """
    if not 1 <= len(paths) <= MOST_RESULTS:
        raise UsageError(f"A report is of 1 to {MOST_RESULTS} results, not of {len(paths)}.")
    parts = []
    for path in paths:
        result = read_result(path)
        if len(result["rows"]) + len(result["counted"]) > MOST_ROWS:
            raise UsageError(f"{path} has more than {MOST_ROWS} rows.")
        parts.append(_section(path.name, result))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>edgevit: measured and counted</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<h1>edgevit: measured and counted</h1>\n"
        '<p class="note">Times are of the file alone: no preprocessing, and nothing after its own'
        " outputs. Every file was first compared with the network's outputs on its device.</p>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _section(name: str, result: Mapping[str, Any]) -> str:
    machine = result.get("machine")
    facts = machine if isinstance(machine, dict) else {}
    where = facts.get("cpu") or facts.get("model") or facts.get("machine") or "unknown"
    lines = [f"<h2>{_text(result.get('device'))}: {_text(name)}</h2>"]
    if result["rows"]:
        lines += [f'<p class="note">Measured on {_text(where)}.</p>', *_measured(result["rows"])]
    if result["counted"]:
        lines += _counted(result["counted"])
    notes = result.get("notes")
    for note in notes if isinstance(notes, list) else ():
        lines.append(f'<p><b class="warn">Note.</b> {_text(note)}</p>')
    return "\n".join(lines)


def _measured(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    samples = {
        _label(row): [
            1e3 * float(value)
            for repeat in _list(row, "repeats")
            for value in numbers(repeat, "samples_s", _label(row))
        ]
        for row in rows
    }
    head = ("file", "threads", "runtime", "load", "first", "p10", "p50", "p90", "p99", "remark")
    cells = []
    for row in rows:
        warm = row.get("warm_ms")
        warm = warm if isinstance(warm, dict) else {}
        cells.append(
            (
                _text(row.get("file")),
                _number(row.get("threads"), 0),
                _text(row.get("engine")),
                _number(row.get("cold_load_ms"), 1),
                _number(row.get("cold_first_ms"), 1),
                *(_number(warm.get(p), 2) for p in ("p10", "p50", "p90", "p99")),
                _text(row.get("note") or ""),
            )
        )
    yield "<h3>Milliseconds</h3>"
    yield _table(head, cells)
    yield "<h3>Every sample, and the middle of each file</h3>"
    yield strips(samples)
    middles = {_label(row): float(np.median(samples[_label(row)])) for row in rows}
    yield from _scores(rows, middles, "measured, ms")
    for row in rows:
        if operations := [one for one in _list(row, "profile") if isinstance(one, dict)]:
            yield f"<h3>Slowest operations of {_text(_label(row))}, profiled</h3>"
            yield _operations(operations)
    curves = {}
    for row in rows:
        for place, repeat in enumerate(_list(row, "repeats")):
            if isinstance(repeat, dict) and len(_list(repeat, "minutes_p50_ms")) > 1:
                name = _label(row) + (f", repeat {place + 1}" if place else "")
                curves[name] = numbers(repeat, "minutes_p50_ms", name).tolist()
    if curves:
        yield "<h3>Sustained: the median of each minute</h3>"
        yield lines(curves)


def _counted(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield '<p class="note">Counted under emulation: one warm run, on one thread.</p>'
    cells = []
    for row in rows:
        count = numbers(row, "instructions", _label(row))[0]
        cells.append((_text(row.get("file")), _text(row.get("engine")), f"{count / 1e6:.2f}"))
    yield _table(("file", "runtime", "million instructions"), cells)
    kinds = {_label(row): row["kinds"] for row in rows if isinstance(row.get("kinds"), dict)}
    if kinds:
        yield "<h3>Kinds of instructions</h3>"
        yield mix({name: _counts(name, parts) for name, parts in kinds.items()})
    priced = [row for row in rows if isinstance(row.get("estimate"), dict)]
    spans = {}
    for row in priced:
        span = row["estimate"].get("interval_ms")
        if isinstance(span, list) and len(span) == 2:
            low, high = numbers(row["estimate"], "interval_ms", _label(row))
            spans[_label(row)] = float(low), float(high)
    if spans:
        model = _text(priced[0]["estimate"].get("model"))
        yield "<h3>Estimated milliseconds</h3>"
        yield (
            f'<p class="note"><b>An estimate, not a measurement</b>: {model},'
            f" {_number(priced[0]['estimate'].get('clock_ghz'), 2)} GHz. From all memory hidden"
            " behind computing to none.</p>"
        )
        yield intervals(spans)
        yield from _scores(rows, {name: low for name, (low, _) in spans.items()}, "estimated, ms")
    for row in priced:
        yield f"<h3>Hottest blocks of {_text(row.get('file'))}, estimated</h3>"
        yield _hottest(row["estimate"])


def _scores(
    rows: Sequence[Mapping[str, Any]], times: Mapping[str, float], below: str
) -> Iterable[str]:
    """Accuracy against latency, a chart a metric; the files that have both."""
    by_metric: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows:
        told = row.get("accuracy")
        value = told.get("value") if isinstance(told, dict) else None
        if not isinstance(told, dict) or _label(row) not in times or type(value) is not float:
            continue
        if math.isfinite(value):
            points = by_metric.setdefault(str(told.get("metric")), {})
            points[_label(row)] = times[_label(row)], value
    for metric, points in by_metric.items():
        yield f"<h3>{_text(metric)} against latency</h3>"
        yield places(points, below)


def _operations(operations: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (
            f"<code>{_text(one.get('name'))}</code>",
            _text(one.get("kind")),
            _number(one.get("ms"), 3),
            _number(one.get("share"), 3),
        )
        for one in operations[:10]
    ]
    return _table(("operation", "kind", "ms", "share"), cells)


def _hottest(estimate: Mapping[str, Any]) -> str:
    blocks = [block for block in _list(estimate, "hottest") if isinstance(block, dict)]
    cells = [
        (
            _text(block.get("library") or "-"),
            f"<code>{_text(block.get('symbol') or block.get('address'))}</code>",
            _number(block.get("share"), 3),
        )
        for block in blocks[:10]
    ]
    return _table(("library", "kernel", "share of cycles"), cells)


def _counts(name: str, parts: Mapping[str, Any]) -> dict[str, float]:
    values = {str(kind): value for kind, value in parts.items()}
    if len(values) > 16 or not all(type(value) is int and value >= 0 for value in values.values()):
        raise UsageError(f"The result's kinds of instructions of {name} are no counts.")
    return {kind: float(value) for kind, value in values.items()}


def _label(row: Mapping[str, Any]) -> str:
    threads = row.get("threads", 1)
    return f"{row.get('file')}" + (f", {threads} threads" if threads != 1 else "")


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    return value if isinstance(value, list) else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are markup already; what looks like a number stands to the right."""
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    for row in rows:
        cells = (
            f'<td class="n">{cell}</td>' if cell[:1].isdigit() else f"<td>{cell}</td>"
            for cell in row
        )
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _text(value: object) -> str:
    return html.escape(str(value)[:200])


def _number(value: object, digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:.{digits}f}"
