"""Where a stopped evaluation is kept."""

import json

import pytest

from edgevit.evaluation import resume
from edgevit.evaluation.resume import Kept, Resume, key_of, state_path


def written(**change):
    return {"version": 1, "key": "key", "done": 3, "left_out": 1, "states": {}, **change}


def test_it_lies_beside_the_bundle_and_never_in_it(tmp_path):
    key = key_of("a", 1)
    path = state_path(tmp_path / "out", key)
    assert path == tmp_path / f".out.eval-{key[:12]}.json"
    assert key_of("a", 2) != key == key_of("a", 1)


def test_what_is_saved_is_loaded_and_removed(tmp_path):
    kept = Resume(tmp_path / "s.json", "key")
    assert kept.load() == (None, "")
    kept.save(Kept(3, {"a": {"hits": 1}}, 2))
    assert kept.load() == (Kept(3, {"a": {"hits": 1}}, 2), "")
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    kept.save_sometimes(Kept(4, {}))
    assert kept.load()[0].done == 3  # not yet
    kept.remove()
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_of_ours_is_told(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    assert "damaged" in Resume(tmp_path / "d", "key").load()[1]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(written()))
    assert Resume(path, "key").load()[0] is not None
    monkeypatch.setattr(resume, "MOST_BYTES", 10)
    assert "damaged" in Resume(path, "key").load()[1]


@pytest.mark.parametrize(
    "change",
    [
        *({"done": done} for done in (0, -1, True, 1.5, None)),
        *({"left_out": count} for count in (-1, 4, True, None)),
        {"states": []},
    ],
)
def test_counts_are_checked(change, tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(written(**change)))
    assert "damaged" in Resume(path, "key").load()[1]
