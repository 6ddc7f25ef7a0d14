"""Files on an emulated ARM core: executed there, compared with this machine, counted."""

from pathlib import Path

import numpy as np
import pytest

from edgevit.bundle.opened import Bundle
from edgevit.bundle.ports import to_file
from edgevit.difference import difference
from edgevit_runtimes.counting import SAME, count_files
from edgevit_runtimes.device import parse_device
from edgevit_runtimes.devices import open_on, versions_on
from edgevit_runtimes.engines import ENGINES, chosen, open_session
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime, RunFailed, UnknownEngine
from edgevit_runtimes.runners import emulated
from edgevit_runtimes.setup import emulated as setup
from edgevit_runtimes.setup.emulated import CORES

FORMATS = ("onnx", "executorch", "litert")
A77 = parse_device("emulated:cortex-a77")
NEAR = 1e-5  # fp32 on ARM from x86, by the one measure

on_arm = pytest.mark.usefixtures("emulated_device")


def given(bundle: Bundle, format_: str) -> tuple[Path, list[np.ndarray]]:
    entry = bundle.entry(format_)
    return bundle.path / entry.path, [to_file(bundle.golden("input"), entry.inputs[0])]


@on_arm
@pytest.mark.parametrize("format_", FORMATS)
def test_outputs_are_those_of_this_machine(host_bundle: Bundle, format_: str) -> None:
    path, inputs = given(host_bundle, format_)
    with open_session(path) as here, open_on(A77, path) as there:
        assert [(p.shape, p.dtype) for p in here.inputs] == [
            (p.shape, p.dtype) for p in there.inputs
        ]
        assert [p.shape for p in here.outputs] == [p.shape for p in there.outputs]
        expected, executed = here.run(*inputs), there.run(*inputs)
    for want, got in zip(expected, executed, strict=True):
        assert difference(want, got) <= NEAR
        # Other kernels round otherwise: equal to the bit would mean that nothing ran on ARM.
        assert not np.array_equal(want, got)


@on_arm
def test_counts_repeat_and_are_those_of_the_network(host_bundle: Bundle) -> None:
    files = [given(host_bundle, format_) for format_ in FORMATS]
    rows = count_files(
        [path for path, _ in files],
        [inputs for _, inputs in files],
        [host_bundle.entry(format_).sha256 for format_ in FORMATS],
        A77,
    )
    for row, format_ in zip(rows, FORMATS, strict=True):
        assert len(row.instructions) == 2
        assert row.spread is not None
        assert row.spread <= SAME
        # topformer-t at 64x64: 8 M multiply-adds, 4 at once, and all that stands around them.
        assert 2e6 < row.instructions[0] < 40e6, format_
        if row.kinds is not None:
            assert sum(row.kinds.values()) == row.instructions[0]
            assert row.kinds["vector float"] > 1e6
        if row.estimate is not None:
            assert row.estimate.interval_ms is not None
            assert row.estimate.interval_ms[0] >= row.estimate.compute_ms > 0
        assert "emulator" in row.versions


@on_arm
def test_the_hottest_blocks_have_names(host_bundle: Bundle) -> None:
    """ExecuTorch's libraries name their kernels in C; those in assembly, and the other libraries,
    have no names.
    """
    for format_, library in (("executorch", "libexecutorch"), ("litert", "libLiteRt.so")):
        path, inputs = given(host_bundle, format_)
        counted = emulated.count(path, chosen(path, None), "cortex-a77", inputs)
        named = [counted.names.at(block.address) for block in counted.counts.blocks]
        assert all(name is not None for name, _ in named[:10]), named[:10]
        assert any(str(name).startswith(library) for name, _ in named), named
        if format_ == "executorch":
            assert any(str(symbol).startswith("xnn_") for _, symbol in named)


@on_arm
def test_a_core_is_what_it_says_it_is(host_bundle: Bundle) -> None:
    """Libraries read the core's own cpuinfo: what they choose for another core may differ."""
    path, inputs = given(host_bundle, "litert")
    engine = chosen(path, None)
    expected = emulated.count(path, engine, "cortex-a77", inputs).outputs
    kernels = {}
    for core in CORES:
        counted = emulated.count(path, engine, core, inputs)
        kernels[core] = frozenset(block.opcodes for block in counted.counts.blocks[:40])
        for want, got in zip(expected, counted.outputs, strict=True):
            assert difference(want, got) <= NEAR, core
    assert len(set(kernels.values())) > 1


@on_arm
@pytest.mark.parametrize("format_", FORMATS)
def test_a_damaged_file_is_one_sentence(host_bundle: Bundle, tmp_path: Path, format_: str) -> None:
    path, _ = given(host_bundle, format_)
    damaged = tmp_path / path.name
    content = path.read_bytes()
    damaged.write_bytes(content[:8] + bytes(len(content) // 2))
    with pytest.raises(RunFailed) as caught:
        open_on(A77, damaged)
    assert "\n" not in caught.value.message


@on_arm
def test_wrong_arrays_are_refused_before_anything_is_started(
    host_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, inputs = given(host_bundle, "onnx")
    session = open_on(A77, path)
    monkeypatch.setattr(emulated, "_start", lambda *_: pytest.fail("it was started"))
    with pytest.raises(RunFailed, match="takes 1 inputs"):
        session.run()
    with pytest.raises(RunFailed, match="is float32"):
        session.run(inputs[0].astype(np.float64))
    session.close()
    with pytest.raises(RunFailed, match="was closed"):
        session.run(*inputs)


@on_arm
def test_what_takes_too_long_is_given_up(
    host_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulated, "RUN_SECS", 0.01)
    with pytest.raises(DeviceFailed, match=r"did not finish on cortex-a77 within 0\.01 s"):
        open_on(A77, given(host_bundle, "onnx")[0])


@on_arm
def test_nothing_is_left_behind(host_bundle: Bundle, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path, inputs = given(host_bundle, "onnx")
    with open_on(A77, path) as session:
        session.run(*inputs)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_without_an_arm_library_is_refused() -> None:
    with pytest.raises(UnknownEngine, match="Emulated devices run onnxruntime, litert, executorch"):
        versions_on(A77, ENGINES["coreml"])


def test_without_the_environment_the_command_is_named(
    host_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(setup.HOME, str(tmp_path / "absent"))
    monkeypatch.setattr(setup, "check_tools", lambda *_: None)
    monkeypatch.setattr(setup, "emulator_version", lambda: "qemu")
    with pytest.raises(MissingRuntime, match="is not set up") as caught:
        open_on(A77, given(host_bundle, "onnx")[0])
    assert caught.value.next == "edgevit device setup emulated"


def test_every_core_has_a_model_and_a_part() -> None:
    parts = [core.part for core in CORES.values()]
    assert len(set(parts)) == len(parts)
    assert all(core.name == name for name, core in CORES.items())
