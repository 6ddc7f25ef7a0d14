import json
from pathlib import Path

import pytest

from edgevit.cli import main


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["compare", *words])
    return int(left.value.code or 0)


def result(path: Path, seconds: float) -> Path:
    row = {
        "file": "model.onnx",
        "threads": 1,
        "engine": "onnxruntime",
        "versions": {},
        "input_sha256": "",
        "repeats": [{"samples_s": [seconds, seconds * 1.01]}, {"samples_s": [seconds]}],
    }
    whole = {"schema": 3, "kind": "edgevit-bench", "device": "local", "machine": {}, "counted": []}
    path.write_text(json.dumps({**whole, "rows": [row]}))
    return path


@pytest.fixture
def results(tmp_path: Path) -> tuple[str, str]:
    return str(result(tmp_path / "a.json", 0.01)), str(result(tmp_path / "b.json", 0.012))


def test_a_regression_is_code_1(
    results: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*results) == 1
    told = capsys.readouterr()
    assert "slower" in told.out
    assert "Traceback" not in told.err


def test_a_wider_share_lets_it_pass(
    results: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*results, "--fail-on", "30%", "--json") == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["files"][0]["verdict"] == "same"
    assert facts["tolerance"] == 0.3
    assert "nothing got slower by more than 30 %" in told.err


def test_what_is_no_result_is_code_2(
    results: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results[0], "absent.json") == 2
    assert "Next: edgevit bench BUNDLE -o absent.json" in capsys.readouterr().err
