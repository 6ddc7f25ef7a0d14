"""The C core on ARM: the generator of its masks, and that the page tells what the records hold."""

import json

import numpy as np

from benchmarks.core_on_arm import CLASSES, RECORDS, ROOT, scene150
from tests.support.maps import piecewise_smooth


def test_a_scene_among_150_classes_keeps_its_winners() -> None:
    logits = piecewise_smooth(10, 56)
    placed = scene150(logits, 3)
    assert placed.shape == (CLASSES, 56, 56)
    channels = np.random.default_rng(3).permutation(CLASSES)[:10]
    assert np.array_equal(placed[channels], logits)
    assert np.array_equal(placed.argmax(0), channels[logits.argmax(0)])
    below = placed.max(0) - np.delete(placed, channels, axis=0)
    assert below.min() > 3.999
    assert below.max() < 8.001
    assert np.array_equal(placed, scene150(logits, 3))
    assert not np.array_equal(placed, scene150(logits, 4))


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
