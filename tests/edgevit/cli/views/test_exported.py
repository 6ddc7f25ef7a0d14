"""What is printed of a bundle that was just made."""

import json

from edgevit.cli.views.exported import exported_summary, exported_table, next_step, print_exported
from edgevit.deployment.export import Exported
from edgevit.deployment.speeds import Speed

SPEED = Speed("model.onnx", "w8a8", 1.5, 1.25, 1.75, 20, "x86_64")


def test_a_summary_has_the_speed_of_each_file(host_bundle):
    summary = exported_summary(Exported(host_bundle, (SPEED,)))
    assert json.loads(json.dumps(summary)) == summary
    speeds = {file["format"]: file["speed_to_fp32"] for file in summary["files"]}
    assert speeds.pop("onnx")["ratio"] == 1.5
    assert set(speeds.values()) == {None}


def test_a_table_has_a_column_of_speeds_where_one_was_measured(host_bundle):
    columns, rows = exported_table(Exported(host_bundle, (SPEED,)))
    assert columns[-1] == "speed to fp32, here"
    cells = {row[0]: row[-1] for row in rows}
    assert cells.pop("model.onnx") == "1.50 (1.25 to 1.75)"
    assert set(cells.values()) == {"-"}
    plain, rows = exported_table(Exported(host_bundle, ()))
    assert plain == columns[:-1]
    assert {len(row) for row in rows} == {len(plain)}


def test_every_bundle_is_printed(host_bundle, capsys):
    made = [Exported(host_bundle, ())] * 2
    print_exported(made, as_json=True)
    assert [bundle["model"] for bundle in json.loads(capsys.readouterr().out)] == [
        "topformer-t"
    ] * 2
    print_exported(made, as_json=False, explain=True)
    text = capsys.readouterr().out
    assert text.count("pass\tstage\tformat") == 2
    assert text.count("model.onnx") == 2
    assert "fold-batch-norms" in text


def test_the_next_step_is_to_run_what_runs_here(host_bundle):
    step = next_step(Exported(host_bundle, ()))
    assert step == f"edgevit run {host_bundle.path} PHOTO.jpg -o results"
