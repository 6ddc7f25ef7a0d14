import re
import struct
from pathlib import Path

import pytest

from edgevit_export.readers import xnnpack
from edgevit_export.readers.source import MalformedError
from edgevit_export.readers.xnnpack import read_payload, reason_left_out

FLOAT = frozenset({"float32"})


def test_the_version_is_the_installed_one():
    from importlib.metadata import version

    assert version("executorch") == xnnpack.VERSION


def test_node_names_are_those_of_the_official_schema():
    import executorch.exir

    home = Path(executorch.exir.__file__).parents[1]
    text = (home / "backends/xnnpack/serialization/schema.fbs").read_text()
    union = text.split("union XNodeUnion {")[1].split("}")[0]
    assert tuple(re.findall(r"^\s*(XNN\w+)", union, re.MULTILINE)) == xnnpack.NODES


def test_the_list_is_that_of_the_installed_partitioner():
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS

    assert set(xnnpack.TAKEN) == {config.target_name for config in ALL_PARTITIONER_CONFIGS}


def test_no_operation_is_both_taken_and_not():
    taken = {target.partition(".")[0] for target in xnnpack.TAKEN}
    assert taken.isdisjoint(xnnpack.NOT_TAKEN)
    assert set(xnnpack.RENAMED.values()) <= taken


@pytest.mark.parametrize(
    ("name", "overload", "dtypes", "reason"),
    [
        ("aten::expand_copy", "out", FLOAT, "no broadcasting copy is taken"),
        ("aten::squeeze_copy", "dims_out", FLOAT, "no squeeze is taken"),
        ("aten::select_copy", "int_out", FLOAT, "no select is taken"),
        ("aten::_adaptive_avg_pool2d", "out", FLOAT, "no adaptive pooling is taken"),
        ("aten::mean", "out", FLOAT, "average the last two dimensions"),
        ("aten::max", "dim_max", FLOAT, "must be 4-D"),
        ("aten::pow", "Tensor_Scalar_out", FLOAT, "must be the integer 2"),
        ("aten::upsample_bilinear2d", "vec_out", FLOAT, "must be fixed"),
        ("dim_order_ops::_clone_dim_order", "out", FLOAT, "order of dimensions"),
        ("executorch_prim::et_view", "default", frozenset({"int64"}), "works on int64"),
        ("aten::add", "Scalar_out", FLOAT, "not in the XNNPACK partitioner's list"),
        ("aten::mul", "out", FLOAT, "the file does not tell why"),
        ("aten::mul", "out", frozenset({"bool", "float32"}), "works on bool"),
        ("quantized_decomposed::quantize_per_tensor", "out", frozenset({"int8"}), "does not tell"),
        ("", "", frozenset(), "not in the XNNPACK partitioner's list"),
    ],
)
def test_reasons(name, overload, dtypes, reason):
    assert reason in reason_left_out(name, overload, dtypes)


def test_a_payload_header_that_lies_is_refused():
    header = struct.pack("<4s4sHIIIQ", b"\0" * 4, b"XH00", 30, 32, 16, 48, 1 << 40)
    raw = header.ljust(64, b"\0")
    with pytest.raises(MalformedError, match="shorter than its header says"):
        read_payload(raw, 0, len(raw))
    with pytest.raises(MalformedError, match="shorter than its header"):
        read_payload(raw, 0, 20)
    with pytest.raises(MalformedError, match="unknown schema"):
        read_payload(b"\0" * 64, 0, 64)
