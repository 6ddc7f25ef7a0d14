from pathlib import Path

import pytest

from edgevit.cli import main
from tests.edgevit.measure.test_report import measured, written


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["report", *words])
    return int(left.value.code or 0)


def test_a_page_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, page = written(tmp_path / "r.json", [measured()], []), tmp_path / "page.html"
    assert run(str(result), "-o", str(page)) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert run(str(result), "-o", str(page)) == 2
    assert "--force" in capsys.readouterr().err
    assert run(str(result), "-o", str(page), "--force") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "r.json"]


def test_what_is_no_result_leaves_no_page(tmp_path: Path) -> None:
    assert run(str(tmp_path / "absent.json"), "-o", str(tmp_path / "page.html")) == 2
    assert list(tmp_path.iterdir()) == []
