"""The page of a report: whole, of one file, and nothing of a result is markup in it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.measure import report as module
from edgevit.measure.report import report

VOID = {"meta"}


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects what a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        for name, value in attributes:
            assert name not in ("src", "href", "onload", "onclick"), (tag, name, value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def measured(name: str = "model.onnx", threads: int = 1) -> dict[str, Any]:
    samples = np.random.default_rng(len(name)).normal(0.012, 0.001, 60).tolist()
    return {
        "file": name,
        "threads": threads,
        "engine": "onnxruntime",
        "cold_load_ms": 51.25,
        "cold_first_ms": 20.0,
        "warm_ms": {"p10": 11.0, "p50": 12.0, "p90": 13.0, "p99": 14.0},
        "note": None,
        "repeats": [{"samples_s": samples[:30]}, {"samples_s": samples[30:]}],
    }


def counted(name: str = "model.pte") -> dict[str, Any]:
    return {
        "file": name,
        "engine": "executorch",
        "instructions": [175_270_000, 175_270_000],
        "kinds": {"vector float": 100, "load": 40, "scalar": 35},
        "estimate": {
            "model": "llvm-mca 19.1.7, neoverse-n1",
            "clock_ghz": 2.84,
            "interval_ms": [25.1, 35.8],
            "hottest": [
                {"library": "libxnnpack.so", "symbol": "xnn_f32_gemm", "share": 0.25},
                {"library": None, "symbol": None, "address": "0x10", "share": 0.1},
            ],
        },
    }


def written(path: Path, rows: list[Any], counts: list[Any], **changes: Any) -> Path:
    result = {"schema": 3, "kind": "edgevit-bench", "device": "adb:A1", "machine": {"cpu": "A CPU"}}
    result |= {"rows": rows, "counted": counts, "notes": [], **changes}
    path.write_text(json.dumps(result))
    return path


@pytest.fixture
def both(tmp_path: Path) -> list[Path]:
    return [
        written(tmp_path / "phone.json", [measured(), measured("model.tflite", 4)], []),
        written(tmp_path / "arm.json", [], [counted()], device="emulated:cortex-a77"),
    ]


def test_a_page_tells_what_was_measured_and_what_was_counted(both: list[Path]) -> None:
    page = Page(report(both))
    for word in ("A CPU", "51.2", "model.tflite, 4 threads", "175.27", "xnn_f32_gemm", "0x10"):
        assert word in page.text, word
    assert "An estimate, not a measurement" in page.text
    assert page.text.index("Milliseconds") < page.text.index("Estimated milliseconds")
    assert page.seen.count("svg") == 3  # samples, kinds, intervals
    assert page.seen.count("circle") == 120
    assert "script" not in page.seen


def test_what_ran_for_minutes_has_a_curve(tmp_path: Path) -> None:
    row = measured()
    row["repeats"][0]["minutes_p50_ms"] = [12.0, 12.5, 15.0]
    path = written(tmp_path / "long.json", [row, measured("short.pte")], [])
    text = report([path])
    page = Page(text)
    assert "Sustained: the median of each minute" in page.text
    assert "12.00 ms, after 3 minutes 15.00 ms" in page.text
    assert page.seen.count("polyline") == 1
    (points,) = re.findall(r'<polyline points="([^"]*)"', text)
    x, y = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert list(x) == sorted(x)
    assert list(y) == sorted(y, reverse=True)  # slower is higher, and y grows downwards
    row["repeats"][0]["minutes_p50_ms"] = [12.0, -1]
    with pytest.raises(UsageError, match="no usable samples"):
        report([written(tmp_path / "bad.json", [row], [])])


def test_a_profile_has_a_table(tmp_path: Path) -> None:
    row = measured()
    row["profile"] = [{"name": "conv_1<b>", "kind": "Conv", "ms": 1.25, "share": 0.5}, "none"]
    page = Page(report([written(tmp_path / "r.json", [row], [])]))
    assert "Slowest operations of model.onnx, profiled" in page.text
    assert "conv_1<b> Conv 1.250 0.500" in " ".join(page.text.split())


def test_accuracy_against_latency(tmp_path: Path) -> None:
    rows = [measured("a.onnx"), measured("bb.onnx"), measured("none.onnx")]
    for row, value in zip(rows, (0.81, 0.79), strict=False):
        row["accuracy"] = {"metric": "mIoU", "value": value}
    rows[2]["accuracy"] = {"metric": "mIoU", "value": "high"}
    count = {**counted(), "accuracy": {"metric": "top-1", "value": 0.5}}
    text = report([written(tmp_path / "r.json", rows, [count])])
    page = Page(text)
    assert page.text.count("against latency") == 2
    for word in ("mIoU", "a.onnx: 0.8100", "bb.onnx: 0.7900", "model.pte: 0.5000", "estimated, ms"):
        assert word in page.text, word
    assert "none.onnx:" not in page.text
    assert page.seen.count("circle") == 180 + 3
    ys = [float(y) for y in re.findall(r'<circle cx="[^"]*" cy="([^"]*)" r="4"', text)]
    assert ys[0] < ys[1]  # the better one is higher


def test_nothing_is_loaded_from_elsewhere(both: list[Path]) -> None:
    text = report(both)
    assert not any(
        word in text for word in ("http:", "https:", "url(", "@import", "<script", "<link")
    )


def test_nothing_of_a_result_is_markup(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    row, count = measured(evil), counted(evil)
    row["note"] = row["engine"] = evil
    count["kinds"] = {evil: 3}
    count["estimate"]["model"] = evil
    count["estimate"]["hottest"] = [{"library": evil, "symbol": evil, "share": evil}]
    path = written(
        tmp_path / "r.json", [row], [count], device=evil, machine={"cpu": evil}, notes=[evil]
    )
    assert "script" not in Page(report([path])).seen


def test_many_samples_stay_a_small_page(tmp_path: Path) -> None:
    row = {**measured(), "repeats": [{"samples_s": [0.01] * 50_000}]}
    assert len(report([written(tmp_path / "r.json", [row], [])])) < 120_000


@pytest.mark.parametrize(
    ("rows", "counts", "message"),
    [
        ([{**measured(), "repeats": [{"samples_s": ["x"]}]}], [], "no usable samples"),
        ([{**measured(), "repeats": [{"samples_s": [float("inf")]}]}], [], "no usable samples"),
        ([], [{**counted(), "instructions": [-3]}], "no usable samples"),
        ([], [{**counted(), "kinds": {"load": "many"}}], "are no counts"),
        ([], [{**counted(), "estimate": {"interval_ms": [1, "x"]}}], "no usable samples"),
    ],
)
def test_numbers_that_are_none_are_refused(
    tmp_path: Path, rows: list[Any], counts: list[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        report([written(tmp_path / "r.json", rows, counts)])


def test_missing_parts_leave_gaps(tmp_path: Path) -> None:
    row = {"file": "m", "repeats": [{"samples_s": [0.01]}]}
    count = {"file": "m", "instructions": [5], "estimate": None, "kinds": None}
    page = Page(report([written(tmp_path / "r.json", [row], [count], machine=None, notes=None)]))
    assert "unknown" in page.text


def test_limits(tmp_path: Path, both: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="1 to 32 results, not of 0"):
        report([])
    with pytest.raises(UsageError, match="1 to 32 results, not of 33"):
        report([both[0]] * 33)
    monkeypatch.setattr(module, "MOST_ROWS", 1)
    with pytest.raises(UsageError, match="more than 1 rows"):
        report(both)


def test_it_fits_a_phone(both: list[Path], tmp_path: Path) -> None:
    """In a browser: at 390 pixels nothing but a table's own frame scrolls sideways."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium: not installed here")
    text = report(both).replace(
        "</body>",
        "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth;"
        "</script></body>",
    )
    frame = tmp_path / "frame.html"
    (tmp_path / "page.html").write_text(text)
    frame.write_text(
        '<body style="margin:0"><iframe src="page.html" style="width:390px;height:800px;border:0">'
        "</iframe></body><script>onload = () => setTimeout(() => { document.title = "
        "document.querySelector('iframe').contentDocument.title; }, 300);</script>"
    )
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=3000", "--dump-dom", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"<title>(\d+) of 390</title>", done.stdout)
    assert found, done.stdout[-300:] + done.stderr[-300:]
    assert int(found[1]) <= 390
