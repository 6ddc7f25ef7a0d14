"""The line of rewrites: each pass alone, all of them, over sizes, variants and injections."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import edgevit
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.deployment.reparameterize import reparameterize
from edgevit.difference import difference
from edgevit.errors import CheckFailed, UsageError
from edgevit.networks import line
from edgevit.networks.create import create_model
from edgevit.networks.line import PASSES, count_ops, run_line
from edgevit.networks.mvitv2 import network as mvitv2
from edgevit.networks.parts.layers import GlobalPool, HardSigmoid
from edgevit.networks.system import ALL_FORMATS, Pass
from edgevit.networks.topformer.network import INJECTIONS, Attention, PyramidPool
from edgevit.networks.vit_adapter import dense_sampling
from edgevit.networks.vit_adapter import network as vit_adapter
from edgevit.networks.zoo import SYSTEMS
from edgevit.request.targets import TARGETS

TASKS = ("", "-cls", "-features")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
few = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,  # the same sizes on every machine and every day
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
sizes = st.tuples(st.integers(64, 200), st.integers(64, 200))


def test_a_systems_pass_stands_before_a_general_one_of_its_stage():
    general = {entry.name: entry for entry in line.GENERAL}
    for system in SYSTEMS.values():
        for entry in system.load().passes:
            assert entry in PASSES
            place = general.get(entry.before)
            assert (place is None) == (entry.before is None), f"{entry.name}: no {entry.before}"
            if place is not None:
                assert entry.stage == place.stage
                assert PASSES.index(entry) < PASSES.index(place)


def network_of(filled, name, size, **options):
    return filled(create_model(name, input_size=size, **options))


def outputs_of(network, x):
    return count_ops(network, x)[1]


def worst(network, rewritten, dtype=torch.float64, seed=5):
    """The largest difference over the outputs, on an input that the line has not seen."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(network.input_shape, generator=generator, dtype=torch.float64).to(dtype)
    pairs = zip(outputs_of(rewritten, x), outputs_of(network, x), strict=True)
    return max(difference(got.numpy(), want.numpy()) for got, want in pairs)


# A network that each pass changes, small: what changes nothing proves nothing.
SMALL = {
    "topformer-t": (100, 168),
    "topformer-t-cls": (64, 96),
    "vit-micro": (32, 48),
    "vitpose-micro": (64, 48),
    "t2t-vit-micro": (112, 112),
    "mvitv2-micro-video": (4, 32, 32),
    "mvitv2-pyramid": (72, 104),
    "vit-adapter-micro-upernet": (64, 96),
    "vit-adapter-det": (64, 96),
}
CHANGES = {
    "fold-batch-norms": "topformer-t-cls",
    "fold-hard-sigmoids": "topformer-t",
    "fold-depthwise-fuse": "topformer-t",
    "fix-pools": "topformer-t",
    "stack-attention": "topformer-t",
    "fold-places": "vit-micro",
    "answer-for-class-tokens": "vit-micro",
    "fold-attention-scales": "vit-micro",
    "split-projections": "vit-micro",
    "explicit-attend": "vit-micro",
    "fold-norm-affines": "vit-micro",
    "fold-deconv-norms": "vitpose-micro",
    "split-deconvs": "vitpose-micro",
    "unfold-to-conv": "t2t-vit-micro",
    "fold-feature-scales": "t2t-vit-micro",
    "shift-conv3d": "mvitv2-micro-video",
    "ask-class-token": "mvitv2-micro-video",
    "shape-pooling-attention": "mvitv2-micro-video",
    "copy-pixels": "mvitv2-pyramid",
    "copy-uneven-pixels": "mvitv2-pyramid",
    "fold-map-norms": "vit-adapter-micro-upernet",
    "fix-positions": "vit-adapter-micro-upernet",
    "fold-sampling-units": "vit-adapter-micro-upernet",
    "sample-by-products": "vit-adapter-micro-upernet",
    "fold-layer-scales": "vit-adapter-det",
    "order-windows": "vit-adapter-det",
    "bound-gathers": "vit-adapter-det",
    "sample-by-rows": "vit-adapter-det",
}


