"""--verify-on: files that are executed on another device before they are sealed."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgevit.bundle.parity import Verification
from edgevit.bundle.verify import verify_bundle
from edgevit.deployment import files
from edgevit.deployment.export import deploy
from edgevit.errors import CheckFailed, UsageError
from edgevit.request.spec import DeploySpec, Evaluate, Verify
from edgevit_runtimes.device import Device, parse_device
from edgevit_runtimes.devices import LOCAL
from edgevit_runtimes.errors import MissingRuntime


@pytest.mark.usefixtures("emulated_device")
def test_files_are_executed_on_a_device_before_they_are_sealed(tmp_path: Path) -> None:
    device = parse_device("emulated:cortex-a77")
    spec = DeploySpec(
        "topformer-t",
        tmp_path / "out",
        only_formats=("onnx", "coreml"),
        input_size=(64, 64),
        verify=Verify(devices=(device,)),
    )
    told: list[str] = []
    onnx, coreml = deploy(spec, lambda step: told.append(step.text)).manifest.files
    (there,) = onnx.elsewhere
    assert there.device == "emulated:cortex-a77"
    assert there.verification.status == "executed"
    assert there.verification.cases == onnx.verification.cases
    assert "emulator" in dict(there.verification.runtime)
    assert coreml.elsewhere == ()
    assert "executed model.onnx on arm64 (emulated cortex-a77)" in told
    assert "model.mlpackage: arm64 (emulated cortex-a77) opens no such files" in told
    assert "also on emulated:cortex-a77" in (tmp_path / "out" / "README.md").read_text()


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVIT_EMULATED_HOME", str(tmp_path / "absent"))
    device = parse_device("emulated:cortex-a77")
    spec = DeploySpec("topformer-t", tmp_path / "out", verify=Verify(devices=(device,)))
    with pytest.raises(MissingRuntime):
        deploy(spec)
    with pytest.raises(UsageError, match="--verify-on and --no-verify"):
        deploy(replace(spec, verify=Verify(enabled=False, devices=(device,))))
    assert list(tmp_path.iterdir()) == []


HALF = DeploySpec(
    "vit-micro", Path("out"), only_formats=("litert",), precision="fp16", input_size=(64, 64),
    evaluate=Evaluate(compare_speed=False),
)  # fmt: skip


@pytest.mark.usefixtures("emulated_device")
def test_halves_are_executed_on_an_emulated_core_without_being_asked_for(tmp_path: Path) -> None:
    told: list[str] = []
    bundle = deploy(replace(HALF, output_dir=tmp_path / "out"), lambda s: told.append(s.text))
    (file,) = bundle.manifest.files
    (there,) = file.elsewhere
    assert (file.verification.floats, there.verification.floats) == ("float32", "float16")
    assert there.device == "emulated:cortex-a77"
    noise, less = there.verification.sqnr, file.verification.sqnr
    assert noise is not None
    assert less is not None
    assert noise < less, "halves round more than weights alone"
    assert "executed model.tflite on arm64 (emulated cortex-a77) in float16" in told
    assert file.accuracy[0].data.endswith(", halves simulated in torch"), "the file was not it"
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "in float32; also on emulated:cortex-a77 in float16." in readme
    (again,) = verify_bundle(bundle, device=parse_device("emulated:cortex-a77")).values()
    assert again.floats == "float16"


def test_halves_that_nothing_executed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVIT_EMULATED_HOME", str(tmp_path / "absent"))
    told: list[str] = []
    bundle = deploy(replace(HALF, output_dir=tmp_path / "out"), lambda s: told.append(s.text))
    assert bundle.manifest.files[0].elsewhere == ()
    (note,) = (text for text in told if files.NOT_IN_HALF in text)
    assert note.startswith("model.tflite: computed in float32 here; ARM cores")
    assert note.endswith("(edgevit device setup emulated, or --verify-on DEVICE)")
    sentence = "in float32; ARM cores compute its floats in float16, which was not executed."
    assert sentence in (tmp_path / "out" / "README.md").read_text()


def test_large_networks_are_not_emulated_without_being_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "emulated_ready", lambda: True)
    monkeypatch.setattr(files, "MOST_GMACS", 0.0001)
    told: list[str] = []
    bundle = deploy(replace(HALF, output_dir=tmp_path / "out"), lambda s: told.append(s.text))
    assert bundle.manifest.files[0].elsewhere == ()
    assert any(text.endswith("--verify-on emulated:cortex-a77)") for text in told)


def test_what_is_wrong_in_half_alone_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device than this machine overflows: the error names it, and nothing is left."""
    checked = files.check_parity

    def check(*given: object, device: Device = LOCAL, **asked: object) -> Verification:
        if device != LOCAL:
            raise CheckFailed("model.tflite: logits holds values that are not finite.")
        return checked(*given, **asked)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(files, "check_parity", check)
    monkeypatch.setattr(files, "emulated_ready", lambda: True)
    with pytest.raises(
        CheckFailed, match=r"On arm64 \(emulated cortex-a77\), model\.tflite: "
    ) as e:
        deploy(replace(HALF, output_dir=tmp_path / "out"))
    assert e.value.next == "--precision fp32"
    assert list(tmp_path.iterdir()) == []
