"""ViT-Adapter against the official code's outputs, and against its definition restated."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import load_strict
from edgevit.difference import difference
from edgevit.networks.parts.layers import Network
from edgevit.networks.vit_adapter import checkpoint as layout
from edgevit.networks.vit_adapter.cards import CARDS, MAPS
from edgevit.networks.vit_adapter.network import (
    Config,
    PositionResize,
    ViTAdapter,
    ViTAdapterUperNet,
    build,
    light,
    with_windows,
)

PARITY = Path(__file__).resolve().parents[3] / "parity"
BY_NAME = {card.name: card for card in CARDS}
OFFICIAL_PARITY = 2e-4

# Small, and different wherever two numbers could be taken for each other.
TINY = Config(
    dim=24,
    depth=8,
    heads=3,
    deform_heads=4,
    deform_ratio=0.5,
    grid=(5, 5),
    input_size=(64, 96),
    conv_inplane=8,
    window=3,
    num_classes=7,
    head_channels=12,
    aux_channels=6,
)


# The network once more, as straight code over a state dict: nothing here knows edgevit.networks.


def linear(s, key, x):
    return x @ s[f"{key}.weight"].T + s[f"{key}.bias"]


def layer_norm(s, key, x):
    centered = x - x.mean(-1, keepdim=True)
    scale = (centered.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    return centered * scale * s[f"{key}.weight"] + s[f"{key}.bias"]


def batch_norm(s, key, x):
    weight, bias, mean, var = (
        s[f"{key}.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def conv(s, key, x, **geometry):
    return F.conv2d(x, s[f"{key}.weight"], s.get(f"{key}.bias"), **geometry)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def spatial_prior(s, key, x):
    for at, stride in ((0, 2), (3, 1), (6, 1)):
        x = conv(s, f"{key}.stem.{at}", x, stride=stride, padding=1)
        x = batch_norm(s, f"{key}.stem.{at + 1}", x).clamp(min=0)
    maps = [F.max_pool2d(x, 3, 2, 1)]
    for name in ("conv2", "conv3", "conv4"):
        x = conv(s, f"{key}.{name}.0", maps[-1], stride=2, padding=1)
        maps.append(batch_norm(s, f"{key}.{name}.1", x).clamp(min=0))
    return [conv(s, f"{key}.fc{i}", x) for i, x in enumerate(maps, 1)]


def bilinear(level, x, y):
    """Values of [C, H, W] at points in pixels, from the four around each; outside is zero."""
    height, width = level.shape[1:]
    total = 0
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = x.floor() + dx, y.floor() + dy
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            at = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            total = total + level.flatten(1)[:, at] * (weight * inside)
    return total


def centers(grids):
    """Share of the width and of the height of every pixel's center."""
    xs, ys = [], []
    for height, width in grids:
        for row in range(height):
            xs += [(column + 0.5) / width for column in range(width)]
            ys += [(row + 0.5) / height] * width
    # float32, as the official code has them.
    return torch.tensor(xs).double(), torch.tensor(ys).double()


