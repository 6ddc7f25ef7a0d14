"""A bundle as rows and as plain data."""

import json

from edgevit.parity import Verification
from edgevit.summary import (
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
    assert {len(row) for row in rows} == {5}
    assert rows[0][1].endswith(" MB")
    assert [row[0] for row in pass_rows(host_bundle)] == [
        entry.name for entry in host_bundle.manifest.passes
    ]
    assert {row[2] for row in pass_rows(host_bundle)} >= {"all", "onnx", "executorch"}


def test_cells():
    assert verification_cells(EXECUTED) == ["executed", "1.5e-06", "99.951%"]
    bare = Verification("executed", "", difference=0.0, absolute=0.0, cosine=1.0)
    assert verification_cells(bare) == ["executed", "0.0e+00", "-"]
    skipped = Verification("not verified", "skipped by --no-verify")
    assert verification_cells(skipped) == ["not verified: skipped by --no-verify", "-", "-"]


def test_a_verification_as_data():
    found = verification_summary(EXECUTED)
    assert found["mask_agreement"] == 0.99951
    assert found["runtime"] == {"onnxruntime": "1.31.1"}
    assert json.loads(json.dumps(found)) == found