def built(name):
    if name == "mvitv2-pyramid":  # of a size that the zoo refuses: its coarsest maps do not double
        config = mvitv2.Config((1, 1, 2, 1), dim=8, heads=1, input_size=SMALL[name], window=8)
        network = mvitv2.MViTPyramid(config)
    elif name == "vit-adapter-det":  # which the zoo has in sizes that take long
        config = replace(
            vit_adapter.CONFIGS["micro"], input_size=SMALL[name], window=3, vit_features="last"
        )
        network = vit_adapter.ViTAdapter(vit_adapter.with_windows(config))
    else:
        return create_model(name, input_size=SMALL[name])
    network.input_shape = (1, 3, *SMALL[name])
    return network


@pytest.fixture(scope="module")
def changed(filled):
    """A network's name -> what each pass that changed it did, in any stage and format."""

    @cache
    def line_of(name):
        network = filled(built(name)).eval()
        reports = []
        with pytest.MonkeyPatch.context() as patch:
            if name == "vit-adapter-det":  # samplings as of a large input: rows, a few products
                patch.setattr(dense_sampling, "SMALL", 0)
                patch.setattr(dense_sampling, "MOST_GATHERED", 5)
            common = run_line(network, "common", report=reports.append)
            for format_ in ALL_FORMATS:
                rewritten = run_line(common, "format", format_, report=reports.append)
                assert worst(network, rewritten, torch.float32) <= FP32_DIFFERENCE
        return {report.name: report for report in reports}

    return line_of


@pytest.mark.parametrize("name", sorted({entry.name for entry in PASSES}))
def test_each_pass_changes_a_network_and_is_proven_on_it(name, changed):
    report = changed(CHANGES[name])[name]
    assert report.difference <= line.TOLERANCE


@few
@given(
    size=sizes,
    variant=st.sampled_from("tsb"),
    task=st.sampled_from(TASKS),
    target=st.sampled_from(sorted(TARGETS)),
    stride=st.sampled_from((64, 32)),
    injection=st.sampled_from(INJECTIONS),
    data=st.data(),
)
def test_the_whole_line(filled, size, variant, task, target, stride, injection, data):
    options = {"token_stride": stride}
    if task != "-cls":
        options["injection"] = injection
    network = network_of(filled, f"topformer-{variant}{task}", size, **options).double()
    format_ = data.draw(st.sampled_from(TARGETS[target].formats))
    reports = []
    rewritten = reparameterize(network, target, format_, report=reports.append)
    assert worst(network, rewritten) <= line.TOLERANCE
    assert not any(isinstance(module, NORMS) for module in rewritten.modules())
    assert not any(isinstance(module, PyramidPool | GlobalPool) for module in rewritten.modules())
    assert all(report.difference <= line.TOLERANCE for report in reports)
    assert reports[-1].ops_after < reports[0].ops_before


@pytest.mark.parametrize("injection", INJECTIONS)
def test_every_injection_for_every_format(injection, filled):
    network = network_of(filled, "topformer-t", (72, 104), injection=injection).double()
    common = run_line(network, "common")
    for format_ in ALL_FORMATS:
        rewritten = run_line(common, "format", format_)
        assert worst(network, rewritten) <= line.TOLERANCE, format_


class Kept:
    """A network as it was: nobody may change it."""

    def __init__(self, network):
        self.network = network
        self.before = {key: value.clone() for key, value in network.state_dict().items()}
        self.modules = [type(module) for module in network.modules()]

    def check(self):
        network = self.network
        assert [type(module) for module in network.modules()] == self.modules
        assert not network.training
        assert list(self.before) == list(network.state_dict())
        for key, value in network.state_dict().items():
            assert torch.equal(value, self.before[key])
            assert value.dtype == self.before[key].dtype
        assert not any(module._forward_pre_hooks for module in network.modules())


class Lines:
    """A task's topformer-t and what the line makes of it for every format, once. Read only."""

    def __init__(self, network):
        self.network, self.reports, self.made = network, [], {}
        self.kept = Kept(network)
        self.common = run_line(network, "common", report=self.reports.append)
        self.kept_common = Kept(self.common)

    def of(self, format_):
        """The network for a format, and the reports of both stages."""
        if format_ not in self.made:
            reports = [*self.reports]
            rewritten = run_line(self.common, "format", format_, report=reports.append)
            self.made[format_] = rewritten, reports
        return self.made[format_]


