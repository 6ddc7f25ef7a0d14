"""A bundle as rows and as plain data."""

import json
from dataclasses import replace

from edgevit.bundle.manifest import Accuracy, with_accuracy
from edgevit.bundle.parity import Verification
from edgevit.cli.views.bundles import (
    FILE_COLUMNS,
    accuracy_cell,
    bundle_summary,
    file_rows,
    pass_rows,
    verification_cells,
    verification_summary,
)

EXECUTED = Verification(
    "executed",
    "",
    difference=1.5e-6,
    absolute=2e-6,
    cosine=1.0,
    agreement=0.99951,
    cases=3,
    runtime=(("onnxruntime", "1.31.1"),),
)


def test_a_summary_is_plain_data(host_bundle):
    summary = bundle_summary(host_bundle)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["model"] == "topformer-t"
    assert [file["format"] for file in summary["files"]] == [
        file.format for file in host_bundle.manifest.files
    ]
    assert summary["files"][0]["path"] == str(host_bundle.path / "model.onnx")
    assert summary["files"][0]["sha256"] == host_bundle.manifest.files[0].sha256


def test_a_row_a_file_and_a_rewrite(host_bundle):
    rows = file_rows(host_bundle)
    assert [row[0] for row in rows] == [file.path for file in host_bundle.manifest.files]
    assert {len(row) for row in rows} == {len(FILE_COLUMNS)}
    assert rows[0][1:3] == ["fp32", f"{host_bundle.manifest.files[0].size / 1e6:.2f} MB"]
    assert [row[0] for row in pass_rows(host_bundle)] == [
        entry.name for entry in host_bundle.manifest.passes
    ]
    assert {row[2] for row in pass_rows(host_bundle)} >= {"all", "onnx"}


def test_cells():
    assert verification_cells(EXECUTED) == ["executed", "1.5e-06", "-", "99.951%"]
    bare = Verification("executed", "", difference=0.0, absolute=0.0, cosine=1.0)
    assert verification_cells(bare) == ["executed", "0.0e+00", "-", "-"]
    labels = Verification("executed", "", agreement=0.94, cases=5)
    assert verification_cells(labels) == ["executed", "-", "-", "94.000%"]
    assert verification_summary(labels)["difference"] is None
    skipped = Verification("not verified", "skipped by --no-verify")
    assert verification_cells(skipped) == ["not verified: skipped by --no-verify", "-", "-", "-"]


def test_a_verification_as_data():
    found = verification_summary(EXECUTED)
    assert found["mask_agreement"] == 0.99951
    assert found["runtime"] == {"onnxruntime": "1.31.1"}
    assert json.loads(json.dumps(found)) == found


def test_what_was_measured_is_shown(host_bundle):
    assert {row[-1] for row in file_rows(host_bundle)} == {"not measured"}
    assert bundle_summary(host_bundle)["accuracy"] == "not measured"
    found = {
        "model.onnx": Accuracy("mIoU", 0.5, 0.51, 20, "drawn scenes 1-20", True),
        "model.pte": Accuracy("mIoU", 0.5, None, 20, "drawn scenes 1-20", True),
    }
    bundle = replace(host_bundle, manifest=with_accuracy(host_bundle.manifest, found))
    cells = [accuracy_cell(file) for file in bundle.manifest.files]
    assert cells[:2] == [
        "mIoU 0.5000, fp32 0.5100 (20 of drawn scenes 1-20)",
        "mIoU 0.5000 (20 of drawn scenes 1-20)",
    ]
    assert set(cells[2:]) == {"not measured"}
    summary = bundle_summary(bundle)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["accuracy"] == "measured"
    assert summary["files"][0]["accuracy"][0]["reference"] == 0.51
