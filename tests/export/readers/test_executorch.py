from pathlib import Path

import pytest
import torch
from torch import nn

from edgevit_export.artifact import TensorSpec
from edgevit_export.errors import UnreadableFile
from edgevit_export.readers import program
from edgevit_export.readers.executorch import read


def test_reports_what_the_network_holds(pte_file):
    report = read(pte_file)
    assert report.format == "executorch"
    assert report.size == pte_file.stat().st_size
    assert report.inputs == (TensorSpec("input_0", (1, 3, 8, 8), "float32"),)
    assert report.outputs == (TensorSpec("output_0", (1, 4), "float32"),)
    assert report.delegated_subgraphs == 2
    assert report.facts == {"methods": "forward", "calls of XnnpackBackend": 2}


def test_counts_inside_and_outside_of_the_delegate(pte_file):
    ops = read(pte_file).ops
    assert {op: n for op, n in ops.items() if not op.startswith("XNN")} == {
        "aten::mean.out": 1,
        "aten::native_layer_norm.out": 1,
    }
    assert ops["XNNConv2d"] == 1
    assert ops["XNNFullyConnected"] == 1


def test_every_operation_left_out_has_its_reason(pte_file):
    reasons = {entry.op: entry.reason for entry in read(pte_file).left_out}
    assert reasons == {
        "aten::native_layer_norm.out": "the partitioner has no layer normalization",
        "aten::mean.out": "taken on a condition only: it must average the last two dimensions "
        "of a 4-D tensor with keepdim",
    }


def test_weight_bytes_are_those_of_the_network(pte_file, network):
    assert read(pte_file).weight_bytes == sum(p.nbytes for p in network[0].parameters())


def test_agrees_with_the_official_deserializer(pte_file, official_program):
    plan = official_program["execution_plan"][0]
    calls = [i for chain in plan["chains"] for i in chain["instructions"]]
    report = read(pte_file)
    kernels = [i for i in calls if i["instr_args_type"] == "KernelCall"]
    assert sum(entry.count for entry in report.left_out) == len(kernels)
    assert report.delegated_subgraphs == len(calls) - len(kernels)


def test_data_types_are_those_of_the_official_schema():
    import executorch.exir._serialize as home

    text = (Path(home.__file__).parent / "scalar_type.fbs").read_text()
    lines = (line.strip() for line in text.split("enum ScalarType")[1].split("}")[0].splitlines())
    pairs = [line.rstrip(",").split(" = ") for line in lines if line[:1].isupper()]
    assert {int(number) for _, number in pairs} == set(program.SCALARS)
    official = {"byte": "uint8", "char": "int8", "short": "int16", "int": "int32"}
    official |= {"long": "int64", "half": "float16", "float": "float32", "double": "float64"}
    for name, number in pairs:
        wanted = official.get(name.lower(), name.lower())
        assert program.SCALARS[int(number)][0] == wanted


class Untaken(nn.Module):
    def forward(self, x: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.cumsum(1), x.softmax(1), i + i


def test_a_program_without_any_delegate(write_pte, tmp_path):
    inputs = torch.randn(1, 4, 4), torch.ones(3, dtype=torch.int64)
    path = write_pte(Untaken(), inputs, tmp_path / "untaken.pte")
    report = read(path)
    assert report.delegated_subgraphs == 0
    assert report.weight_bytes == 0
    assert [spec.dtype for spec in report.inputs] == ["float32", "int64"]
    assert {entry.op: entry.reason for entry in report.left_out} == {
        "aten::cumsum.out": "not in the XNNPACK partitioner's list of executorch 1.5.1",
        "aten::_softmax.out": "taken on a condition only: it must run over the last dimension",
        "aten::add.out": "it works on int64; the partitioner takes float32 and float16 only",
    }


def test_a_program_cut_off_behind_its_flatbuffer_is_refused(pte_file, tmp_path):
    path = tmp_path / "cut.pte"
    path.write_bytes(pte_file.read_bytes()[:-1])
    with pytest.raises(UnreadableFile, match="ends before its data does"):
        read(path)


def test_a_weight_kept_elsewhere_is_refused(pte_file, official_program, tmp_path):
    raw = pte_file.read_bytes()
    key = official_program["named_data"][0]["key"].encode()
    path = tmp_path / "elsewhere.pte"
    where = raw.rindex(key)  # in one payload or in the list of names, so that the two disagree
    path.write_bytes(raw[:where] + b"0" * len(key) + raw[where + len(key) :])
    with pytest.raises(UnreadableFile, match="lies in another file"):
        read(path)