@pytest.fixture(scope="module")
def lines(filled):
    @cache
    def lines_of(task):
        return Lines(network_of(filled, f"topformer-t{task}", (64, 96)))

    return lines_of


@pytest.mark.parametrize("task", TASKS)
def test_the_float32_network_stays_within_the_measure(task, lines):
    check_float32(lines(task).network, lines(task).of("executorch")[0])


# The other tasks differ from those of t, which run above, in widths alone.
@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=pytest.mark.full if t else ()) for t in TASKS]
)
def test_a_larger_float32_network_stays_within_the_measure(task, filled):
    network = network_of(filled, f"topformer-s{task}", (128, 96))
    check_float32(network, reparameterize(network))


def check_float32(network, rewritten):
    assert {p.dtype for p in rewritten.parameters()} == {torch.float32}
    assert {b.dtype for b in rewritten.buffers()} <= {torch.float32}
    assert worst(network, rewritten, torch.float32) <= FP32_DIFFERENCE


@pytest.mark.parametrize("task", TASKS)
def test_the_given_network_stays_as_it_was(task, lines):
    for name in ALL_FORMATS:
        lines(task).of(name)
    lines(task).kept.check()
    lines(task).kept_common.check()


@pytest.mark.parametrize("format_", ALL_FORMATS)
def test_reports_say_what_each_pass_did(format_, lines):
    network = lines("").network
    rewritten, reports = lines("").of(format_)
    example = torch.zeros(network.input_shape)
    counts, _ = count_ops(network, example)
    assert reports[0].name == "fold-batch-norms"
    assert reports[0].ops_before == counts.total()
    for one, other in pairwise(reports):
        assert other.ops_before == one.ops_after
    for report in reports:
        assert report.ops_after - report.ops_before == sum(report.change.values())
        assert 0 not in report.change.values()
    assert reports[-1].ops_after == count_ops(rewritten, example)[0].total()
    change = {report.name: report.change for report in reports}
    norms = sum(isinstance(module, NORMS) for module in network.modules())
    assert change["fold-batch-norms"] == {"native_batch_norm": -norms}
    assert change["fold-depthwise-fuse"] == {"convolution": -1}
    assert change["fix-pools"]["_adaptive_avg_pool2d"] == -4
    served = dict.fromkeys(e.name for e in PASSES if format_ in e.formats)
    assert [report.name for report in reports] == [n for n in served if n in change]
    # What the format gets.
    kinds = {type(module) for module in rewritten.modules()}
    assert not kinds & {HardSigmoid, PyramidPool, *NORMS}
    assert (Attention in kinds) == (format_ == "executorch")
    if format_ == "onnx":  # one convolution instead of three, in each block
        assert change["stack-attention"]["convolution"] == -2 * 4


@pytest.fixture
def own_passes(monkeypatch):
    """Of the line, what changes topformer-t: the others take their time to find nothing."""
    own = tuple(
        entry for entry in PASSES if CHANGES[entry.name] in ("topformer-t", "topformer-t-cls")
    )
    monkeypatch.setattr(line, "PASSES", own)
    return own


def test_the_target_decides_the_format(filled, own_passes):
    network = network_of(filled, "topformer-t", (64, 64))
    kinds = {}
    for target in ("android-arm64", "linux-arm64"):
        model = edgevit.reparameterize(network, target=target)
        kinds[target] = {type(module).__name__ for module in model.modules()}
    assert "Attention" in kinds["android-arm64"]
    assert "StackedAttention" in kinds["linux-arm64"]
    with pytest.raises(UsageError, match="There is no target 'android'"):
        reparameterize(network, "android")
    with pytest.raises(UsageError, match="ios-arm64 takes coreml, not 'onnx'"):
        reparameterize(network, "ios-arm64", "onnx")


def wrong_scale(model, example):
    """A pass that is off by one part in a million."""
    with torch.no_grad():
        model.decode_head.conv_seg.weight.mul_(1 + 1e-6)
    return model


def wrong_nan(model, example):
    with torch.no_grad():
        model.decode_head.conv_seg.bias[0] = float("nan")
    return model


def wrong_shape(model, example):
    model.decode_head.conv_seg = nn.Conv2d(128, 3, 1, dtype=torch.float64)
    return model


