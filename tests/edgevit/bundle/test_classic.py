"""What tflite-runtime makes of a LiteRT file becomes one fact, and never a failure."""

import re
from dataclasses import replace

import pytest

from edgevit.bundle import classic
from edgevit.bundle.classic import FACT, NOT_TRIED, with_classic
from edgevit.bundle.parity import Bounds, Case, Verification
from edgevit_export.artifact import Artifact
from edgevit_runtimes.setup import tflite as setup

RAN = Verification("executed", "", 0.0, 0.0, 1.0, 1.0, 3, (("ai-edge-litert", "2.3.0"),))


@pytest.fixture
def artifact(host_bundle) -> Artifact:
    file = host_bundle.entry("litert")
    path = host_bundle.path / file.path
    facts = {"subgraphs": 1}
    parts = (file.precision, file.size, file.sha256, file.inputs, file.outputs, {}, facts)
    return Artifact("litert", path, *parts)


@pytest.fixture
def case(host_bundle) -> Case:
    return Case("golden", (host_bundle.golden("input"),), (host_bundle.golden("logits"),))


@pytest.fixture
def golden(host_bundle) -> dict[str, str]:
    """A pretender that returns what the network does: the file's own layout is NHWC."""
    path = str(host_bundle.path / "golden" / "logits.npy")
    shape = str(list(host_bundle.entry("litert").inputs[0].shape))
    details = "[detail('y', 1, np.load({path}).transpose(0, 2, 3, 1).shape, np.float32)]"
    return {
        "load": f"self.get_output_details = lambda: {details.format(path=repr(path))}",
        "result": f"np.load({path!r}).transpose(0, 2, 3, 1)",
        "shape": shape,
    }


def fact(artifact, found, case, told=None) -> str:
    noted = with_classic(
        artifact, found, [case], Bounds(), [].append if told is None else told.append
    )
    assert noted.facts["subgraphs"] == 1
    assert replace(noted, facts=artifact.facts) == artifact
    return str(noted.facts[FACT])


def test_a_file_that_it_computes_says_how_well(artifact, case, golden, pretended):
    told = []
    pretended(**golden)
    assert fact(artifact, RAN, case, told) == "2.14.0: executed, difference 0.0e+00"
    assert told == []


WRONG = {
    "zeros": ({"result": "np.zeros({y}.shape, 'f4')"}, "logits is the same value everywhere"),
    "a constant": ({"result": "np.full({y}.shape, 3, 'f4')"}, "the same value everywhere"),
    "not finite": ({"result": "{y} * np.float32('nan')"}, "values that are not finite"),
    "other values": ({"result": "{y} + np.float32(1)"}, "does not compute what the network"),
    "an op": ({"invoke": "raise ValueError('no op 206')"}, "failed while running .*: no op 206"),
    "a crash": ({"invoke": "os.abort()"}, "ended .SIGABRT. on model.tflite"),
    "a crash at once": ({"load": "os.kill(os.getpid(), signal.SIGSEGV)"}, "ended .SIGSEGV."),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_it_does_not_compute_needs_a_newer_one(name, artifact, case, golden, pretended):
    code, reason = WRONG[name]
    code = {key: text.replace("{y}", golden["result"]) for key, text in code.items()}
    told = []
    pretended(**golden | code)
    found = fact(artifact, RAN, case, told)
    assert found.startswith("needs LiteRT 2.3.0: ")
    assert re.search(reason, found), found
    assert str(artifact.path.parent) not in found
    assert told == [f"model.tflite {found}"]


def test_what_was_not_tried_says_why(artifact, case, pretended, monkeypatch, tmp_path):
    unseen = Verification("not verified", "skipped by --no-verify")
    assert fact(artifact, unseen, case) == "not tried (LiteRT did not run it either)"
    pretended(version="2.15.0")
    assert fact(artifact, RAN, case) == "not tried (edgevit device setup tflite --force)"
    monkeypatch.setenv(setup.HOME, str(tmp_path / "absent"))
    assert fact(artifact, RAN, case) == NOT_TRIED == "not tried (edgevit device setup tflite)"


def test_a_label_map_says_what_share_agrees(artifact, case, monkeypatch):
    masked = replace(RAN, difference=None, agreement=0.9412)
    monkeypatch.setattr(classic, "find_tflite", lambda: "there")
    monkeypatch.setattr(classic, "check_parity", lambda *_, **__: masked)
    assert fact(artifact, RAN, case) == "2.14.0: executed, 94.12% of pixels agree"


def test_other_formats_are_left_alone(artifact, case):
    other = replace(artifact, format="onnx")
    assert with_classic(other, RAN, [case], Bounds()) is other


def test_a_bundle_says_what_was_found_here(host_bundle):
    there = setup.find_tflite() is not None
    for file in host_bundle.manifest.files:
        found = dict(file.facts).get(FACT)
        if file.format != "litert":
            assert found is None
        elif there:
            assert str(found).startswith("2.14.0: executed, difference ")
        else:
            assert found == NOT_TRIED


@pytest.mark.usefixtures("classic_runtime")
def test_the_real_one_computes_a_bundles_file(artifact, case):
    assert fact(artifact, RAN, case).startswith("2.14.0: executed, difference ")
