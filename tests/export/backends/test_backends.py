"""What every backend's file is: what it computes, its layout, its bytes."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgevit_export.artifact import content_sha256, content_size
from edgevit_export.errors import Unsupported
from edgevit_export.formats import FORMATS, reader, tool_versions
from edgevit_export.scheme import OPSETS, Scheme
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import DeviceFailed

# Directories of the machine that wrote a file, and what its stack traces are made of.
TRACES = re.compile(
    rb"/(?:usr|home|root|tmp|var|opt|mnt|work)/|site-packages|\.py\b|Traceback|stack_trace"
)


@pytest.fixture(params=list(FORMATS))
def format_(request):
    return request.param


@pytest.fixture
def artifact(written, format_):
    return written[format_]


def files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Relative names and contents of a file or a package."""
    members = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for member in members:
        yield member.relative_to(path.parent).as_posix(), member.read_bytes()


def opened(artifact):
    """Its session, or a skip that says why this machine has none."""
    try:
        return open_session(artifact.path)
    except DeviceFailed as error:
        pytest.skip(f"{artifact.format} cannot run here: {error.message}")


def test_it_computes_what_the_network_computes(artifact, tiny):
    model = tiny.network()
    generator = torch.Generator().manual_seed(1)
    with opened(artifact) as session:
        for _ in range(3):
            x = torch.randn(tiny.SHAPE, generator=generator)
            with torch.no_grad():
                wanted = [value.numpy() for value in model(x)]
            picture = x.numpy()
            if artifact.inputs[0].layout == "NHWC":
                picture = np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
            outputs = session.run(picture)
            assert len(outputs) == len(wanted)
            for got, want, spec in zip(outputs, wanted, artifact.outputs, strict=True):
                assert got.shape == spec.shape
                assert str(got.dtype) == spec.dtype
                if spec.layout == "NHWC":
                    got = got.transpose(0, 3, 1, 2)
                assert np.abs(got - want).max() < 1e-5
                assert np.ptp(want) > 0.1


def test_ports_have_the_formats_layout(artifact, format_):
    layout = "NHWC" if format_ == "litert" else "NCHW"
    (image,), (map_, scores) = artifact.inputs, artifact.outputs
    assert (image.layout, map_.layout, scores.layout) == (layout, layout, "any")
    assert image.shape == ((1, 3, 12, 8) if layout == "NCHW" else (1, 12, 8, 3))
    assert map_.shape == ((1, 8, 12, 8) if layout == "NCHW" else (1, 12, 8, 8))
    assert scores.shape == (1, 4)
    assert {spec.dtype for spec in (image, map_, scores)} == {"float32"}
    assert [spec.name for spec in (image, map_, scores)] == ["image", "map", "scores"]


def test_the_reader_finds_the_same_ports(artifact, format_):
    report = reader(FORMATS[format_]).read(artifact.path)
    assert [spec.shape for spec in report.inputs] == [spec.shape for spec in artifact.inputs]
    assert [spec.shape for spec in report.outputs] == [spec.shape for spec in artifact.outputs]


def test_the_artifact_describes_what_lies_on_the_disk(artifact, format_):
    assert artifact.format == format_
    assert artifact.precision == "fp32"
    assert artifact.path.suffix == FORMATS[format_].suffix
    assert artifact.size == content_size(artifact.path)
    assert artifact.sha256 == content_sha256(artifact.path)
    assert artifact.tools == tool_versions(FORMATS[format_])


def test_nothing_of_this_machine_is_in_it(artifact):
    here = (str(Path.cwd()), str(artifact.path.parent), sys.prefix, str(Path(__file__).parent))
    for name, content in files_of(artifact.path):
        found = TRACES.search(content)
        assert found is None, f"{name}: {content[max(0, found.start() - 40) :][:120]!r}"
        for path in here:
            assert path.encode() not in content, name


def test_writing_again_gives_the_same_bytes_and_touches_nothing_else(
    artifact, format_, tiny, tmp_path, monkeypatch
):
    for name in ("cwd", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    model = tiny.network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    again = tiny.write(tmp_path / "out", format_, model)
    assert dict(files_of(again.path)) == dict(files_of(artifact.path))
    assert again.sha256 == artifact.sha256
    assert list((tmp_path / "out").iterdir()) == [again.path]
    assert list((tmp_path / "cwd").iterdir()) == []
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("opset", [OPSETS[0], 20, OPSETS[1]])
def test_onnx_has_the_opset_asked_for(opset, tiny, written, tmp_path):
    default = opset == Scheme("fp32").opset
    artifact = written["onnx"] if default else tiny.write(tmp_path, "onnx", opset=opset)
    assert artifact.facts["opset"] == opset
    report = reader(FORMATS["onnx"]).read(artifact.path)
    assert report.facts["opset ai.onnx"] == opset
    with open_session(artifact.path) as session:
        assert len(session.outputs) == 2


@pytest.mark.parametrize("opset", [13, OPSETS[0] - 1, OPSETS[1] + 1])
def test_onnx_refuses_other_opsets(opset, tiny, tmp_path):
    with pytest.raises(Unsupported, match=f"opset {opset} is outside 18 to 23") as caught:
        tiny.write(tmp_path, "onnx", opset=opset)
    assert caught.value.next == "--opset 18"
    assert list(tmp_path.iterdir()) == []


def test_onnx_is_one_file_of_plain_operators(written):
    import onnx

    model = onnx.load(written["onnx"].path)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert not model.functions
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["map", "scores"]


def test_executorch_counts_its_delegated_subgraphs(written):
    artifact = written["executorch"]
    report = reader(FORMATS["executorch"]).read(artifact.path)
    assert artifact.facts["delegated_subgraphs"] == report.delegated_subgraphs == 1


def test_coreml_has_stable_names_and_no_date(written):
    names = [name for name, _ in files_of(written["coreml"].path)]
    assert "model.mlpackage/Manifest.json" in names
    assert not any("executorch" in name for name in names)
    for name, content in files_of(written["coreml"].path):
        assert b"conversion_date" not in content, name


def test_coreml_halves_the_weights_at_fp16(tiny, written, tmp_path):
    from edgevit_export.lower import lower

    artifact = lower(
        tiny.network(),
        (torch.zeros(tiny.SHAPE),),
        "coreml",
        Scheme("fp16"),
        tmp_path / "m.mlpackage",
        tiny.NAMES,
    )
    assert artifact.facts["compute_precision"] == "fp16"
    read = reader(FORMATS["coreml"]).read
    assert read(artifact.path).weight_bytes < read(written["coreml"].path).weight_bytes
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {"float32"}