@pytest.mark.parametrize("wrong", [wrong_scale, wrong_nan, wrong_shape])
@pytest.mark.parametrize("place", ["first", "third", "last"])
def test_a_pass_that_breaks_the_network_is_named(wrong, place, filled, own_passes, monkeypatch):
    index = {"first": 0, "third": 2, "last": len(own_passes)}[place]
    stage = own_passes[min(index, len(own_passes) - 1)].stage
    broken = Pass(wrong, stage, ALL_FORMATS, "to be caught")
    monkeypatch.setattr(line, "PASSES", (*own_passes[:index], broken, *own_passes[index:]))
    network = network_of(filled, "topformer-t", (64, 64))
    before = deepcopy(network.state_dict())
    with pytest.raises(CheckFailed, match=f"The pass {wrong.__name__.replace('_', '-')} changed"):
        reparameterize(network)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(("worst", "fine"), [(1e-9, True), (1.005e-9, False), (np.nan, False)])
def test_the_bound_of_a_proof(worst, fine, filled, monkeypatch):
    monkeypatch.setattr(line, "PASSES", (Pass(_a_setting, "common", ALL_FORMATS, "a test's"),))
    monkeypatch.setattr(line, "difference", lambda *_: worst)
    network = network_of(filled, "topformer-t", (64, 64))
    if fine:
        run_line(network, "common")
    else:
        with pytest.raises(CheckFailed, match=r"-a-setting changed .* \(allowed 1e-09\)"):
            run_line(network, "common")


def test_a_pass_that_breaks_one_of_several_outputs_is_named(filled, own_passes, monkeypatch):
    def wrong_coarsest(model, example):
        with torch.no_grad():
            model.backbone.SIM[3].global_embedding.conv.bias.add_(1e-3)
        return model

    broken = Pass(wrong_coarsest, "common", ALL_FORMATS, "to be caught")
    monkeypatch.setattr(line, "PASSES", (*own_passes, broken))
    network = network_of(filled, "topformer-t-features", (64, 64))
    with pytest.raises(CheckFailed, match="The pass wrong-coarsest changed"):
        run_line(network, "common")


@pytest.mark.parametrize(
    "changed",
    [
        lambda outputs: outputs[:-1],
        lambda outputs: (*outputs, outputs[0]),
        lambda outputs: (outputs[0].flatten(), *outputs[1:]),
    ],
    ids=["one fewer", "one more", "another shape"],
)
def test_a_pass_that_changes_what_is_returned_is_named(filled, monkeypatch, changed):
    def other_outputs(model, example):
        plain = model.forward
        model.forward = lambda x: changed(plain(x))
        return model

    monkeypatch.setattr(line, "PASSES", (Pass(other_outputs, "common", ALL_FORMATS, "a test's"),))
    network = network_of(filled, "topformer-t-features", (64, 64))
    with pytest.raises(CheckFailed, match="The pass other-outputs changed the network's outputs"):
        run_line(network, "common")


def test_what_cannot_be_rewritten_is_refused(filled):
    network = create_model("topformer-t", input_size=(64, 64), outputs="all")
    with pytest.raises(UsageError, match="outputs='all' cannot be rewritten"):
        reparameterize(network)
    with pytest.raises(UsageError, match="in training mode"):
        reparameterize(create_model("topformer-t", input_size=(64, 64)).train())


def test_the_line_is_the_same_for_the_same_seed(lines):
    one, two = lines("").of("executorch")[0], reparameterize(lines("").network, seed=0)
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_every_pass_has_a_reason_and_a_docstring_of_its_algebra():
    assert [entry.stage for entry in PASSES] == sorted(entry.stage for entry in PASSES)
    # Rooms may have a rewrite of the same name; within one, a name is a name.
    for system in SYSTEMS.values():
        own = [entry.name for entry in system.load().passes]
        assert len(set(own)) == len(own)
    for entry in PASSES:
        assert entry.reason
        assert set(entry.formats) <= set(ALL_FORMATS)


def test_networks_may_be_rewritten_in_inference_mode(filled):
    network = network_of(filled, "topformer-t", (64, 64))
    with torch.inference_mode():
        lean = reparameterize(network, "host", "onnx")
    assert worst(network, lean, torch.float32) <= FP32_DIFFERENCE


