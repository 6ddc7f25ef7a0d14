"""The line of rewrites: each pass alone, all of them, over sizes, variants and injections."""

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import edgevit
from edgevit.create import create_model
from edgevit.errors import CheckFailed, UsageError
from edgevit.models.layers import GlobalPool, HardSigmoid
from edgevit.models.topformer import INJECTIONS, Attention, PyramidPool
from edgevit.parity import FP32_DIFFERENCE, difference
from edgevit.reparam import line
from edgevit.reparam.line import ALL_FORMATS, PASSES, Pass, count_ops, reparameterize, run_line
from edgevit.targets import TARGETS

TASKS = ("", "-cls", "-features")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,  # the same sizes on every machine and every day
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
sizes = st.tuples(st.integers(64, 200), st.integers(64, 200))


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


def needs(entry):
    """The passes that a pass builds on: every earlier one that serves a format of its own."""
    return [
        earlier
        for earlier in PASSES[: PASSES.index(entry)]
        if set(earlier.formats) & set(entry.formats)
    ]


@pytest.mark.parametrize("entry", PASSES, ids=lambda entry: entry.name)
@pytest.mark.parametrize("name", ["topformer-t", "topformer-t-cls", "topformer-s-features"])
def test_each_pass_alone(entry, name, filled):
    network = network_of(filled, name, (100, 168)).double()
    example = torch.randn(network.input_shape, dtype=torch.float64)
    before = deepcopy(network)
    for earlier in needs(entry):
        before = earlier.run(before, example)
    after = entry.run(deepcopy(before), example)
    assert worst(before, after) <= line.TOLERANCE
    assert worst(network, after) <= line.TOLERANCE


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
@pytest.mark.parametrize("format_", ALL_FORMATS)
def test_every_injection_for_every_format(injection, format_, filled):
    network = network_of(filled, "topformer-t", (72, 104), injection=injection).double()
    rewritten = reparameterize(network, "host", format_)
    assert worst(network, rewritten) <= line.TOLERANCE


@pytest.mark.parametrize("name", [f"topformer-{v}{task}" for v in "ts" for task in TASKS])
def test_the_float32_network_stays_within_the_measure(name, filled):
    network = network_of(filled, name, (128, 96))
    rewritten = reparameterize(network)
    assert {p.dtype for p in rewritten.parameters()} == {torch.float32}
    assert {b.dtype for b in rewritten.buffers()} <= {torch.float32}
    assert worst(network, rewritten, torch.float32) <= FP32_DIFFERENCE


@pytest.mark.parametrize("task", TASKS)
def test_the_given_network_stays_as_it_was(task, filled):
    network = network_of(filled, f"topformer-t{task}", (64, 96))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modules = [type(module) for module in network.modules()]
    for name in ALL_FORMATS:
        reparameterize(network, "host", name)
    assert [type(module) for module in network.modules()] == modules
    assert not network.training
    assert list(before) == list(network.state_dict())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
        assert value.dtype == before[key].dtype
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("format_", ALL_FORMATS)
def test_reports_say_what_each_pass_did(format_, filled):
    network = network_of(filled, "topformer-t", (64, 128))
    reports = []
    rewritten = reparameterize(network, "host", format_, report=reports.append)
    counts, _ = count_ops(network, torch.zeros(network.input_shape))
    assert reports[0].name == "fold-batch-norms"
    assert reports[0].ops_before == counts.total()
    for one, other in pairwise(reports):
        assert other.ops_before == one.ops_after
    for report in reports:
        assert report.ops_after - report.ops_before == sum(report.change.values())
        assert 0 not in report.change.values()
    assert reports[-1].ops_after == count_ops(rewritten, torch.zeros(1, 3, 64, 128))[0].total()
    change = {report.name: report.change for report in reports}
    norms = sum(isinstance(module, NORMS) for module in network.modules())
    assert change["fold-batch-norms"] == {"native_batch_norm": -norms}
    assert change["fold-depthwise-fuse"] == {"convolution": -1}
    assert change["fix-pools"]["_adaptive_avg_pool2d"] == -4
    served = [entry.name for entry in PASSES if format_ in entry.formats]
    assert [report.name for report in reports] == [n for n in served if n in change]


def test_stacked_attention_runs_one_convolution_instead_of_three(filled):
    network = network_of(filled, "topformer-t", (64, 64))
    reports = {}
    reparameterize(network, "host", "onnx", report=lambda done: reports.setdefault(done.name, done))
    assert reports["stack-attention"].change["convolution"] == -2 * 4


def test_what_each_format_gets(filled):
    network = network_of(filled, "topformer-t", (64, 64))
    for name in ALL_FORMATS:
        rewritten = reparameterize(network, "host", name)
        kinds = {type(module) for module in rewritten.modules()}
        assert not kinds & {HardSigmoid, PyramidPool, *NORMS}
        assert (Attention in kinds) == (name == "executorch")


def test_the_target_decides_the_format(filled):
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
@pytest.mark.parametrize("place", [0, 2, len(PASSES)])
def test_a_pass_that_breaks_the_network_is_named(wrong, place, filled, monkeypatch):
    stage = PASSES[min(place, len(PASSES) - 1)].stage
    broken = Pass(wrong, stage, ALL_FORMATS, "to be caught")
    monkeypatch.setattr(line, "PASSES", (*PASSES[:place], broken, *PASSES[place:]))
    network = network_of(filled, "topformer-t", (64, 64))
    before = deepcopy(network.state_dict())
    with pytest.raises(CheckFailed, match=f"The pass {wrong.__name__.replace('_', '-')} changed"):
        reparameterize(network)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_pass_that_breaks_one_of_several_outputs_is_named(filled, monkeypatch):
    def wrong_coarsest(model, example):
        with torch.no_grad():
            model.backbone.SIM[3].global_embedding.conv.bias.add_(1e-3)
        return model

    broken = Pass(wrong_coarsest, "common", ALL_FORMATS, "to be caught")
    monkeypatch.setattr(line, "PASSES", (*PASSES, broken))
    network = network_of(filled, "topformer-t-features", (64, 64))
    with pytest.raises(CheckFailed, match="The pass wrong-coarsest changed"):
        run_line(network, "common")


def test_what_cannot_be_rewritten_is_refused(filled):
    network = create_model("topformer-t", input_size=(64, 64), outputs="all")
    with pytest.raises(UsageError, match="outputs='all' cannot be rewritten"):
        reparameterize(network)
    with pytest.raises(UsageError, match="in training mode"):
        reparameterize(create_model("topformer-t", input_size=(64, 64)).train())


def test_the_line_is_the_same_for_the_same_seed(filled):
    network = network_of(filled, "topformer-t", (64, 96))
    one, two = reparameterize(network, seed=1), reparameterize(network, seed=1)
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_every_pass_has_a_reason_and_a_docstring_of_its_algebra():
    assert [entry.stage for entry in PASSES] == sorted(entry.stage for entry in PASSES)
    assert len({entry.name for entry in PASSES}) == len(PASSES)
    for entry in PASSES:
        assert entry.reason
        assert set(entry.formats) <= set(ALL_FORMATS)


def test_networks_may_be_rewritten_in_inference_mode(filled):
    network = network_of(filled, "topformer-t", (64, 64))
    with torch.inference_mode():
        lean = reparameterize(network, "host", "onnx")
    assert worst(network, lean, torch.float32) <= FP32_DIFFERENCE


@pytest.mark.parametrize("name", ["topformer-t", "topformer-t-cls", "vit-micro"])
def test_a_rewritten_network_may_be_rewritten_for_another_format(name, filled):
    network = network_of(filled, name, (112, 112))
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
