"""Sensitivity as rows and JSON."""

import json

from edgevit.cli.views.sensitivity import (
    COLUMNS,
    sensitivity_columns,
    sensitivity_facts,
    sensitivity_rows,
)
from edgevit.quantize.blocks import Block
from edgevit.quantize.sensitivity import Point, Row, Sensitivity

FOUND = Sensitivity(
    "top-1",
    0.8,
    (
        Row(Block("head", ("head",), 10), 31.0, 0.7),
        Row(Block("blocks.0", ("blocks.0.fc1", "blocks.0.fc2"), 90), 25.0, 0.6),
    ),
    (
        Point((), 0.45, 24.0, 0.6, True),
        Point(("blocks.0",), 0.945, 31.0, 0.7, True),
        Point(("blocks.0", "head"), 1.0, 130.0, 0.8, False),
    ),
    measured_costs=False,
)


def test_rows_are_the_blocks_worst_first_and_then_the_mixtures():
    rows = sensitivity_rows(FOUND)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert sensitivity_columns(FOUND)[4] == "top-1"
    assert [row[1] for row in rows[:2]] == ["blocks.0", "head"]
    # 90 % of the products at 0.45 of their time.
    assert rows[0][2:5] == ["0.505", "25.0 dB", "0.6000"]
    assert [row[0] for row in rows[2:]] == ["all", "all but 1", "all but 2"]
    assert [row[-1] for row in rows] == ["-", "-", "yes", "yes", "no"]


def test_json_carries_what_keep_float_takes():
    told = sensitivity_facts(FOUND)
    assert json.loads(json.dumps(told)) == told
    assert told["costs"] == "modelled by MACs"
    assert told["mixtures"][1]["keep_float"] == ["blocks.0"]
    assert told["blocks"][1]["layers"] == ["blocks.0.fc1", "blocks.0.fc2"]
