"""The one measure of difference, and files against the network."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgevit.bundle.parity import (
    FP16_COSINE,
    FP32_DIFFERENCE,
    MASK_AGREEMENT,
    Bounds,
    Case,
    check_parity,
)
from edgevit.difference import agreement, cosine, difference
from edgevit.errors import CheckFailed, UsageError
from edgevit_export.artifact import Artifact, TensorSpec, content_sha256, content_size

NAN, INF = float("nan"), float("inf")


def f32(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("got", "want", "expected"),
    [
        (f32(1, 2, 3), f32(1, 2, 3), 0.0),
        (f32(1, 2, 3.5), f32(1, 2, 3), 0.5),  # a spread below one does not magnify
        (f32(0, 104), f32(0, 100), 4 / 50),  # a spread above one scales
        (f32(-100, 100), f32(100, -100), 2.0),
        (f32(1, 2), f32(1, 2, 3), INF),
        (f32([1, 2]), f32(1, 2), INF),
        (f32(1, NAN), f32(1, 2), INF),
        (f32(1, INF), f32(1, 2), INF),
        (f32(1, 2), f32(1, NAN), INF),
        (f32(NAN, 1), f32(NAN, 1), INF),
        (f32(INF, 1), f32(INF, 1), INF),
    ],
)
def test_difference(got, want, expected):
    assert difference(got, want) == pytest.approx(expected)


def test_differences_are_taken_in_double_precision():
    want = np.float32([1e8, -1e8])
    assert difference(want, want) == 0
    assert difference(np.float16([1000]), f32(1000.25)) == 0.25


values = st.lists(st.floats(-1e6, 1e6, width=32).map(np.float32), min_size=2, max_size=8).map(
    np.array
)


@given(values, st.floats(1, 100))
def test_difference_is_bounded_by_the_absolute_one(want, shift):
    got = want + np.float32(shift)
    absolute = float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max())
    assert 0 <= difference(got, want) <= absolute
    assert difference(want, want) == 0


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (f32(1, 2), f32(2, 4), 1.0),
        (f32(1, 0), f32(0, 1), 0.0),
        (f32(1, 0), f32(-1, 0), -1.0),
        (f32(0, 0), f32(0, 0), 1.0),
        (f32(0, 0), f32(1, 0), 0.0),
        (f32(NAN, 1), f32(1, 1), 0.0),
        (f32(1, 1), f32(INF, 1), 0.0),
        (f32(1, 1, 1), f32(1, 1), 0.0),
    ],
)
def test_cosine(a, b, expected):
    assert cosine(a, b) == pytest.approx(expected)


def test_agreement_of_label_maps_and_of_class_maps():
    labels = np.array([[0, 1], [2, 2]], np.int32)[None]
    assert agreement(labels, labels) == 1
    assert agreement(labels + np.int32([[0, 0], [0, 1]]), labels) == 0.75
    assert agreement(labels[0], labels) == 0
    maps = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    assert agreement(maps * 2 + 1, maps) == 1
    turned = maps.copy()
    turned[0, :, 0, 0] = -turned[0, :, 0, 0]
    assert agreement(turned, maps) == pytest.approx(19 / 20)


def test_bounds_of_a_precision():
    assert Bounds.of("fp32", False, None, None) == Bounds(FP32_DIFFERENCE)
    assert Bounds.of("fp16", False, None, None) == Bounds(None, cosine=FP16_COSINE)
    assert Bounds.of("fp32", True, None, None).agreement == MASK_AGREEMENT
    assert Bounds.of("fp32", False, 0.5, None) == Bounds(None, atol=0.5)
    assert Bounds.of("fp16", False, None, 0.9).cosine == 0.9
    assert Bounds.of("fp32", False, None, 0.9) == Bounds(FP32_DIFFERENCE, cosine=0.9)
    assert (FP32_DIFFERENCE, FP16_COSINE, MASK_AGREEMENT) == (1e-4, 0.999, 0.999)


@pytest.mark.parametrize(
    ("atol", "min_cosine"),
    [(-1, None), (NAN, None), (INF, None), (None, 0), (None, 1.1), (None, NAN)],
)
def test_bounds_that_mean_nothing_are_refused(atol, min_cosine):
    with pytest.raises(UsageError):
        Bounds.of("fp32", False, atol, min_cosine)


@pytest.fixture
def adds_one(tmp_path):
    """A file that adds one to [1, 2, 3, 4], and its artifact."""
    path = tmp_path / "m.onnx"
    shape = (1, 2, 3, 4)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    spec = TensorSpec("x", shape, "float32", "NCHW")
    return Artifact(
        "onnx",
        path,
        "fp32",
        content_size(path),
        content_sha256(path),
        (spec,),
        (replace(spec, name="y"),),
        tools={},
    )


def case(off=0.0, name="golden", factor=1.0):
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)
    return Case(name, (x,), ((factor * x + np.float32(1 + off)).astype(np.float32),))


def test_what_is_known_after_a_comparison(adds_one):
    found = check_parity(adds_one, [case(), case(5e-5)], Bounds.of("fp32", True, None, None))
    assert found.status == "executed"
    assert found.cases == 2
    assert found.absolute == pytest.approx(5e-5, rel=0.01), "the worst case counts"
    assert found.difference <= found.absolute
    assert found.cosine == pytest.approx(1)
    assert found.agreement == 1
    assert list(dict(found.runtime)) == ["onnxruntime"]


@pytest.mark.parametrize(
    ("wrong", "bounds", "sentence"),
    [
        (case(2e-4), Bounds(1e-4), r"difference 0\.0002, at most 0\.0001 is allowed"),
        (case(0.5), Bounds(None, atol=0.1), "absolute difference 0.5, at most 0.1"),
        (case(3.0), Bounds(None, cosine=0.999), "cosine .*, at least 0.999"),
        (case(factor=-1.0), Bounds(None, agreement=0.999), "mask agreement 0, at least 0.999"),
        (case(NAN), Bounds(1e-4), "difference inf, at most"),
        (case(NAN), Bounds(None, cosine=0.5), "cosine 0, at least"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_wrong_case_among_others_fails(wrong, bounds, sentence, place, adds_one):
    cases = [case(), case()]
    cases.insert(place, wrong)
    with pytest.raises(CheckFailed, match=sentence) as caught:
        check_parity(adds_one, cases, bounds)
    assert caught.value.message.startswith("m.onnx does not compute what the network computes")
    assert caught.value.exit_code == 1


def test_a_file_that_changed_is_not_opened(adds_one):
    adds_one.path.write_bytes(b"something else")
    with pytest.raises(CheckFailed, match=r"m\.onnx changed on the disk"):
        check_parity(adds_one, [case()], Bounds())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: replace(a, inputs=()), "m.onnx has 1 inputs, the network 0"),
        (lambda a: replace(a, inputs=a.inputs * 2), "m.onnx has 1 inputs, the network 2"),
        (lambda a: replace(a, outputs=a.outputs * 2), "m.onnx has 1 outputs, the network 2"),
        (
            lambda a: replace(a, inputs=(replace(a.inputs[0], shape=(1, 2, 4, 3)),)),
            r"takes \(1, 2, 3, 4\) where \(1, 2, 4, 3\) was exported",
        ),
    ],
)
def test_a_file_with_other_ports_fails(change, sentence, adds_one):
    with pytest.raises(CheckFailed, match=sentence):
        check_parity(change(adds_one), [case()], Bounds())


def test_an_output_of_another_shape_fails(adds_one):
    wrong = Case("golden", case().inputs, (np.zeros((1, 2, 4, 3), np.float32),))
    with pytest.raises(CheckFailed, match=r"y is \(1, 2, 3, 4\), the network's is \(1, 2, 4, 3\)"):
        check_parity(adds_one, [wrong], Bounds())


def test_a_constant_output_fails_whatever_the_bounds(adds_one):
    x = np.full((1, 2, 3, 4), 2, np.float32)
    want = np.linspace(2.9, 3.1, 24, dtype=np.float32).reshape(x.shape)
    with pytest.raises(CheckFailed, match="y is the same value everywhere"):
        check_parity(adds_one, [Case("golden", (x,), (want,))], Bounds(1.0, cosine=0.5))
    same = np.full_like(x, 3)
    assert check_parity(adds_one, [Case("golden", (x,), (same,))], Bounds()).difference == 0


def test_a_runtime_that_this_machine_cannot_have_is_no_failure(adds_one, monkeypatch):
    from edgevit.bundle import parity
    from edgevit_runtimes.errors import DeviceFailed

    def refuse(path, engine):
        raise DeviceFailed("Core ML runs on macOS only.")

    monkeypatch.setattr(parity, "open_session", refuse)
    found = check_parity(adds_one, [case()], Bounds())
    assert (found.status, found.reason) == ("not verified", "Core ML runs on macOS only")
    assert found.difference is None


def test_labels_are_compared_by_agreement_alone(tmp_path):
    path = tmp_path / "m.onnx"
    shape = (1, 4, 5)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["mask"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT32, shape)],
        [helper.make_tensor_value_info("mask", TensorProto.INT32, shape)],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    spec = TensorSpec("mask", shape, "int32")
    artifact = Artifact("onnx", path, "fp32", 1, content_sha256(path), (spec,), (spec,), tools={})
    mask = np.arange(20, dtype=np.int32).reshape(shape) % 3
    bounds = Bounds.of("fp32", True, None, None)
    assert check_parity(artifact, [Case("golden", (mask,), (mask,))], bounds).agreement == 1
    wrong = mask.copy()
    wrong[0, 0, 0] = 2
    with pytest.raises(CheckFailed, match=r"mask agreement 0\.95, at least 0\.999"):
        check_parity(artifact, [Case("golden", (mask,), (wrong,))], bounds)
