"""The report of a file as rows and JSON."""

import json

from edgevit.cli.views.inspect import report_facts, report_rows
from edgevit_export.artifact import TensorSpec
from edgevit_export.readers.report import FileReport, LeftOut

REPORT = FileReport(
    format="executorch",
    size=12_345_678,
    weight_bytes=1_104,
    inputs=(TensorSpec("input_0", (1, -1), "float32"),),
    outputs=(TensorSpec("output_0", (), "int64"),),
    ops={"XNNConv2d": 3, "aten::mean.out": 1},
    delegated_subgraphs=2,
    left_out=(LeftOut("aten::mean.out", 1, "because"),),
    facts={"methods": "forward"},
)


def test_json_is_plain_and_whole():
    assert json.loads(json.dumps(report_facts(REPORT))) == {
        "format": "executorch",
        "bytes": 12_345_678,
        "weight_bytes": 1_104,
        "inputs": [{"name": "input_0", "shape": [1, -1], "dtype": "float32", "layout": "any"}],
        "outputs": [{"name": "output_0", "shape": [], "dtype": "int64", "layout": "any"}],
        "ops": {"XNNConv2d": 3, "aten::mean.out": 1},
        "delegated_subgraphs": 2,
        "left_out": [{"op": "aten::mean.out", "count": 1, "reason": "because"}],
        "facts": {"methods": "forward"},
    }


def test_rows_tell_everything_in_order():
    assert report_rows(REPORT) == [
        ("file", "format", "executorch"),
        ("file", "size", "12.35 MB"),
        ("file", "weights", "1.10 kB"),
        ("file", "methods", "forward"),
        ("input", "input_0", "float32 1 x ?"),
        ("output", "output_0", "int64 scalar"),
        ("delegate", "subgraphs", "2"),
        ("left out", "1 x aten::mean.out", "because"),
        ("operations", "XNNConv2d", "3"),
        ("operations", "aten::mean.out", "1"),
    ]