def deform(s, key, query, value, heads, queries, levels, points=4):
    """Head by head, level by level, point by point."""
    x, y = centers(queries)
    offsets = linear(s, f"{key}.sampling_offsets", query)[0]
    logits = linear(s, f"{key}.attention_weights", query)[0]
    values = linear(s, f"{key}.value_proj", value)[0]
    each, width = len(levels) * points, values.shape[1] // heads
    mixed = []
    for head in range(heads):
        weights = logits[:, head * each : (head + 1) * each].softmax(-1)
        total, start = 0, 0
        for number, (rows, columns) in enumerate(levels):
            tokens = values[start : start + rows * columns, head * width : (head + 1) * width]
            level = tokens.T.reshape(width, rows, columns)
            start += rows * columns
            for point in range(points):
                at = number * points + point
                dx, dy = (offsets[:, 2 * (head * each + at) + i] for i in (0, 1))
                read = bilinear(level, x * columns + dx - 0.5, y * rows + dy - 0.5)
                total = total + read * weights[:, at]
        mixed.append(total.T)
    return linear(s, f"{key}.output_proj", torch.cat(mixed, 1)[None])


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def bicubic_matrix(old, new):
    """[new, old]: cubic convolution between pixel centers, edges repeated."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for row in range(new):
        place = (row + 0.5) * old / new - 0.5
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            matrix[row, min(max(tap, 0), old - 1)] += cubic(place - tap)
    return matrix


def positions(table, grid):
    """The table without its first row at a grid."""
    side = math.isqrt(table.shape[1] - 1)
    patches = table[0, 1:].reshape(side, side, -1)
    rows, columns = (bicubic_matrix(side, size) for size in grid)
    return torch.einsum("yh,xw,hwc->yxc", rows, columns, patches).flatten(0, 1)[None]


def attend(qkv, heads):
    """[N, 3 C] -> [N, C]."""
    q, k, v = qkv.reshape(len(qkv), 3, heads, -1).permute(1, 2, 0, 3)
    weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).transpose(0, 1).flatten(1)


def self_attention(s, key, x, heads, grid, window):
    """Window by window; rows behind the map are zeros."""
    qkv = linear(s, f"{key}.qkv", x)[0]
    if not window:
        return linear(s, f"{key}.proj", attend(qkv, heads)[None])
    down, across = (math.ceil(side / window) * window for side in grid)
    padded = qkv.new_zeros(down, across, qkv.shape[1])
    padded[: grid[0], : grid[1]] = qkv.unflatten(0, grid)
    mixed = qkv.new_zeros(down, across, qkv.shape[1] // 3)
    for top in range(0, down, window):
        for left in range(0, across, window):
            at = slice(top, top + window), slice(left, left + window)
            inside = attend(padded[at].flatten(0, 1), heads)
            mixed[at] = inside.unflatten(0, (window, window))
    return linear(s, f"{key}.proj", mixed[: grid[0], : grid[1]].flatten(0, 1)[None])


def block(s, key, x, heads, grid, window):
    attended = self_attention(
        s, f"{key}.attn", layer_norm(s, f"{key}.norm1", x), heads, grid, window
    )
    x = x + s.get(f"{key}.gamma1", 1) * attended
    y = linear(s, f"{key}.mlp.fc1", layer_norm(s, f"{key}.norm2", x))
    return x + s.get(f"{key}.gamma2", 1) * linear(s, f"{key}.mlp.fc2", gelu(y))


def extract(s, key, c, x, heads, grids, grid):
    c = c + deform(
        s,
        f"{key}.attn",
        layer_norm(s, f"{key}.query_norm", c),
        layer_norm(s, f"{key}.feat_norm", x),
        heads,
        grids,
        [grid],
    )
    if f"{key}.ffn.fc1.weight" not in s:
        return c
    y = linear(s, f"{key}.ffn.fc1", layer_norm(s, f"{key}.ffn_norm", c))
    parts = []
    for level, size in zip(y.split([h * w for h, w in grids], 1), grids, strict=True):
        level = level.mT.unflatten(2, size)
        groups = level.shape[1]
        parts.append(conv(s, f"{key}.ffn.dwconv.dwconv", level, padding=1, groups=groups))
    y = torch.cat([part.flatten(2).mT for part in parts], 1)
    return c + linear(s, f"{key}.ffn.fc2", gelu(y))


def backbone(s, config, x):
    """The four maps, and the tokens after each interaction as maps."""
    s = {key.removeprefix("backbone."): value for key, value in s.items()}
    grid = x.shape[2] // 16, x.shape[3] // 16
    grids = [(2 * grid[0], 2 * grid[1]), grid, (grid[0] // 2, grid[1] // 2)]
    c1, *levels = spatial_prior(s, "spm", x)
    c = torch.cat([m.flatten(2).mT + s["level_embed"][i] for i, m in enumerate(levels)], 1)
    tokens = conv(s, "patch_embed.proj", x, stride=16).flatten(2).mT
    tokens = tokens + positions(s["pos_embed"], grid)
    stages, every = [], config.global_every
    for i in range(config.interactions):
        key = f"interactions.{i}"
        tokens = tokens + s[f"{key}.injector.gamma"] * deform(
            s,
            f"{key}.injector.attn",
            layer_norm(s, f"{key}.injector.query_norm", tokens),
            layer_norm(s, f"{key}.injector.feat_norm", c),
            config.deform_heads,
            [grid],
            grids,
        )
        group = config.depth // config.interactions
        for at in range(i * group, (i + 1) * group):
            window = config.window if every and at % every != every - 1 else 0
            tokens = block(s, f"blocks.{at}", tokens, config.heads, grid, window)
        c = extract(s, f"{key}.extractor", c, tokens, config.deform_heads, grids, grid)
        for more in range(config.extra_extractors if i == config.interactions - 1 else 0):
            extra = f"{key}.extra_extractors.{more}"
            c = extract(s, extra, c, tokens, config.deform_heads, grids, grid)
        stages.append(tokens.mT.unflatten(2, grid))
    maps = [
        part.mT.unflatten(2, size)
        for part, size in zip(c.split([h * w for h, w in grids], 1), grids, strict=True)
    ]
    up = F.conv_transpose2d(maps[0], s["up.weight"], s["up.bias"], stride=2)
    maps = [up + c1, *maps]
    added = {"stages": stages, "last": [tokens.mT.unflatten(2, grid)] * 4, "none": []}
    for i, vit in enumerate(added[config.vit_features]):
        scale = (4, 2, 1, 0.5)[i]
        maps[i] = maps[i] + F.interpolate(vit, scale_factor=scale, mode="bilinear")
    return [batch_norm(s, f"norm{i}", m) for i, m in enumerate(maps, 1)], stages


# Until here.


def kind_of(key, value):
    """The reference cases' kind of one tensor."""
    last = key.rpartition(".")[2]
    named = {
        "num_batches_tracked": "nbt",
        "running_mean": "bn_mean",
        "running_var": "bn_var",
        "pos_embed": "embed",
        "level_embed": "embed",
        "gamma": "gamma",
        "gamma1": "gamma_pos",
        "gamma2": "gamma_pos",
    }
    if last in named:
        return named[last]
    if key.endswith("sampling_offsets.bias"):
        return "offset_b"
    if last == "weight" and value.ndim == 1:
        return "norm_w"
    return f"w:{value[0].numel()}" if last == "weight" else "bias"


