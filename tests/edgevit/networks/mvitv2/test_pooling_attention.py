"""MViTv2 through the line: every form of its attention, in float64 and through every format."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.bundle.parity import Bounds, Case, check_parity
from edgevit.difference import difference
from edgevit.networks.line import TOLERANCE, run_line
from edgevit.networks.mvitv2.network import Attention, Config, MViT, MViTPyramid, to_map
from edgevit.networks.mvitv2.passes import (
    CopyPixels,
    SkippingConv,
    ask_class_token,
    copy_pixels,
    copy_uneven_pixels,
)
from edgevit.networks.mvitv2.pooling_attention import PoolingAttention, shape_pooling_attention
from edgevit.networks.passes.shift_conv3d import shift_conv3d
from edgevit_export.formats import FORMATS, reader
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import FP32

IMAGE = Config((1, 1, 2, 1), dim=8, heads=1, input_size=(64, 64), num_classes=5)
CLASS = replace(IMAGE, cls_token=True)
VIDEO = replace(CLASS, input_size=(4, 64, 64), kv_stride=8)
PYRAMID = replace(IMAGE, input_size=(64, 96), window=8, table_size=(32, 32))
CONFIGS = {
    "image": IMAGE,
    "oblong": replace(IMAGE, input_size=(64, 96)),
    "uneven": replace(IMAGE, input_size=(72, 100)),
    "doubling in the MLP": replace(IMAGE, expand_in_attention=False, heads=2),
    "class token": CLASS,
    "class token with its query": replace(CLASS, cls_query=True),
    "two last blocks": replace(CLASS, depths=(1, 1, 1, 2)),
    "video": VIDEO,
    "oblong video": replace(VIDEO, input_size=(2, 64, 96)),
    "video without a class token": replace(VIDEO, cls_token=False),
    "pyramid": PYRAMID,
    "pyramid, odd maps": replace(PYRAMID, input_size=(72, 104)),
    "pyramid, padded windows": replace(PYRAMID, input_size=(80, 112)),
}
# Exporters take long, so few blocks. The first one of every later stage has strided queries, and
# stages may be empty; the video's second block answers for the class token alone.
# The pyramids have a map that is not twice the coarser one, and the whole one has windows that are
# cut by the map's end.
LOWERED = {
    "image": replace(IMAGE, depths=(0, 1)),
    "video": replace(VIDEO, depths=(0, 1, 1)),
    "pyramid": replace(PYRAMID, depths=(1, 1, 1, 1), input_size=(72, 104)),
    "pyramid of two blocks": replace(PYRAMID, depths=(1,) * 4, input_size=(48, 96), window=12),
}


class Halved(nn.Module):
    """A stand-in for a block with strided queries, without its attention."""

    def __init__(self, plan):
        super().__init__()
        self.grid = plan.grid
        self.conv = nn.Conv2d(plan.inputs, plan.outputs, 3, 2, 1)

    def forward(self, x):
        return self.conv(to_map(x, self.grid)).flatten(2).transpose(1, 2)


def few_blocks(network):
    """The pyramid needs four stages, of which the last three have blocks of one kind."""
    blocks = network.bottom_up.blocks
    for index in (1, 2):
        blocks[index] = Halved(blocks[index].plan)
    return drawn(network).eval()


def network_of(config):
    """A tiny network with nothing at zero or one."""
    network = drawn(MViTPyramid(config) if config.window else MViT(config))
    network.input_shape = (1, 3, *config.input_size)
    names = ("p2", "p3", "p4", "p5", "p6") if config.window else ("logits",)
    network.output_names = names
    return network.eval()


def drawn(network):
    generator = torch.Generator().manual_seed(4)
    for value in network.parameters():
        start = torch.randn(value.shape, generator=generator)
        scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.3
        value.data = start * scale + (0.8 if value.ndim == 1 else 0)
    return network


def example_of(config, batch=1):
    generator = torch.Generator().manual_seed(9)
    return torch.randn(batch, 3, *config.input_size, generator=generator, dtype=torch.float64)


def outputs_of(network, x):
    with torch.no_grad():
        out = network(x)
    return out if isinstance(out, tuple) else (out,)


def worst(got, wanted):
    pairs = zip(got, wanted, strict=True)
    return max(difference(a.numpy(), b.numpy()) for a, b in pairs)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_pass_is_exact(name, batch):
    network = network_of(CONFIGS[name]).double()
    x = example_of(CONFIGS[name], batch)
    wanted = outputs_of(network, x)
    for rewrite in (ask_class_token, shift_conv3d, shape_pooling_attention, copy_pixels):
        network = rewrite(network)
        assert worst(outputs_of(network, x), wanted) <= TOLERANCE, rewrite.__name__
    assert all(out.std() > 0.1 for out in wanted)
    kinds = {type(module) for module in network.modules()}
    assert PoolingAttention in kinds
    assert Attention not in kinds
    assert ({CopyPixels, SkippingConv} <= kinds) == (CONFIGS[name].window > 0)


class Ranks(torch.utils._python_dispatch.TorchDispatchMode):
    """The largest rank of what any operation makes, and whether one gathers."""

    def __init__(self):
        super().__init__()
        self.rank, self.names = 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, list | tuple) else [out]
        self.rank = max([self.rank, *(m.ndim for m in made if isinstance(m, torch.Tensor))])
        self.names.add(func.overloadpacket.__name__)
        return out


@pytest.mark.parametrize("name", CONFIGS)
def test_rank_five_at_most_and_no_gather(name):
    network = shape_pooling_attention(
        shift_conv3d(ask_class_token(network_of(CONFIGS[name]).double()))
    )
    with Ranks() as seen, torch.no_grad():
        network(example_of(CONFIGS[name]))
    assert seen.rank <= 5
    assert not seen.names & {"index", "gather", "index_select", "expand_copy"}
    assert "bmm" in seen.names


def test_only_the_class_token_comes_out_of_the_last_block():
    network = ask_class_token(network_of(VIDEO))
    shapes = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, x, out: shapes.append(tuple(out.shape)))
    with torch.no_grad():
        network(example_of(VIDEO).float())
    assert [shape[1] for shape in shapes] == [513, 129, 33, 33, 1]


@pytest.mark.parametrize("config", [IMAGE, PYRAMID], ids=["mean of all", "maps"])
def test_other_networks_keep_their_last_block(config):
    network = network_of(config)
    before = [name for name, _ in network.named_modules()]
    rewritten = ask_class_token(network)
    assert [name for name, _ in rewritten.named_modules()] == before
    assert not any(m.class_only for m in rewritten.modules() if isinstance(m, Attention))


def test_networks_that_return_all_keep_their_last_block():
    network = MViT(CLASS, all_outputs=True).eval()
    assert not ask_class_token(network).blocks[-1].attn.class_only


@pytest.mark.parametrize(
    ("size", "copied"), [((64, 96), []), ((72, 104), ["nearest3", "nearest4"])]
)
def test_only_uneven_resizes_are_copied_where_the_others_are_taken(size, copied):
    config = replace(PYRAMID, input_size=size)
    network = network_of(config).double()
    x = example_of(config)
    wanted = outputs_of(network, x)
    rewritten = copy_uneven_pixels(network)
    assert [n for n, m in rewritten.named_modules() if isinstance(m, CopyPixels)] == copied
    assert worst(outputs_of(rewritten, x), wanted) <= TOLERANCE


def cases():
    """Two blocks stand for the whole pyramid, and its last one for a picture's, without windows. A
    clip's ranks, which Core ML bounds, are checked above.
    """
    always = {
        "pyramid of two blocks": tuple(FORMATS),
        "video": ("onnx", "executorch", "litert"),
        "image": ("onnx",),
    }
    for name in LOWERED:
        for format_name in FORMATS:
            run = format_name in always.get(name, ())
            yield pytest.param(format_name, name, marks=() if run else pytest.mark.full)


@pytest.mark.parametrize(("format_name", "name"), [*cases()])
def test_every_format(format_name, name, tmp_path):
    config = LOWERED[name]
    network = network_of(config)
    if name == "pyramid of two blocks":
        network = few_blocks(network)
    x = example_of(config).float()
    wanted = outputs_of(network, x)
    rewritten = run_line(run_line(network, "common"), "format", format_name)
    entry = FORMATS[format_name]
    names = Names(("input",), network.output_names)
    path = tmp_path / f"model{entry.suffix}"
    artifact = lower(rewritten, (x,), format_name, FP32, path, names)
    case = Case("random", (x.numpy(),), tuple(out.numpy() for out in wanted))
    found = check_parity(artifact, [case], Bounds.of("fp32", False, None, None))
    assert found.status == ("not verified" if format_name == "coreml" else "executed")
    report = reader(entry).read(path)
    if format_name == "executorch":
        assert not report.left_out
        assert report.delegated_subgraphs == 1


def test_the_given_network_stays_as_it_was():
    network = network_of(VIDEO)
    before = deepcopy(network.state_dict())
    run_line(run_line(network, "common"), "format", "onnx")
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
