"""Charts of a report as SVG: bars and strips with a label above each, so that they fit a phone."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

WIDTH, ROW, BAR, LABEL = 420, 52, 18, 16  # a phone shows 366 px of it: text stays readable
MOST_DOTS = 400
COLORS = ("#2f6fb3", "#c98a1b", "#7a7a86", "#4d9a6a", "#b35a4a", "#8a62b0", "#a8a8b4", "#5f8f99")


def strips(samples: Mapping[str, Sequence[float]]) -> str:
    """Every sample as a dot on one axis of milliseconds, the median as a line; log where wide."""
    low = min(min(values) for values in samples.values())
    high = max(max(values) for values in samples.values())
    at = _log(low, high) if high > 8 * low else _linear(0, high)
    body = []
    for place, (name, values) in enumerate(samples.items()):
        top = place * ROW
        body.append(_label(name, top))
        shown = values[:: max(1, math.ceil(len(values) / MOST_DOTS))]
        body += [
            f'<circle cx="{at(value):.1f}" cy="{top + LABEL + 4 + (i * 7) % BAR}" r="2"'
            ' fill="var(--mark)" fill-opacity="0.35"/>'
            for i, value in enumerate(shown)
        ]
        middle = float(np.median(values))
        x = at(middle)
        body.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + LABEL}" y2="{top + LABEL + BAR + 8}"'
            ' stroke="var(--ink)" stroke-width="2"/>'
        )
        body.append(_value(f"{middle:.2f} ms", x, top + LABEL + BAR))
    return _svg("Samples in milliseconds", len(samples), body)


def intervals(spans: Mapping[str, tuple[float, float]]) -> str:
    """From and to, in milliseconds, from zero."""
    at = _linear(0, max(high for _, high in spans.values()))
    body = []
    for place, (name, (low, high)) in enumerate(spans.items()):
        top = place * ROW
        x, width = at(low), max(at(high) - at(low), 2)
        body.append(_label(name, top))
        body.append(
            f'<line x1="{at(0):.1f}" x2="{x:.1f}" y1="{top + LABEL + 4 + BAR / 2}"'
            f' y2="{top + LABEL + 4 + BAR / 2}" stroke="var(--line)"/>'
        )
        body.append(
            f'<rect x="{x:.1f}" y="{top + LABEL + 4}" width="{width:.1f}" height="{BAR}"'
            ' fill="var(--band)" stroke="var(--mark)"/>'
        )
        body.append(_value(f"{low:.1f} to {high:.1f} ms", x + width, top + LABEL + BAR))
    return _svg("Estimated intervals in milliseconds", len(spans), body)


def places(points: Mapping[str, tuple[float, float]], below: str) -> str:
    """Points by milliseconds from zero, to the right, and a score, upwards between its ends."""
    most = max(ms for ms, _ in points.values())
    scores = [score for _, score in points.values()]
    low, high = min(scores), max(scores)
    across, height = _linear(0, most), 4 * ROW
    body = [
        f'<line x1="8" x2="{WIDTH - 8}" y1="{height - 20}" y2="{height - 20}"'
        ' stroke="var(--line)"/>',
        f'<text x="8" y="{height - 4}">{html.escape(below)}</text>',
    ]
    for i, (name, (ms, score)) in enumerate(sorted(points.items(), key=lambda p: -p[1][1])):
        x = across(ms)
        y = 16 + (height - 60) * ((high - score) / (high - low) if high > low else 0.5)
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--mark)"/>')
        # Labels of points at one height step down, so that they can be told apart.
        body.append(_value(f"{name}: {score:.4f}", x, int(y) + 4 + 12 * (i % 2)))
    return _svg("Score against milliseconds", 4, body)


def lines(curves: Mapping[str, Sequence[float]]) -> str:
    """Milliseconds over minutes, each curve from zero in a box of its own, on one scale."""
    most = max(max(values) for values in curves.values())
    across = _linear(0, max(len(values) for values in curves.values()) - 1)
    body, height = [], 2 * ROW
    for place, (name, values) in enumerate(curves.items()):
        top, floor = place * height, place * height + height - 12
        high = floor - top - LABEL - 8

        def up(value: float, floor: float = floor, high: float = high) -> float:
            return floor - high * value / most

        body.append(_label(name, top))
        body.append(
            f'<line x1="{across(0):.1f}" x2="{WIDTH - 8}" y1="{floor}" y2="{floor}"'
            ' stroke="var(--line)"/>'
        )
        points = " ".join(f"{across(i):.1f},{up(value):.1f}" for i, value in enumerate(values))
        body.append(
            f'<polyline points="{points}" fill="none" stroke="var(--mark)" stroke-width="2"/>'
        )
        last = across(len(values) - 1)
        told = f"{values[0]:.2f} ms, after {len(values)} minutes {values[-1]:.2f} ms"
        body.append(_value(told, last, up(values[-1]) + LABEL))
    return _svg("Median of each minute in milliseconds", 2 * len(curves), body)


def mix(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Parts of a whole, one bar each, and what the colors mean."""
    kinds = list(dict.fromkeys(kind for parts in shares.values() for kind in parts))
    color = {kind: COLORS[i % len(COLORS)] for i, kind in enumerate(kinds)}
    body = []
    for place, (name, parts) in enumerate(shares.items()):
        top, x = place * ROW, 0.0
        total = sum(parts.values()) or 1.0
        body.append(_label(name, top))
        for kind, value in parts.items():
            width = WIDTH * value / total
            told = html.escape(f"{kind}: {value / total:.1%}")
            body.append(
                f'<rect x="{x:.1f}" y="{top + LABEL + 4}" width="{width:.1f}" height="{BAR}"'
                f' fill="{color[kind]}"><title>{told}</title></rect>'
            )
            x += width
    keys = " ".join(
        f'<span style="white-space:nowrap"><span style="color:{color[kind]}">&#9632;</span>'
        f" {html.escape(kind)}</span>"
        for kind in kinds
    )
    return _svg("Kinds of instructions", len(shares), body) + f"\n<p>{keys}</p>"


class _Axis:
    """From a value to a place between the margins."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._log = log
        self._low = math.log(low) if log else low
        span = (math.log(high) if log else high) - self._low
        self._scale = (WIDTH - 16) / span if span > 0 else 0.0

    def __call__(self, value: float) -> float:
        return 8 + ((math.log(value) if self._log else value) - self._low) * self._scale


def _log(low: float, high: float) -> _Axis:
    return _Axis(low, high, log=True)


def _linear(low: float, high: float) -> _Axis:
    return _Axis(low, high, log=False)


def _label(name: str, top: float) -> str:
    return f'<text x="0" y="{top + LABEL - 3}">{html.escape(name[:80])}</text>'


def _value(text: str, x: float, y: float) -> str:
    """Beside its place, on the side that has room."""
    left = x > WIDTH * 0.7
    anchor, place = ("end", x - 6) if left else ("start", x + 6)
    return f'<text x="{place:.1f}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _svg(title: str, rows: int, body: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {rows * ROW}" role="img" aria-label="{html.escape(title)}">\n'
        + "\n".join(body)
        + "\n</svg>"
    )
