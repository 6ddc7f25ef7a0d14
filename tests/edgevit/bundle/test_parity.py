"""The one measure of difference, and files against the network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgevit.bundle import parity
from edgevit.bundle.parity import (
    FP16_COSINE,
    FP32_DIFFERENCE,
    HALF_AGREEMENT,
    LEAST_KAPPA,
    LIVE,
    MASK_AGREEMENT,
    QUANTIZED_AGREEMENT,
    QUANTIZED_COSINE,
    Bounds,
    Case,
    check_parity,
    floats_on,
)
from edgevit.difference import absolute, agreement, cosine, difference, explained, kappa, sqnr
from edgevit.errors import CheckFailed, UsageError
from edgevit_export.artifact import Artifact, TensorSpec, content_sha256, content_size
from edgevit_export.halves import HALVES
from edgevit_runtimes.device import Device
from edgevit_runtimes.devices import LOCAL

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


@pytest.mark.parametrize(
    ("got", "want", "expected"),
    [
        (f32(1, 2, 3), f32(1, 2, 3), 1.0),
        (f32(2, 2, 2), f32(1, 2, 3), 0.0),  # the best constant
        (f32(2, 4, 6), f32(-1, 0, 1), -24.0),
        (f32(1, 2, 2), f32(1, 2, 3), 0.5),
        (f32(101, 102, 103), f32(101, 102, 104), 1 - 3 / 14),  # 1 % is a spread
        (f32(1e5, 1e5 + 1), f32(1e5 + 1, 1e5), 1 - 2 / (2e10 + 2e5 + 1)),  # less is rounding
        (f32(2000), f32(2), 1 - 1998**2 / 4),  # one value has its power
        (f32(0.1, 0), f32(0, 0), 1.0),
        (f32(1, NAN), f32(1, 2), -INF),
        (f32(1, 2), f32(1, INF), -INF),
        (f32(1, 2), f32(1, 2, 3), -INF),
    ],
)
def test_explained_variance(got, want, expected):
    assert explained(got, want) == pytest.approx(expected)


def test_a_spread_of_one_percent_is_none():
    middle = np.full(2, 99.0)
    assert explained(middle, np.array([98.0, 100.0])) > 0.99, "1 % is not more than 1 %"
    assert explained(middle, np.array([97.99, 100.01])) == pytest.approx(0)
    pixel = np.zeros(20_000)
    pixel[7] = 1
    assert explained(np.zeros(20_000), pixel) == 0, "of its largest value, not of its least"


def test_signal_to_noise():
    want = f32(3, 4)
    assert sqnr(want, want) == 200
    assert sqnr(f32(3, 5), want) == pytest.approx(10 * np.log10(25))
    assert sqnr(f32(2, 0), f32(1, 0)) == 0
    assert sqnr(f32(1, 0), f32(0, 0)) == -200
    assert sqnr(np.array([1 + 1e-11]), np.array([1.0])) == 200, "not 220"
    assert sqnr(np.array([1.0]), np.array([1e-12])) == -200
    for bad in (NAN, INF):
        assert sqnr(f32(1, bad), f32(1, 2)) == sqnr(f32(1, 2), f32(1, bad)) == -200


def test_kappa_is_agreement_beyond_chance():
    mostly = np.zeros((1, 10, 10), np.int32)
    mostly[0, 0] = 1
    assert agreement(np.zeros_like(mostly), mostly) == 0.9
    assert kappa(np.zeros_like(mostly), mostly) == 0
    assert kappa(mostly, mostly) == 1
    assert kappa(1 - mostly, mostly) < 0
    mostly[0, 0, 0] = 0
    assert kappa(mostly, mostly) is None, "9 of 100 pixels are borders"
    assert kappa(mostly[0], mostly) == -INF
    a, b = np.random.default_rng(0).integers(0, 150, (2, 1, 64, 64), np.int32)
    assert abs(kappa(a, b)) < 0.01


def test_one_class_has_no_agreement():
    maps = np.random.default_rng(0).standard_normal((1, 1, 4, 5)).astype(np.float32)
    assert agreement(-maps, maps) is None


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


def test_an_absolute_difference_is_never_lost_in_what_is_not_finite():
    assert absolute(f32(1, 2.5), f32(1, 2)) == 0.5
    for bad in (NAN, INF):
        assert absolute(f32(1, bad), f32(1, 2)) == absolute(f32(1, 2), f32(1, bad)) == INF


def test_bounds_of_a_precision():
    assert Bounds.of("fp32", False, None, None) == Bounds(FP32_DIFFERENCE)
    assert Bounds.of("fp16", False, None, None) == Bounds(None, cosine=FP16_COSINE)
    assert Bounds.of("fp32", True, None, None).agreement == MASK_AGREEMENT
    assert Bounds.of("fp16", True, None, None).agreement == MASK_AGREEMENT
    for precision in ("w8a8", "w8dyn", "w4", "mixed"):
        assert Bounds.of(precision, True, None, None).agreement == QUANTIZED_AGREEMENT
        assert Bounds.of(precision, True, 0.5, None).agreement == QUANTIZED_AGREEMENT
    assert Bounds.of("fp32", False, 0.5, None) == Bounds(None, atol=0.5)
    assert Bounds.of("fp16", False, None, 0.9).cosine == 0.9
    assert Bounds.of("fp32", False, None, 0.9) == Bounds(FP32_DIFFERENCE, cosine=0.9)
    assert Bounds.of("fp32", False, 0.0, 1.0) == Bounds(None, atol=0.0, cosine=1.0)
    assert (FP32_DIFFERENCE, FP16_COSINE, MASK_AGREEMENT) == (1e-4, 0.999, 0.999)
    assert (QUANTIZED_COSINE, QUANTIZED_AGREEMENT, LEAST_KAPPA, LIVE) == (0.95, 0.5, 0.4, 0.1)


def test_masks_of_halves_have_a_bound_of_their_own():
    bounds = Bounds.of("fp16", True, None, None)
    assert bounds.of_floats("float16") == replace(bounds, agreement=HALF_AGREEMENT)
    for entry in HALVES.values():
        narrow = entry.elsewhere.startswith("float16")
        wanted = HALF_AGREEMENT if narrow else MASK_AGREEMENT
        assert bounds.of_floats(entry.elsewhere).agreement == wanted
    assert bounds.of_floats("float32") == bounds.of_floats("") == bounds
    for other in (Bounds.of("w8a8", True, None, None), Bounds.of("fp16", False, None, None)):
        assert other.of_floats("float16") == other


def test_what_a_device_computes_floats_in(monkeypatch):
    core = Device("emulated", "cortex-a77")
    monkeypatch.setattr("edgevit_runtimes.devices.local_half", lambda: False)
    for name, entry in HALVES.items():
        plain = Artifact(name, Path("model"), "fp16", 1, "", (), (), {})
        assert floats_on(plain, LOCAL) == floats_on(plain, core) == ""
        half = replace(plain, facts=entry.fact)
        assert floats_on(replace(half, format="onnx"), core) == "", "a manifest that lies"
        assert (floats_on(half, LOCAL), floats_on(half, core)) == (entry.elsewhere, "float16")


@pytest.mark.parametrize(
    ("atol", "min_cosine"),
    [
        *((-1, None), (NAN, None), (INF, None), (1e300, None), (1001, None)),
        *((None, 0), (None, 1.1), (None, NAN), (None, 1e-9), (None, 0.49)),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_bounds_that_nothing_or_anything_keeps_are_refused(precision, atol, min_cosine):
    with pytest.raises(UsageError, match=r"takes 0 to 1000, not|takes 0\.5 to 1, not") as refused:
        Bounds.of(precision, False, atol, min_cosine)
    assert refused.value.next.startswith("--")


def test_how_much_must_be_explained_follows_what_is_asked():
    assert Bounds.of("fp32", False, None, None).explained == 0.99
    assert Bounds.of("fp16", False, None, None).explained == 0.99
    assert Bounds.of("w8a8", False, None, None).explained == 0.8
    assert Bounds.of("w8a8", False, None, 0.9).explained == 0.5
    assert Bounds.of("fp32", False, 0.5, None).explained == 0.5


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
    from edgevit_runtimes.errors import DeviceFailed

    def refuse(device, path, engine):
        raise DeviceFailed("Core ML runs on macOS only.")

    monkeypatch.setattr(parity, "open_on", refuse)
    found = check_parity(adds_one, [case()], Bounds())
    assert (found.status, found.reason) == ("not verified", "Core ML runs on macOS only")
    assert (found.difference, found.cases) == (None, 0)
    with pytest.raises(DeviceFailed):  # asked for by name, it is one
        check_parity(adds_one, [case()], Bounds(), "onnxruntime")
    with pytest.raises(DeviceFailed):  # and on a device that was asked for
        check_parity(adds_one, [case()], Bounds(), device=Device("emulated", "cortex-a77"))


def file_that_returns(path, array, want, precision="fp32"):
    """An ONNX file that returns an array whatever it is given, its artifact and a case."""
    shape = array.shape
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=numpy_helper.from_array(array))],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3))],
        [helper.make_tensor_value_info("out", kind, shape)],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    ports = (TensorSpec("x", (1, 3), "float32"),), (TensorSpec("out", shape, str(array.dtype)),)
    artifact = Artifact("onnx", path, precision, 1, content_sha256(path), *ports, tools={})
    return artifact, Case("golden", (np.zeros((1, 3), np.float32),), (want,))


def checked(path, array, want, precision="fp32", is_map=False, atol=None, min_cosine=None):
    artifact, one = file_that_returns(path / "m.onnx", array, want, precision)
    return check_parity(artifact, [one], Bounds.of(precision, is_map, atol, min_cosine))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8a8", "w4"])
def test_label_maps_are_held_to_their_agreement(precision, tmp_path):
    rng = np.random.default_rng(0)
    mask, other = rng.integers(0, 150, (2, 1, 64, 64), np.int32)
    found = checked(tmp_path, mask, mask, precision, is_map=True)
    assert found.agreement == 1
    assert (found.difference, found.absolute, found.cosine, found.sqnr) == (None,) * 4
    with pytest.raises(CheckFailed, match=r"mask agreement 0\.00\d+, at least 0\.(999|5) "):
        checked(tmp_path, other, mask, precision, is_map=True)


def test_a_quantized_mask_may_differ_where_classes_meet(tmp_path):
    mask = np.repeat(np.arange(10, dtype=np.int32), 10)[None, :, None] * np.ones(
        (1, 1, 9), np.int32
    )
    moved = np.roll(mask, 1, axis=1)
    assert checked(tmp_path, moved, mask, "w8a8", is_map=True).agreement == pytest.approx(0.9)
    half = np.roll(mask, 5, axis=1)
    assert checked(tmp_path, half, mask, "w8a8", is_map=True).agreement == QUANTIZED_AGREEMENT
    with pytest.raises(CheckFailed, match="mask agreement"):
        checked(tmp_path, np.roll(mask, 6, axis=1), mask, "w8a8", is_map=True)


def test_the_commonest_class_is_no_mask(tmp_path):
    """On a picture that one class fills to 84 %, it agrees on that many pixels."""
    mask = np.zeros((1, 50, 50), np.int32)
    mask[0, :20, :20] = 1
    for wrong in (0, 1):
        lazy = np.zeros_like(mask)
        lazy[0, 0, 0] = wrong
        with pytest.raises(CheckFailed, match=r"kappa|same value everywhere"):
            checked(tmp_path, lazy, mask, "w8a8", is_map=True)


def maps(seed=0, channels=150):
    return np.random.default_rng(seed).standard_normal((1, channels, 8, 8)).astype(np.float32)


def nearly_constant(want):
    return (want.mean() + 1e-3 * (want - want.mean())).astype(np.float32)


def one_dead_channel(want):
    got = want.copy()
    got[0, 7] = want[0, 7].mean() + 1e-3 * (want[0, 7] - want[0, 7].mean())
    return got


WRONG = {
    "scaled by 1000": (lambda want: want * np.float32(1000), "explained variance|difference"),
    "scaled by 2": (lambda want: want * np.float32(2), "explained variance|difference"),
    "halved": (lambda want: want / np.float32(2), "explained variance|difference"),
    "nearly constant": (nearly_constant, "nearly the same value everywhere"),
    "one dead channel": (one_dead_channel, "channel 7 of out is nearly the same value"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8a8"])
def test_what_a_cosine_forgives_is_found(name, precision, tmp_path):
    change, sentence = WRONG[name]
    with pytest.raises(CheckFailed, match=sentence):
        checked(tmp_path, change(maps()), maps(), precision)


@pytest.mark.parametrize("precision", ["w8a8", "fp16"])
def test_a_common_offset_hides_nothing(precision, tmp_path):
    """Around 100, any two outputs have a cosine of 0.9999."""
    want, other = (np.float32(100) + 4 * maps(seed, 3) for seed in (0, 1))
    assert cosine(other, want) > 0.99
    with pytest.raises(CheckFailed, match=r"cosine|explained variance"):
        checked(tmp_path, other, want, precision)


@pytest.mark.parametrize(("atol", "min_cosine"), [(1000.0, None), (None, 0.5)])
def test_no_bound_of_the_users_lets_anything_pass(atol, min_cosine, tmp_path):
    want = maps()
    for wrong in (maps(1), -want, np.float32(1e-3) * maps(1)):
        for precision in ("fp32", "w8a8"):
            with pytest.raises(CheckFailed):
                checked(tmp_path, wrong, want, precision, atol=atol, min_cosine=min_cosine)


def test_a_dead_channel_is_named_beside_one_with_a_large_offset(tmp_path):
    want = maps(channels=600)
    want[0, 0] += 150
    with pytest.raises(CheckFailed, match="channel 7 of out is nearly the same value"):
        checked(tmp_path, one_dead_channel(want), want, "w8a8")
    two = maps(channels=2)
    dead = two.copy()
    dead[0, 1] = 0.001 * two[0, 1]
    with pytest.raises(CheckFailed, match="channel 1 of out is nearly the same value"):
        checked(tmp_path, dead, two, "w8a8")
    with pytest.raises(CheckFailed, match=r"m\.onnx: out is nearly the same value"):
        checked(tmp_path, dead[0, 1], two[0, 1], "w8a8")
    # The spread of the first is less than 1 % of its values: nobody can tell it from rounding.
    want[0, 0] = 150 + want[0, 1]
    rounded = want.copy()
    rounded[0, 0] = 150
    assert checked(tmp_path, rounded, want, "w8a8").status == "executed"


def test_a_channel_of_one_pixel_is_not_dead():
    want = np.float32(0.01) * np.random.default_rng(0).standard_normal((1, 2, 128, 128))
    want = want.astype(np.float32)
    want[0, 0] = 0
    want[0, 0, 5, 5] = 1
    got = want.copy()
    got[0, 0] = 0
    parity._check_live("m.onnx", got, TensorSpec("out", want.shape, "float32"), want)


@pytest.mark.parametrize("first", [True, False])
def test_the_worst_case_of_several_counts(first, tmp_path):
    def cases_of(got, good, bad):
        artifact, one = file_that_returns(tmp_path / "m.onnx", got, good, "w8a8")
        both = [one, replace(one, outputs=(bad,))]
        return artifact, both if first else both[::-1]

    bounds = Bounds.of("w8a8", True, None, None)
    got = maps()
    noisy = got + np.float32(0.2) * maps(1)
    found = check_parity(*cases_of(got, got + np.float32(0.01) * maps(1), noisy), bounds)
    assert found.sqnr == round(sqnr(got, noisy), 2)
    with pytest.raises(CheckFailed, match="explained variance -"):
        check_parity(*cases_of(got, got, got / np.float32(2)), bounds)
    mask = np.zeros((1, 50, 50), np.int32)
    mask[0, :20, :20] = 1
    with pytest.raises(CheckFailed, match="kappa"):
        check_parity(*cases_of(mask, mask, mask[:, ::-1, ::-1].copy()), bounds)


def test_agreement_is_of_class_maps_alone(tmp_path):
    assert checked(tmp_path, maps(), maps(), "w8a8").agreement is None
    logits = maps()[:, :, 0, 0]
    assert checked(tmp_path, logits, logits, "w8a8", is_map=True).agreement is None


def test_a_part_that_is_not_finite_is_told(tmp_path):
    got = maps()
    got[0, 3, 2, 2] = NAN
    with pytest.raises(CheckFailed, match="out holds values that are not finite"):
        checked(tmp_path, got, maps(), "w8a8")


def test_a_bound_is_itself_allowed(tmp_path):
    assert checked(tmp_path, f32(0, 1, 2, 3.5), f32(0, 1, 2, 3), atol=0.5).absolute == 0.5


def test_small_outputs_are_not_small_differences(tmp_path):
    """An absolute bound of 1e-4 is kept by anything that is smaller."""
    want, other = np.float32(1e-5) * maps(), np.float32(1e-5) * maps(1)
    assert difference(other, want) < FP32_DIFFERENCE
    with pytest.raises(CheckFailed, match="explained variance"):
        checked(tmp_path, other, want)
    assert checked(tmp_path, want, want).difference == 0


def test_a_map_of_one_class_is_held_to_its_values(tmp_path):
    want = maps(channels=1)
    found = checked(tmp_path, want, want, "w8a8", is_map=True)
    assert found.agreement is None
    for wrong in (-want, want * np.float32(1000)):
        with pytest.raises(CheckFailed, match=r"cosine|explained variance"):
            checked(tmp_path, wrong, want, "w8a8", is_map=True)
    with pytest.raises(CheckFailed, match="explained variance"):  # one value: any cosine is 1
        checked(tmp_path, f32([2000]), f32([2]), "w8a8")


def test_values_that_are_not_finite_are_found_in_every_case(adds_one):
    cases = [case(), case(NAN), case()]
    with pytest.raises(CheckFailed, match="absolute difference inf"):
        check_parity(adds_one, cases, Bounds(None, atol=0.1))


def test_a_comparison_with_nothing_is_none(adds_one):
    with pytest.raises(CheckFailed, match="was compared with nothing"):
        check_parity(adds_one, [], Bounds())


def test_an_output_that_is_missing_is_found(adds_one, monkeypatch):
    one = case()
    with pytest.raises(CheckFailed, match=r"m\.onnx has 1 outputs, the network 2"):
        check_parity(adds_one, [replace(one, outputs=one.outputs * 2)], Bounds())

    class Silent:
        inputs, outputs = adds_one.inputs, adds_one.outputs
        __enter__ = __exit__ = lambda *_: None

        def run(self, *_):
            return ()

    monkeypatch.setattr(parity, "open_on", lambda *_: Silent())
    with pytest.raises(CheckFailed, match=r"m\.onnx has 0 outputs, the network 1"):
        check_parity(adds_one, [one], Bounds())


def test_good_quantized_outputs_are_kept(tmp_path):
    """Noise of 27 % of the signal: 11.3 dB, as mvitv2-micro-video has in w4, the least of all."""
    want = maps()
    noisy = want + np.float32(0.27) * maps(1)
    found = checked(tmp_path, noisy, want, "w4")
    assert found.sqnr == pytest.approx(11.4, abs=0.3)