@pytest.fixture
def fill(seeded):
    """Give a network the reference cases' kind of weights, in eval mode."""

    def fill(network: Network) -> Network:
        state = {
            key: torch.from_numpy(seeded.fill(key, tuple(value.shape), kind_of(key, value), 1))
            for key, value in network.state_dict().items()
        }
        network.load_state_dict(state)
        return network.eval()

    return fill


def image(size, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)


def state64(network: nn.Module):
    return {key: value.double() for key, value in network.state_dict().items()}


def same(got, want):
    assert want.std() > 0.1, "a flat output proves nothing"
    assert difference(got.numpy(), want.numpy()) < 1e-10


@pytest.mark.parametrize("case", ["vit_adapter_t_seg_256x256", "vit_adapter_t_upernet_256x320"])
def test_official_outputs(case, seeded, tmp_path):
    reference = seeded.load_case(case)
    path = tmp_path / "official.pth.tar"
    seeded.write_checkpoint(reference, path)
    card = BY_NAME["vit-adapter-t" if "_seg_" in case else "vit-adapter-t-upernet"]
    checkpoint = read_checkpoint(path, prefer=layout.PREFER)
    size = tuple(reference["input"]["shape"][2:])
    adapted = layout.adapt(checkpoint.tensors, card, layout.configure(card, size, None, {}), {})
    assert not adapted.untrained
    network = build(card, adapted.config, all_outputs=True)
    load_strict(network, adapted.tensors, source="official.pth.tar", likely=layout.recognize)
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(seeded.case_input(reference)))
    wanted = np.load(PARITY / f"{case}.npz")
    named = dict(zip(("out0", "out1", "out2", "out3"), MAPS, strict=True))
    assert set(wanted) == set(reference["outputs"])
    for name, spec in reference["outputs"].items():
        got = outputs[named.get(name, name)].numpy()
        assert list(got.shape) == spec["shape"]
        taken = got.ravel()[seeded.sample_indices(got.size)]
        assert difference(taken, wanted[name]) <= OFFICIAL_PARITY
        assert abs(float(got.std()) - spec["std"]) < 1e-3


