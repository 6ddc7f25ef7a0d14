import sys

import onnx
import pytest
from onnx import TensorProto, helper

from edgevit_export.artifact import TensorSpec
from edgevit_export.errors import MissingPackage, UnreadableFile
from edgevit_export.readers.onnx import BITS, read

FLOAT = TensorProto.FLOAT


def model_of(nodes, initializers=(), sizes=(1, 2), **options) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, sizes)],
        [helper.make_tensor_value_info("y", FLOAT, sizes)],
        initializer=list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **options)


def written(model: onnx.ModelProto, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_reports_what_the_network_holds(onnx_file):
    report = read(onnx_file)
    assert report.format == "onnx"
    assert report.size == onnx_file.stat().st_size
    assert report.inputs == (TensorSpec("x", (1, 3, 8, 8), "float32"),)
    assert [spec.shape for spec in report.outputs] == [(1, 4)]
    assert {op: report.ops[op] for op in ("Conv", "Relu", "LayerNormalization")} == {
        "Conv": 1,
        "Relu": 1,
        "LayerNormalization": 1,
    }
    assert sum(report.ops.values()) == len(onnx.load(onnx_file).graph.node)
    assert report.facts["opset ai.onnx"] == 18
    assert report.delegated_subgraphs is None
    assert report.left_out == ()


def test_weight_bytes_are_those_of_the_initializers(onnx_file):
    stored = [onnx.numpy_helper.to_array(t).nbytes for t in onnx.load(onnx_file).graph.initializer]
    assert read(onnx_file).weight_bytes == sum(stored)
    assert read(onnx_file).weight_bytes >= 276 * 4


def test_inner_graphs_and_their_weights_are_counted(tmp_path):
    weight = helper.make_tensor("w", FLOAT, [2], [1.0, 2.0])
    out = helper.make_tensor_value_info("z", FLOAT, [2])
    inner = helper.make_graph([helper.make_node("Neg", ["w"], ["z"])], "i", [], [out], [weight])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", 9, [], [True])),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("FusedThing", ["x"], ["q"], domain="com.microsoft"),
    ]
    report = read(written(model_of(nodes), tmp_path))
    assert report.ops == {"Neg": 2, "Constant": 1, "If": 1, "com.microsoft::FusedThing": 1}
    assert report.weight_bytes == 2 * 8 + 1


def test_a_free_size_is_shown_as_minus_one(tmp_path):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], sizes=("n", 2))
    assert read(written(model, tmp_path)).inputs[0].shape == (-1, 2)


def test_names_cannot_reach_the_terminal_as_control_characters(tmp_path):
    report = read(written(model_of([helper.make_node("Re\x1b[31mlu", ["x"], ["y"])]), tmp_path))
    assert list(report.ops) == ["Re\N{REPLACEMENT CHARACTER}[31mlu"]


def test_external_weights_are_refused_with_the_way_to_join_them(tmp_path):
    weight = helper.make_tensor("w", FLOAT, [2], [1.0, 2.0])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    path = written(model_of([helper.make_node("Add", ["x", "w"], ["y"])], [weight]), tmp_path)
    with pytest.raises(UnreadableFile, match="weight 'w' in another file") as caught:
        read(path)
    assert "onnx.save" in caught.value.next


def test_a_weight_that_is_not_what_its_shape_says_is_refused(tmp_path):
    weight = helper.make_tensor("w", FLOAT, [2], [1.0, 2.0])
    weight.dims[0] = 1 << 40
    path = written(model_of([helper.make_node("Add", ["x", "w"], ["y"])], [weight]), tmp_path)
    with pytest.raises(UnreadableFile, match="not what its shape says"):
        read(path)


@pytest.mark.parametrize("kind", sorted(BITS))
def test_every_data_type_is_measured(kind, tmp_path):
    number = TensorProto.DataType.Value(kind)
    for raw in (True, False):
        if raw:
            weight = TensorProto(name="w", data_type=number, dims=[3])
            weight.raw_data = bytes((3 * BITS[kind] + 7) // 8)
        else:
            weight = helper.make_tensor("w", number, [3], [0, 1, 0])
        model = model_of([helper.make_node("Relu", ["x"], ["y"])], [weight])
        assert read(written(model, tmp_path)).weight_bytes == (3 * BITS[kind] + 7) // 8


@pytest.mark.parametrize("raw", [b"\x08\x08", b"hello, I am text", b"\x00" * 64, b"\x12\x00"])
def test_what_is_no_model_is_refused(raw, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(raw)
    with pytest.raises(UnreadableFile, match="is not an ONNX model that can be read"):
        read(path)


def test_a_name_that_is_not_text_is_refused(tmp_path):
    path = written(model_of([helper.make_node("Relu", ["x"], ["y"])]), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"Relu", b"\xff\xfe\xfd\xfc"))
    with pytest.raises(UnreadableFile, match="not text"):
        read(path)


def test_without_onnx_the_install_line_is_told(onnx_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackage) as caught:
        read(onnx_file)
    assert caught.value.next == "pip install 'edgevit[onnx]'"
