"""MViTv2's networks: counts, plans, the formulas restated, and what torch.export takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgevit.networks.mvitv2.cards import CARDS
from edgevit.networks.mvitv2.network import (
    DETECTION,
    IMAGE,
    VIDEO,
    Attention,
    Block,
    Config,
    MViT,
    MViTPyramid,
    Plan,
    build,
    config_of,
    partition,
    plan_blocks,
    relative_index,
    resize_table,
    unpartition,
    with_cls_token,
)

BY_NAME = {card.name: card for card in CARDS}
TINY = Config((1, 1, 2, 1), dim=8, heads=1, input_size=(64, 64), num_classes=5)
TINY_VIDEO = replace(TINY, input_size=(4, 64, 64), cls_token=True, kv_stride=8)
TINY_PYRAMID = replace(TINY, input_size=(64, 96), window=8, table_size=(32, 32))
# For exports, which take long: one block with strided queries and one without.
TWO_BLOCKS = replace(TINY, depths=(1, 1))
TWO_BLOCKS_VIDEO = replace(TINY_VIDEO, depths=(1, 1))


def on_meta(card, config=None):
    with torch.device("meta"):
        return build(card, config or config_of(card)).eval()


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_published_name_exists():
    assert sorted(BY_NAME) == sorted(
        [f"mvitv2-{v}" for v in ("t", "s", "b", "l", "h", "micro")]
        + [f"mvitv2-{v}-video" for v in ("s", "b", "l", "micro")]
        + [f"mvitv2-{v}-fpn" for v in "tsblh"]
    )


# What a card says of its network, tests/edgevit/networks/test_zoo.py compares with the network.
def test_every_card_has_the_size_of_its_configuration():
    for card in CARDS:
        assert card.input_size == config_of(card).input_size, card.name
        assert card.num_classes in (None, config_of(card).num_classes), card.name
        assert card.variant != "micro" or card.params < 1_000_000, card.name


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        # Specification: L with a class token, as pre-trained on ImageNet-21k.
        (with_cls_token(IMAGE["l"]), 213.636),
        (replace(VIDEO["s"], num_classes=174), 34.364),  # Something-Something v2: 34.4
        (replace(VIDEO["l"], num_classes=174), 213.130),  # and 213.1
    ],
)
def test_counts_of_other_published_files(config, millions):
    with torch.device("meta"):
        assert count(MViT(config)) / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize(
    ("variant", "millions"), [("t", 23.406), ("s", 34.103), ("b", 50.705), ("l", 212.48)]
)
def test_counts_below_the_pyramid(variant, millions):
    network = on_meta(BY_NAME[f"mvitv2-{variant}-fpn"])
    assert count(network.bottom_up) / 1e6 == pytest.approx(millions, abs=5e-3)


def test_table_lengths_of_t():
    lengths = [plan.table_lengths for plan in plan_blocks(IMAGE["t"])]
    assert lengths == [(n, n) for n in (111, 55, 55, 55, 27, 27, 27, 27, 27, 13)]


def test_strides_and_heads_of_t():
    plans = plan_blocks(IMAGE["t"])
    assert [p.stride_q[0] for p in plans] == [1, 2, 1, 2, 1, 1, 1, 1, 2, 1]
    assert [p.stride_kv[0] for p in plans] == [4, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    assert [p.heads for p in plans] == [1, 2, 2, 4, 4, 4, 4, 4, 8, 8]
    assert [p.width for p in plans] == [96, 192, 192, 384, 384, 384, 384, 384, 768, 768]
    assert [p.inputs for p in plans] == [96, 96, 192, 192, 384, 384, 384, 384, 384, 768]


def test_l_of_imagenet_doubles_its_channels_in_the_mlp():
    plans = plan_blocks(IMAGE["l"])
    doubling = [i for i, plan in enumerate(plans) if plan.outputs == 2 * plan.width]
    assert doubling == [1, 7, 43]
    assert all(plan.inputs == plan.width for plan in plans)
    assert {plan.width // plan.heads for plan in plans} == {72}


@pytest.mark.parametrize(
    ("variant", "last"),
    [
        ("t", (0, 2, 7, 9)),
        ("s", (0, 2, 13, 15)),
        ("b", (1, 4, 20, 23)),
        ("l", (1, 7, 43, 47)),
        ("h", (3, 11, 71, 79)),
    ],
)
def test_detection_attends_globally_in_the_last_blocks_of_three_stages(variant, last):
    plans = plan_blocks(DETECTION[variant])
    assert tuple(i for i, plan in enumerate(plans) if not plan.window) == last[1:]
    assert plans[last[0]].window == 56
    # The window halves behind the block that strides the queries, not in it.
    assert [plans[i + 1].window for i in last[:3]] == [56, 28, 14]
    assert [plans[i].stride_kv[0] for i in last] == [4, 4, 2, 1]
    assert [plans[i].stride_kv[0] for i in (last[0] + 1, last[1] + 1, last[2] + 1)] == [2, 1, 1]


def test_l_at_312_rounds_its_tables_down_and_its_maps_up():
    plans = plan_blocks(VIDEO["l"])
    assert plans[0].grid == (20, 78, 78)
    assert plans[8].query_grid == (20, 20, 20)
    assert plans[8].table_lengths == (39, 37, 37)  # official: 39 // 2 = 19
    assert plans[44].query_grid == (20, 10, 10)
    assert plans[-1].table_lengths == (39, 17, 17)


@pytest.mark.parametrize(
    ("queries", "keys"),
    [(7, 7), (56, 14), (14, 28), (7, 14), (78, 10), (10, 78), (39, 20), (5, 3), (1, 4), (4, 1)],
)
def test_relative_index_is_the_official_formula_in_float32(queries, keys):
    q_ratio, k_ratio = max(keys / queries, 1.0), max(queries / keys, 1.0)
    index = relative_index(queries, keys)
    one = np.float32
    for i in range(queries):
        for j in range(keys):
            distance = one(i) * one(q_ratio) - one(j) * one(k_ratio)
            assert int(index[i, j]) == int(distance + one((keys - 1) * k_ratio))
    assert int(index.min()) >= 0
    assert int(index.max()) <= 2 * max(queries, keys) - 2


def linear(table, length):
    """Half-pixel linear interpolation, restated in numpy."""
    rows = table.shape[0]
    place = (np.arange(length) + 0.5) * rows / length - 0.5
    place = place.clip(0)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, rows - 1)
    part = (place - low)[:, None]
    return table[low] * (1 - part) + table[high] * part


@pytest.mark.parametrize("length", [13, 27, 31, 7, 1])
def test_tables_are_resized_linearly(length):
    table = torch.randn(13, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert np.abs(resize_table(table, length).numpy() - linear(table.numpy(), length)).max() < 1e-12


def tiny_plan(axes, grid, stride_q, stride_kv, inputs=4, width=8, outputs=8, nominal=None):
    return Plan(
        axes, inputs, width, outputs, 2, grid, nominal or grid, stride_q, stride_kv, window=0
    )


def attention_restated(module, x, plan, prefix, cls_query):
    """Official attention, one query and one key at a time (SlowFast attention.py)."""
    dim = plan.width // plan.heads
    qkv = x[0] @ module.qkv.weight.T + module.qkv.bias
    pooled = []
    for part, name in enumerate("qkv"):
        pool, norm = getattr(module, f"pool_{name}"), getattr(module, f"norm_{name}")
        rows = []
        for head in range(plan.heads):
            start = part * plan.width + head * dim
            tokens = qkv[:, start : start + dim]
            maps = tokens[prefix:].reshape(*plan.grid, dim).movedim(-1, 0)
            out = pool(maps[None])[0]
            flat = torch.cat((tokens[:prefix], out.reshape(dim, -1).T))
            rows.append(norm(flat))
        pooled.append(rows)
    q_grid = [-(-n // s) for n, s in zip(plan.grid, plan.stride_q, strict=True)]
    k_grid = [-(-n // s) for n, s in zip(plan.grid, plan.stride_kv, strict=True)]
    q_places = list(np.ndindex(*q_grid))
    k_places = list(np.ndindex(*k_grid))
    result = []
    for head in range(plan.heads):
        q, k, v = (pooled[i][head] for i in range(3))
        logits = q @ k.T / dim**0.5
        for i, at_q in enumerate(q_places):
            for j, at_k in enumerate(k_places):
                for axis, name in enumerate(plan.axes):
                    a, b = q_grid[axis], k_grid[axis]
                    ratio_q, ratio_k = max(b / a, 1), max(a / b, 1)
                    row = int(at_q[axis] * ratio_q - at_k[axis] * ratio_k + (b - 1) * ratio_k)
                    table = linear(getattr(module, f"rel_pos_{name}").numpy(), 2 * max(a, b) - 1)
                    logits[prefix + i, prefix + j] += q[prefix + i] @ torch.from_numpy(table[row])
        mixed = logits.softmax(-1) @ v
        added = q.clone()
        if prefix and not cls_query:
            added[0] = 0
        result.append(mixed + added)
    return torch.cat(result, dim=1) @ module.proj.weight.T + module.proj.bias


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("cls_query", [False, True])
@pytest.mark.parametrize(
    ("grid", "stride_q", "stride_kv", "nominal"),
    [
        ((4, 6), (1, 1), (2, 2), None),
        ((4, 4), (2, 2), (1, 1), None),
        ((4, 6), (2, 2), (2, 2), None),
        ((5, 5), (2, 2), (1, 1), (4, 4)),  # tables of a smaller map are stretched
        ((3, 4, 4), (1, 2, 2), (1, 4, 4), None),
        ((2, 3, 3), (1, 1, 1), (1, 2, 2), (3, 4, 2)),
    ],
)
def test_attention_is_the_official_formula(grid, stride_q, stride_kv, nominal, prefix, cls_query):
    plan = tiny_plan("thw"[-len(grid) :], grid, stride_q, stride_kv, nominal=nominal)
    module = filled_in_float64(Attention(plan, bool(prefix), cls_query))
    x = torch.randn(1, prefix + int(np.prod(grid)), 4, dtype=torch.float64)
    with torch.no_grad():
        got = module(x)[0]
        want = attention_restated(module, x, plan, prefix, cls_query)
    assert (got - want).abs().max() < 1e-12


def filled_in_float64(module):
    module = module.double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * values)
    torch.manual_seed(4)
    return module.eval()


def test_shortcut_where_the_attention_doubles():
    plan = tiny_plan("hw", (4, 4), (2, 2), (2, 2))
    block = filled_in_float64(Block(plan, cls_token=True, cls_query=False))
    x = torch.randn(1, 17, 4, dtype=torch.float64)
    with torch.no_grad():
        normed = block.norm1(x)
        short = block.proj(normed)
        maps = short[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
        pooled = nn.functional.max_pool2d(maps, 3, 2, 1).flatten(2).transpose(1, 2)
        y = torch.cat((short[:, :1], pooled), 1) + block.attn(normed)
        want = y + block.mlp(block.norm2(y))
        assert torch.equal(block(x), want)


def test_shortcut_where_the_mlp_doubles():
    plan = tiny_plan("hw", (4, 4), (1, 1), (2, 2), inputs=8, width=8, outputs=16)
    block = filled_in_float64(Block(plan, cls_token=False, cls_query=False))
    x = torch.randn(1, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        y = x + block.attn(block.norm1(x))
        normed = block.norm2(y)
        want = block.proj(normed) + block.mlp(normed)
        assert torch.equal(block(x), want)
    assert block.proj.out_features == 16


def test_windows_are_tiles_padded_with_zeros():
    x = torch.arange(1.0, 1 + 2 * 5 * 7 * 3).reshape(1, 2, 35, 3)
    windows = partition(x, (5, 7), (4, 4))
    assert windows.shape == (8, 1, 16, 3)
    maps = x.reshape(2, 5, 7, 3)
    assert torch.equal(windows[0, 0].reshape(4, 4, 3), maps[0, :4, :4])
    assert torch.equal(windows[1, 0].reshape(4, 4, 3)[:, :3], maps[0, :4, 4:])
    assert not windows[1, 0].reshape(4, 4, 3)[:, 3].any()
    assert torch.equal(windows[6, 0].reshape(4, 4, 3)[:1], maps[1, 4:, :4])
    assert not windows[6, 0].reshape(4, 4, 3)[1:].any()
    assert torch.equal(unpartition(windows, (5, 7), (4, 4)), maps)


def test_padded_keys_take_part():
    """A window of 8 over a map of 4: twelve keys are padding, and the softmax sees them."""
    small = replace(TINY_PYRAMID, input_size=(32, 32), depths=(1, 1, 1, 1))
    plan = replace(plan_blocks(small)[0], grid=(4, 4), window=8)
    windowed = filled_in_float64(Attention(plan, cls_token=False, cls_query=False))
    unpadded = Attention(replace(plan, window=0), cls_token=False, cls_query=False).double()
    unpadded.load_state_dict(windowed.state_dict())
    x = torch.randn(1, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        assert (windowed(x) - unpadded(x)).abs().max() > 1e-3


def test_all_outputs():
    network = MViT(TINY, all_outputs=True).eval()
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "logits": (1, 5),
        "tokens": (1, 4, 64),
        "stage1": (1, 8, 16, 16),
        "stage2": (1, 16, 8, 8),
        "stage3": (1, 32, 4, 4),
        "stage4": (1, 64, 2, 2),
    }
    video = MViT(TINY_VIDEO, all_outputs=True).eval()
    with torch.no_grad():
        maps = video(torch.zeros(1, 3, 4, 64, 64))
    assert maps["stage4"].shape == (1, 64, 2, 2, 2)
    assert maps["tokens"].shape == (1, 9, 64)


def test_pyramid_outputs():
    network = MViTPyramid(TINY_PYRAMID).eval()
    both = MViTPyramid(TINY_PYRAMID, all_outputs=True).eval()
    both.load_state_dict(network.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps, named = network(x), both(x)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (256, 16, 24),
        (256, 8, 12),
        (256, 4, 6),
        (256, 2, 3),
        (256, 1, 2),
    ]
    assert list(named) == ["p2", "p3", "p4", "p5", "p6", "scale2", "scale3", "scale4", "scale5"]
    assert all(torch.equal(a, named[f"p{n}"]) for n, a in enumerate(maps, start=2))


@pytest.mark.parametrize(
    ("network", "config"),
    [
        (MViT, TWO_BLOCKS),
        (MViT, replace(TWO_BLOCKS, cls_token=True, expand_in_attention=False)),
        (MViT, TWO_BLOCKS_VIDEO),
        # Its maps round up, its tables down.
        (MViT, replace(TWO_BLOCKS_VIDEO, input_size=(4, 72, 72))),
        (MViTPyramid, replace(TINY_PYRAMID, depths=(1, 1, 1, 1))),
    ],
)
def test_export_gives_the_same_numbers(network, config):
    torch.manual_seed(0)
    module = network(config).eval()
    x = torch.randn(1, 3, *config.input_size)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        want, got = module(x), program.module()(x)
    for a, b in zip(
        *((y,) if isinstance(y, torch.Tensor) else y for y in (want, got)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-6)


# torch deep-copies its own deprecated tree leaves while it decomposes.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_no_tensor_of_a_clips_network_has_a_rank_above_five():
    # Positions are added in rank five: a clip has no eight-dimensional logits.
    program = torch.export.export(MViT(TWO_BLOCKS_VIDEO).eval(), (torch.zeros(1, 3, 4, 64, 64),))
    program = program.run_decompositions({})
    ranks = [
        node.meta["val"].ndim
        for node in program.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    ]
    assert max(ranks) <= 5


@pytest.mark.parametrize(
    ("network", "config"), [(MViT, TINY), (MViT, TINY_VIDEO), (MViTPyramid, TINY_PYRAMID)]
)
def test_every_parameter_learns(network, config):
    torch.manual_seed(0)
    module = network(config)
    out = module(torch.randn(1, 3, *config.input_size))
    total = sum((y**2).sum() for y in ((out,) if isinstance(out, torch.Tensor) else out))
    total.backward()
    still = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    # The class token's row alone reaches the head, and its query meets no pooling and no position.
    last = "blocks.4.attn."
    unread = [f"{last}rel_pos_{axis}" for axis in config.axes] + [f"{last}pool_q.weight"]
    assert sorted(still) == (sorted(unread) if config.cls_token else [])


def test_index_tables_are_no_part_of_a_checkpoint():
    network = MViT(TINY)
    assert not any("index" in key for key in network.state_dict())
    buffers = dict(network.named_buffers())
    assert buffers["blocks.0.attn.index_h"].dtype == torch.int64
    assert buffers["blocks.0.attn.index_h"].shape == (16, 4)