@pytest.mark.parametrize("size", [(64, 96), (96, 32), (32, 32), (160, 64)])
def test_restated_segmentation_features(size, fill):
    config = replace(TINY, input_size=size)
    network = fill(ViTAdapter(config, all_outputs=True)).double()
    x = image(size)
    maps, stages = backbone(state64(network), config, x)
    with torch.no_grad():
        outputs = network(x)
    assert list(outputs) == [*MAPS, "vit1", "vit2", "vit3", "vit4"]
    for got, want in zip(outputs.values(), [*maps, *stages], strict=True):
        same(got, want)
    assert [tuple(m.shape[2:]) for m in maps] == [
        (size[0] // s, size[1] // s) for s in (4, 8, 16, 32)
    ]


@pytest.mark.parametrize("size", [(64, 96), (96, 128)])
def test_restated_detection_features(size, fill):
    config = with_windows(replace(TINY, input_size=size, vit_features="last"))
    assert [config.is_global(i) for i in range(8)] == [False, True] * 4
    network = fill(ViTAdapter(config)).double()
    x = image(size)
    with torch.no_grad():
        outputs = network(x)
    for got, want in zip(outputs, backbone(state64(network), config, x)[0], strict=True):
        same(got, want)


@pytest.mark.parametrize(
    "config",
    [
        light(TINY),
        light(with_windows(TINY)),
        replace(TINY, layer_scale=False),
        replace(TINY, extra_extractors=0),
        replace(TINY, conv_ffn=False),
        replace(TINY, interactions=2, vit_features="last"),
        replace(TINY, deform_ratio=1.0, deform_heads=2, mlp_ratio=2),
    ],
)
def test_restated_other_adapters(config, fill):
    network = fill(ViTAdapter(config)).double()
    x = image(config.input_size)
    with torch.no_grad():
        outputs = network(x)
    for got, want in zip(outputs, backbone(state64(network), config, x)[0], strict=True):
        same(got, want)


def test_segmentation_and_detection_are_two_functions_of_the_same_weights(fill):
    networks = [
        fill(ViTAdapter(config))
        for config in (TINY, with_windows(replace(TINY, vit_features="last")))
    ]
    seg, det = (network.state_dict() for network in networks)
    assert list(seg) == list(det)
    x = image((64, 96)).float()
    with torch.no_grad():
        first, second = (network(x) for network in networks)
    assert all(difference(a.numpy(), b.numpy()) > 0.1 for a, b in zip(first, second, strict=True))


def test_uper_net_reads_the_features(fill):
    network = fill(ViTAdapterUperNet(TINY, all_outputs=True)).double()
    x = image((64, 96))
    maps, _ = backbone(state64(network), TINY, x)
    with torch.no_grad():
        outputs = network(x)
        same(outputs["logits"], network.decode_head(*maps))
        same(outputs["aux"], network.auxiliary_head(maps[2]))
        network.all_outputs = False
        assert torch.equal(network(x), outputs["logits"])
    assert outputs["logits"].shape == (1, 7, 16, 24)
    assert outputs["aux"].shape == (1, 7, 4, 6)


def test_without_an_auxiliary_head_all_outputs_lack_it(fill):
    network = fill(ViTAdapterUperNet(replace(TINY, auxiliary=False), all_outputs=True))
    assert not any(key.startswith("auxiliary") for key in network.state_dict())
    with torch.no_grad():
        outputs = network(image((64, 96)).float())
    assert "logits" in outputs
    assert "aux" not in outputs


@pytest.mark.parametrize("stored", [(14, 14), (24, 24), (5, 7)])
@pytest.mark.parametrize("grid", [(14, 14), (32, 32), (10, 3), (1, 40)])
def test_the_position_tables_rule(stored, grid):
    table = torch.randn(1, 1 + stored[0] * stored[1], 6, dtype=torch.float64)
    got = PositionResize(stored, grid)(table)
    patches = table[0, 1:].reshape(*stored, 6)
    rows, columns = (bicubic_matrix(old, new) for old, new in zip(stored, grid, strict=True))
    want = torch.einsum("yh,xw,hwc->yxc", rows, columns, patches).reshape(1, -1, 6)
    assert torch.allclose(got, want, atol=1e-12)
    if stored == grid:
        assert torch.equal(got, table[:, 1:])


def test_the_class_tokens_row_is_never_read(fill):
    network = fill(ViTAdapter(TINY))
    x = image((64, 96)).float()
    with torch.no_grad():
        before = network(x)
        network.backbone.pos_embed[:, 0] = 1e6
        after = network(x)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_half_floats_place_their_points_in_single_precision(fill):
    network = fill(ViTAdapter(TINY)).half()
    with torch.no_grad():
        outputs = network(image((64, 96)).half())
    assert all(m.dtype == torch.float16 for m in outputs)
    assert all(torch.isfinite(m).all() for m in outputs)


def test_a_batch_is_its_pictures_one_by_one(fill):
    config = with_windows(TINY)
    network = fill(ViTAdapterUperNet(config)).double()
    pictures = torch.cat([image((64, 96), seed) for seed in (1, 2)])
    with torch.no_grad():
        whole = network(pictures)
        single = torch.cat([network(picture[None]) for picture in pictures])
    assert difference(whole.numpy(), single.numpy()) < 1e-12


def test_every_part_learns(fill):
    network = fill(ViTAdapterUperNet(TINY, all_outputs=True)).train()
    outputs = network(torch.cat([image((64, 96), seed).float() for seed in (1, 2)]))
    (outputs["logits"].square().mean() + outputs["aux"].square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_new_network_is_the_plain_vit_beside_a_closed_adapter():
    network = ViTAdapter(TINY, all_outputs=True).eval()
    x = image((64, 96)).float()
    before = network(x)["vit4"]
    with torch.no_grad():
        network.backbone.spm.stem[0].weight.mul_(-3)
    assert torch.equal(network(x)["vit4"], before)


@pytest.mark.parametrize(
    "config", [TINY, with_windows(replace(TINY, vit_features="last")), light(TINY)]
)
def test_torch_export_captures_it(config, fill):
    network = fill(ViTAdapterUperNet(replace(config, depth=4)))
    x = image((64, 96)).float()
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        assert torch.equal(program.module()(x), network(x))
    ranks = {
        node.meta["val"].ndim
        for node in program.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    }
    assert max(ranks) <= 5
    assert not any("sym" in str(node.target) for node in program.graph.nodes)
