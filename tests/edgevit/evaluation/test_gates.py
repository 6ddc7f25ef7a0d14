"""The gates are those that we promise, and a verdict is arithmetic."""

import json
import math

import pytest

from edgevit.bundle.manifest import Accuracy
from edgevit.errors import CheckFailed
from edgevit.evaluation.gates import AGREEMENT, GATES, gate_of, judge, require
from edgevit.evaluation.metrics.agreement import AGREEMENTS
from edgevit.evaluation.metrics.labeled import METRICS
from edgevit.request.spec import PRECISIONS

# The share of fp32's score that each task has to keep. To change one is to promise something else.
WANTED = {
    "w8a8": (0.98, 0.97, 0.98, 0.98),
    "mixed": (0.98, 0.97, 0.98, 0.98),
    "w8dyn": (0.99, 0.99, 0.99, 0.99),
    "fp16": (0.995, 0.995, 0.995, 0.995),
    "w8": (0.99, 0.99, 0.99, 0.99),
    "w4": (0.98, 0.97, 0.98, 0.98),
    "p6": (0.98, 0.97, 0.98, 0.98),
    "p4": (0.98, 0.97, 0.98, 0.98),
}


def accuracy(metric="top-1", value=0.5, reference=0.5, labeled=True):
    return Accuracy(metric, value, reference, 10, "some data", labeled)


def test_the_bounds_with_labels():
    assert set(GATES) == set(WANTED)
    for precision, bounds in WANTED.items():
        assert set(GATES[precision]) == set(METRICS), precision
        assert tuple(GATES[precision][metric].bound for metric in METRICS) == bounds, precision


def test_the_bounds_without_labels():
    assert {name: gate.bound for name, gate in AGREEMENT.items()} == {
        "top-1 agreement": 0.97,
        "mIoU agreement": 0.93,
        "keypoint agreement": 0.97,
        "feature cosine": 0.99,
    }
    assert set(AGREEMENT) == set(AGREEMENTS.values())


def test_every_precision_is_decided():
    # int8 resolves to one of the others.
    assert set(GATES) | {"fp32"} == set(PRECISIONS) - {"int8"}
    for metric in (*METRICS, *AGREEMENT):
        assert gate_of("fp32", metric) is None
    assert gate_of("w8a8", "mIoU agreement").bound == 0.93


@pytest.mark.parametrize(
    ("precision", "found", "share", "passed"),
    [
        ("w8a8", accuracy(value=0.49, reference=0.5), 0.98, True),
        ("w8a8", accuracy(value=0.4899, reference=0.5), 0.9798, False),
        ("w8a8", accuracy("mIoU", 0.388, 0.4), 0.97, True),
        ("w8dyn", accuracy(value=0.49, reference=0.5), 0.98, False),
        ("w8dyn", accuracy(value=0.6, reference=0.5), 1.2, True),
        ("w8a8", accuracy(value=0.5, reference=None), None, False),
        ("w8a8", accuracy(value=0.0, reference=0.0), None, False),
        ("fp32", accuracy(value=0.1, reference=0.9), 0.1 / 0.9, True),
        ("fp32", accuracy(value=0.1, reference=None), None, True),
        ("fp16", accuracy(value=0.4975, reference=0.5), 0.995, True),
        ("fp16", accuracy("mIoU", 0.497, 0.5), 0.994, False),
        ("w4", accuracy("keypoint agreement", 0.97, None, False), 0.97, True),
        ("w4", accuracy("keypoint agreement", 0.969, None, False), 0.969, False),
        ("p4", accuracy("feature cosine", -0.5, None, False), -0.5, False),
        ("mixed", accuracy("mIoU agreement", 0.93, None, False), 0.93, True),
    ],
)
def test_a_verdict(precision, found, share, passed):
    verdict = judge(precision, found)
    assert verdict.passed is passed
    assert verdict.share == (None if share is None else pytest.approx(share))
    assert (verdict.bound is None) == (precision == "fp32")
    assert json.loads(json.dumps(verdict.to_json()))["samples"] == 10
    if passed:
        require(verdict, "model.onnx")
    else:
        with pytest.raises(CheckFailed, match=r"^model\.onnx misses its accuracy gate: ") as failed:
            require(verdict, "model.onnx")
        assert failed.value.next == "--accept-accuracy"
        assert "some data" in failed.value.message


def test_a_sentence_says_what_was_measured():
    told = judge("w8a8", accuracy(value=0.48, reference=0.5)).sentence()
    assert (
        told == "top-1 0.4800 (96.00% of fp32's 0.5000) on 10 of some data; at least 98% is asked"
    )
    told = judge("fp16", accuracy(value=0.5, reference=0.5)).sentence()
    assert told.endswith("at least 99.5% is asked")
    told = judge("fp32", accuracy("feature cosine", 0.9, None, False)).sentence()
    assert told == "feature cosine 0.9000 on 10 of some data"


def test_a_score_that_is_no_number_passes_nothing():
    assert not judge("w8a8", accuracy(value=math.nan)).passed
