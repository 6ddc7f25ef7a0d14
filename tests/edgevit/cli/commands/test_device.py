"""`edgevit device setup`, on a machine where pip is a pretense."""

import json
from pathlib import Path

import pytest

from edgevit.cli import main
from edgevit_runtimes.errors import DeviceFailed
from edgevit_runtimes.setup import tflite as setup


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["device", *words])
    return int(left.value.code or 0)


@pytest.fixture
def made(pretended, monkeypatch) -> list[bool]:
    """Calls of setup_tflite, by their `force`; the first makes a pretended environment."""
    calls: list[bool] = []
    absent = Path("absent").absolute()
    monkeypatch.setenv(setup.HOME, str(absent))

    def make(force, report):
        calls.append(force)
        report("download and install")
        place = Path(setup.tflite_home()) if setup.find_tflite() else pretended()
        found = setup.find_tflite()
        assert found is not None
        assert found.path == place
        return found, "made" if force or len(calls) == 1 else "found"

    monkeypatch.setattr(setup, "setup_tflite", make)
    monkeypatch.setattr(setup, "plan_tflite", lambda: "downloading X (1 MB), into PLACE")
    return calls


def test_it_says_what_it_will_download_and_then_what_is_there(made, capsys):
    assert run("setup", "tflite") == 0
    first = capsys.readouterr()
    assert "downloading X (1 MB), into PLACE" in first.err.splitlines()[0]
    assert first.err.splitlines()[-1] == "Next: edgevit verify BUNDLE --runtime tflite-runtime"
    assert "tflite\tmade\ttflite-runtime 2.14.0, numpy 1.26.4" in first.out
    assert run("setup", "tflite") == 0
    again = capsys.readouterr()
    assert "downloading" not in again.err
    assert "tflite\tfound\t" in again.out
    assert run("setup", "tflite", "--force", "-q") == 0
    assert capsys.readouterr().err == ""
    assert made == [False, False, True]


def test_json_is_the_whole_of_stdout(made, capsys):
    assert run("setup", "tflite", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["packages"] == dict(setup.PACKAGES)
    assert (told["name"], told["state"]) == ("tflite", "made")
    assert told["bytes"] > 0
    assert Path(told["path"]) == setup.tflite_home()


def test_a_refusal_is_a_sentence_and_a_code(monkeypatch, capsys):
    def refuse(*_):
        raise DeviceFailed("No files for this machine.", next="something else")

    monkeypatch.setattr(setup, "plan_tflite", refuse)
    assert run("setup", "tflite", "--force") == 4
    told = capsys.readouterr()
    assert told.err == "Error: No files for this machine.\nNext: something else\n"
    assert told.out == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("setup", "tensorrt"), "There is no 'tensorrt' to set up; known: emulated, tflite."),
        (("setup",), "Missing argument 'NAME'."),
        (("remove",), "No such command 'remove'."),
    ],
)
def test_what_does_not_exist_is_code_2(words, sentence, capsys):
    assert run(*words) == 2
    assert sentence in capsys.readouterr().err


def test_nothing_asked_for_shows_what_there_is(capsys):
    assert run() == 2
    told = capsys.readouterr()
    assert "setup" in told.out
    assert told.err == ""


def test_every_option_has_a_help_text_and_an_example(capsys):
    assert run("setup", "--help") == 0
    told = capsys.readouterr().out
    assert "    edgevit device setup tflite" in told
    for word in ("NAME", "--force", "--json", "--quiet", "EDGEVIT_TFLITE_HOME"):
        assert word in told