@pytest.mark.parametrize("task", ["", "-cls"])
def test_a_rewritten_network_may_be_rewritten_for_another_format(task, lines):
    twice = reparameterize(lines(task).of("onnx")[0], "host", "executorch")
    assert worst(lines(task).network, twice, torch.float32) <= FP32_DIFFERENCE


def test_a_rewritten_transformer_may_be_rewritten_for_another_format(filled):
    network = network_of(filled, "vit-micro", (112, 112))
    twice = reparameterize(reparameterize(network, "host", "onnx"), "host", "executorch")
    assert worst(network, twice, torch.float32) <= FP32_DIFFERENCE


def test_a_part_in_training_mode_is_refused(filled):
    network = network_of(filled, "topformer-t", (64, 64))
    next(m for m in network.modules() if isinstance(m, NORMS)).train()
    with pytest.raises(UsageError, match="training mode"):
        run_line(network, "common")


def _nothing(model, example):
    return model


def _a_setting(model, example):
    next(m for m in model.modules() if isinstance(m, nn.Conv2d)).note = True
    return model


def _a_forward(model, example):
    plain = model.forward
    model.forward = lambda x: plain(x) + 1
    return model


@torch.no_grad()
def _a_value(model, example):
    next(m for m in model.modules() if isinstance(m, nn.Conv2d)).weight.mul_(2)
    return model


def _held_by(model):
    """Settings of many kinds on a network, as they are before a pass."""
    model.kept = {
        "dict": {"heads": 2},
        "list": [1, [2, 3]],
        "tensors": [torch.zeros(10_000)],
        "array": np.zeros(10_000),
        "object": SimpleNamespace(deep=SimpleNamespace(scale=1.0)),
        "set": {1},
        "function": len,
    }
    model.kept["itself"] = model.kept
    model.again = model.kept
    return model


IN_PLACE = {
    "dict": lambda kept: kept["dict"].update(heads=3),
    "nested list": lambda kept: kept["list"][1].append(4),
    "tensor in a list": lambda kept: kept["tensors"][0].view(-1)[5000].fill_(1),
    "array": lambda kept: kept["array"].put(5000, 1),
    "object": lambda kept: setattr(kept["object"].deep, "scale", 2.0),
    "set": lambda kept: kept["set"].add(2),
    "another function": lambda kept: kept.update(function=max),
    "hook": None,
    "another tensor": lambda kept: kept.update(tensors=[torch.zeros(10_000)]),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_a_change_in_place_is_seen(kind):
    model = _held_by(nn.Linear(2, 2))
    before = line._fingerprint(model)
    assert line._fingerprint(model) == before
    if kind == "hook":
        model.register_forward_hook(lambda *_: None)
    else:
        IN_PLACE[kind](model.kept)
    assert line._fingerprint(model) != before


def test_a_pass_that_changes_a_setting_in_place_is_proven(filled, monkeypatch):
    """The head multiplies by what a dict says, which keeps its number when a pass changes it."""
    network = network_of(filled, "topformer-t", (64, 64))
    network.decode_head.scales = {"out": 1.0}
    network.decode_head.register_forward_hook(lambda head, _, out: out * head.scales["out"])

    def louder(model, example):
        model.decode_head.scales["out"] = 2.0
        return model

    monkeypatch.setattr(line, "PASSES", (Pass(louder, "common", ALL_FORMATS, "a test's"),))
    with pytest.raises(CheckFailed, match="The pass louder changed"):
        run_line(network, "common")


@pytest.mark.parametrize(
    ("run", "outcome"),
    [(_nothing, []), (_a_setting, ["-a-setting"]), (_a_forward, None), (_a_value, None)],
)
def test_every_pass_that_touches_something_is_proven(run, outcome, filled, monkeypatch):
    network = network_of(filled, "topformer-t", (64, 64))
    monkeypatch.setattr(line, "PASSES", (Pass(run, "common", ALL_FORMATS, "a test's"),))
    reports = []
    if outcome is None:
        with pytest.raises(CheckFailed, match="changed the network's output"):
            run_line(network, "common", report=reports.append)
    else:
        run_line(network, "common", report=reports.append)
        assert [report.name for report in reports] == outcome
