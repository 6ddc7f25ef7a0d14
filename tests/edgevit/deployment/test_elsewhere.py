"""--verify-on: files that are executed on another device before they are sealed."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgevit.deployment.export import deploy
from edgevit.errors import UsageError
from edgevit.request.spec import DeploySpec, Verify
from edgevit_runtimes.device import parse_device
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
