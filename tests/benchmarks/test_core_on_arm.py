"""The C core on ARM: the page tells what the records hold, and its targets are reached."""

import json

from benchmarks.core_on_arm import RECORDS, ROOT


def test_the_page_tells_what_the_records_hold() -> None:
    text = (ROOT / "docs" / "arm-estimates.md").read_text("utf-8")
    for name, row in json.loads(RECORDS.read_text("utf-8"))["rows"].items():
        low, high = row["interval_ms"]
        line = f"| {name} | {row['instructions'] / 1e6:.2f} | {low:.2f} to {high:.2f} |"
        assert line in text, line


def test_the_exact_mask_of_noise_is_no_slower_than_the_plain_way() -> None:
    """A count, not a time: noise leaves the fewest classes out."""
    rows = json.loads(RECORDS.read_text("utf-8"))["rows"]
    for layout in ("nchw", "nhwc"):
        exact, plain = rows[f"exact mask, noise, {layout}"], rows[f"plain mask, {layout}"]
        assert exact["instructions"] < plain["instructions"]


def test_the_records_reach_what_was_asked() -> None:
    """Estimates on a Cortex-A77 at 2.84 GHz, in ms, of computing alone."""
    rows = json.loads(RECORDS.read_text("utf-8"))["rows"]
    asked = {"input": 1.5, "exact mask, scene150": 1.5, "exact mask, noise": 30.0, "overlay": 1.0}
    for start, most in asked.items():
        found = [row["compute_ms"] for name, row in rows.items() if name.startswith(start)]
        assert found, start
        assert max(found) <= most, start
