"""Profiles of operations: what ONNX Runtime writes is read, and anything else is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgevit_runtimes import profiles
from edgevit_runtimes.engines import ENGINES
from edgevit_runtimes.errors import BadSetting, RunFailed
from edgevit_runtimes.profiles import kleidiai_word, profile_here, read_profile, settings_of


def written_profile(**kinds: list[int]) -> str:
    """As ONNX Runtime writes it: an operation of each kind, its microseconds in each run."""
    events: list[dict[str, Any]] = [{"cat": "Session", "name": "model_run", "dur": 999}]
    for kind, times in kinds.items():
        args = {"op_name": kind}
        events += [
            {"cat": "Node", "name": f"the_{kind}_kernel_time", "dur": us, "args": args}
            for us in times
        ]
        events += [{"cat": "Node", "name": f"the_{kind}_fence_before", "dur": 7, "args": args}]
    return json.dumps(events)


def test_operations_those_that_take_longest_first(tmp_path: Path) -> None:
    path = tmp_path / "profile"
    path.write_text(written_profile(Relu=[500, 500, 10, 10, 10], Conv=[900, 900, 30, 31, 80]))
    conv, relu = read_profile(path, "m.onnx")
    assert (conv.name, conv.kind, conv.ms) == ("the_Conv", "Conv", 0.031)  # without the first two
    assert (relu.name, relu.ms) == ("the_Relu", 0.01)
    assert conv.share == pytest.approx(31 / 41)
    assert json.loads(json.dumps(conv.to_json()))["kind"] == "Conv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[3]", "cannot be read"),
        ('{"cat": "Node"}', "cannot be read"),
        ('[{"cat": "Node", "name": "a_kernel_time"}]', "cannot be read"),
        (
            '[{"cat": "Node", "name": "a_kernel_time", "dur": "x", "args": {"op_name": "A"}}]',
            "read",
        ),
        ("[]", "has no operations"),
        (written_profile(Conv=[1, 2]), "has no operations"),  # nothing after the warm-up
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile"
    path.write_text(text)
    with pytest.raises(RunFailed, match=message):
        read_profile(path, "m.onnx")
    with pytest.raises(RunFailed, match="cannot be read"):
        read_profile(tmp_path / "missing", "m.onnx")


def test_a_profile_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MOST_BYTES", 10)
    (tmp_path / "profile").write_text(written_profile(Conv=[1] * 12))
    with pytest.raises(RunFailed, match="more than 10 bytes"):
        read_profile(tmp_path / "profile", "m.onnx")


def test_a_file_of_this_machine(tiny: Any) -> None:
    before = set(Path.cwd().iterdir())
    found = profile_here(tiny.files["onnxruntime"], tiny.inputs, 1, profiles.NO_KLEIDIAI)
    assert sum(one.share for one in found) == pytest.approx(1)
    assert all(one.kind and one.name for one in found)
    assert set(Path.cwd().iterdir()) == before


def test_the_switch_of_kleidiai() -> None:
    assert settings_of(ENGINES["onnxruntime"], kleidiai=True) == {}
    assert settings_of(ENGINES["onnxruntime"], kleidiai=False) == {"mlas.disable_kleidiai": "1"}
    assert settings_of(ENGINES["litert"], kleidiai=True) == {}
    for name in ("litert", "executorch"):
        with pytest.raises(BadSetting, match="no switch for KleidiAI"):
            settings_of(ENGINES[name], kleidiai=False)
    words = [
        kleidiai_word(ENGINES[name], on) for name in ("onnxruntime", "litert") for on in (1, 0)
    ]
    assert words == ["on", "off", "as built", "as built"]
