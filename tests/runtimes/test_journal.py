import json
from pathlib import Path

import pytest

from edgevit_runtimes import journal as module
from edgevit_runtimes.errors import BadSetting, DeviceFailed
from edgevit_runtimes.journal import Journal
from edgevit_runtimes.meters import Repeat
from edgevit_runtimes.timing import Timings

HEAD = {"device": "local", "sha256": ["a"], "settings": {"threads": (1, 2)}}
ONE = Repeat(0.5, Timings(0.1, 0.2, (0.01, 0.02)))
TWO = Repeat(None, Timings(0.3, 0.4, (0.03,)), ("warm",), ({"cores": 4}, {}), 99)


def test_what_was_added_is_known_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.jsonl", HEAD)
    journal.begin()
    journal.add((0, 1, 0), ONE)
    journal.add((1, 2, 3), TWO)
    assert journal.known() == {(0, 1, 0): ONE, (1, 2, 3): TWO}
    with (tmp_path / "r.jsonl").open("a") as stream:
        stream.write('{"file": 0, "threads": 1, "tu')  # the power went
    assert len(journal.known()) == 2
    journal.end()
    assert list(tmp_path.iterdir()) == []


def test_another_measurement_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.jsonl", HEAD)
    with pytest.raises(BadSetting, match="nothing to go on with"):
        journal.known()
    journal.begin()
    for other in ({"device": "adb"}, {"sha256": ["b"]}, {"settings": {}}):
        with pytest.raises(BadSetting, match="other files, settings or another device"):
            Journal(journal.path, {**HEAD, **other}).known()
    journal.path.write_text("")
    with pytest.raises(BadSetting, match="other files, settings"):
        journal.known()


@pytest.mark.parametrize(
    "harm", [{"samples_s": "many"}, {"file": None}, {"load_s": []}, {"turn": {}}]
)
def test_a_line_that_is_no_repeat_counts_as_none(tmp_path: Path, harm: dict[str, object]) -> None:
    journal = Journal(tmp_path / "r.jsonl", HEAD)
    journal.begin()
    journal.add((0, 1, 0), ONE)
    head, line = journal.path.read_text().splitlines()
    journal.path.write_text(f"{head}\n{json.dumps(json.loads(line) | harm)}\n[]\n{{\n")
    assert journal.known() == {}


def test_limits_of_the_disk_and_of_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "absent" / "r.jsonl", HEAD)
    with pytest.raises(DeviceFailed, match="cannot be written: No such file"):
        journal.begin()
    journal = Journal(tmp_path / "r.jsonl", HEAD)
    journal.begin()
    monkeypatch.setattr(module, "MOST_BYTES", 3)
    with pytest.raises(BadSetting, match="more than 3 bytes"):
        journal.known()
