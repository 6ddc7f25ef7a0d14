"""T2T-ViT against the official code's outputs, against its description restated, and its counts."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import load_strict
from edgevit.data.scenes import CLASSES
from edgevit.difference import difference
from edgevit.networks.t2t_vit.cards import CARDS
from edgevit.networks.t2t_vit.checkpoint import PREFER, adapt, configure, recognize
from edgevit.networks.t2t_vit.network import CONFIGS, T2TViT, build, sinusoid_table

PARITY = Path(__file__).resolve().parents[3] / "parity"
CASES = sorted(path.stem for path in PARITY.glob("t2t_vit_*.json"))
OFFICIAL_PARITY = 2e-4
BY_NAME = {card.name: card for card in CARDS}

# The specification's tables: parameters, GMACs (fvcore), at 224 pixels.
COUNTS = {
    "7": (4_310_222, 1.147),
    "10": (5_889_230, 1.516),
    "12": (6_941_902, 1.763),
    "14": (21_545_550, 4.783),
    "19": (39_177_422, 8.480),
    "24": (64_105_934, 13.662),
    "t-14": (21_541_070, 6.089),
    "t-19": (39_172_942, 9.785),
    "t-24": (64_101_454, 14.967),
    "14-resnext": (21_545_550, 4.783),
    "14-wide": (25_156_302, 5.229),
    "14-se": (21_803_598, 4.784),
    "16-ghost": (16_253_262, 3.802),
    "dense": (23_647_062, 5.276),
}

TINY = {
    "performer": replace(
        CONFIGS["7"], dim=24, depth=2, heads=3, token_dim=8, num_classes=5, grid=2
    ),
    "transformer": replace(
        CONFIGS["t-14"], dim=24, depth=2, heads=2, token_dim=8, num_classes=5, grid=3
    ),
    "se": replace(CONFIGS["14-se"], dim=32, depth=2, heads=2, token_dim=8, num_classes=5, grid=2),
    "ghost": replace(
        CONFIGS["16-ghost"], dim=24, depth=2, heads=2, token_dim=8, num_classes=5, grid=2
    ),
    "dense": replace(
        CONFIGS["dense"], dim=16, heads=4, growth=8, stages=(2, 1, 2), token_dim=8, grid=2
    ),
}


# The network once more, as straight code over a state dict, from the specification alone: nothing
# here knows edgevit.networks.


def linear(s, key, x):
    return F.linear(x, s[f"{key}.weight"], s.get(f"{key}.bias"))


def norm(s, key, x):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + 1e-5) * s[f"{key}.weight"] + s[f"{key}.bias"]


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def patches(x, kernel, stride, padding):
    """Patches row by row, channel-major within each."""
    batch, _, height, width = x.shape
    x = F.pad(x, (padding,) * 4)
    rows = range(0, height + 2 * padding - kernel + 1, stride)
    columns = range(0, width + 2 * padding - kernel + 1, stride)
    found = [
        x[:, :, i : i + kernel, j : j + kernel].reshape(batch, -1) for i in rows for j in columns
    ]
    return torch.stack(found, 1)


def token_performer(s, key, x):
    k, q, v = linear(s, f"{key}.kqv", norm(s, f"{key}.norm1", x)).chunk(3, -1)
    w = s[f"{key}.w"]

    def phi(t):
        exponent = torch.einsum("bti,mi->btm", t, w) - (t * t).sum(-1, keepdim=True) / 2
        return torch.exp(exponent) / math.sqrt(w.shape[0])

    kernel = torch.einsum("bti,bsi->bts", phi(q), phi(k))  # all pairs, as attention would have it
    y = kernel @ v / (kernel.sum(-1, keepdim=True) + 1e-8)
    y = v + linear(s, f"{key}.proj", y)
    hidden = gelu(linear(s, f"{key}.mlp.0", norm(s, f"{key}.norm2", y)))
    return y + linear(s, f"{key}.mlp.2", hidden)


def token_transformer(s, key, x):
    q, k, v = linear(s, f"{key}.attn.qkv", norm(s, f"{key}.norm1", x)).chunk(3, -1)
    weights = torch.einsum("bti,bsi->bts", q, k).div(math.sqrt(x.shape[-1])).softmax(-1)
    y = v + linear(s, f"{key}.attn.proj", weights @ v)
    return y + mlp(s, f"{key}.mlp", norm(s, f"{key}.norm2", y))


def mlp(s, key, x):
    return linear(s, f"{key}.fc2", gelu(linear(s, f"{key}.fc1", x)))


def cheap(s, key, x):
    """The official depthwise Conv1d."""
    weight = s[f"{key}.weight"]
    return F.conv1d(x.transpose(1, 2), weight, groups=weight.shape[0]).transpose(1, 2)


def attention(s, key, x, heads):
    if f"{key}.qkv.weight" in s:
        q, k, v = linear(s, f"{key}.qkv", x).chunk(3, -1)
    else:
        halves = [linear(s, f"{key}.{name}", x) for name in "qkv"]
        q, k, v = (
            torch.cat([half, cheap(s, f"{key}.cheap_operation_{name}", half)], -1)
            for name, half in zip("qkv", halves, strict=True)
        )
    size = x.shape[-1] // heads
    mixed = []
    for h in range(heads):
        one = slice(h * size, (h + 1) * size)
        weights = torch.einsum("bti,bsi->bts", q[..., one], k[..., one]) / math.sqrt(size)
        mixed.append(weights.softmax(-1) @ v[..., one])
    y = linear(s, f"{key}.proj", torch.cat(mixed, -1))
    if f"{key}.se_layer.fc.0.weight" in s:
        gate = F.relu(linear(s, f"{key}.se_layer.fc.0", y.mean(1)))
        y = y * torch.sigmoid(linear(s, f"{key}.se_layer.fc.2", gate)).unsqueeze(1)
    return y


def ghost_mlp(s, key, x):
    first = gelu(linear(s, f"{key}.fc1", x))
    copies = [gelu(cheap(s, f"{key}.cheap_operation{n}", first)) for n in (2, 3)]
    return linear(s, f"{key}.fc2", torch.cat([first, *copies], -1))


def maps(s, x):
    """The two maps between the soft splits, and the tokens after them."""
    token = token_performer if "tokens_to_token.attention1.w" in s else token_transformer
    found = []
    for number, geometry in ((1, (7, 4, 2)), (2, (3, 2, 1))):
        y = token(s, f"tokens_to_token.attention{number}", patches(x, *geometry))
        side = math.isqrt(y.shape[1])
        x = y.transpose(1, 2).unflatten(2, (side, side))
        found.append(x)
    return *found, linear(s, "tokens_to_token.project", patches(x, 3, 2, 1))


def last_tokens(s, heads, x):
    x = maps(s, x)[2]
    x = torch.cat([s["cls_token"].expand(x.shape[0], -1, -1), x], 1) + s["pos_embed"]
    for index in range(1 + max(int(k.split(".")[1]) for k in s if k.startswith("blocks."))):
        key = f"blocks.{index}"
        if f"{key}.linear.weight" in s:
            x = gelu(linear(s, f"{key}.linear", x))
            continue
        y = x + attention(s, f"{key}.attn", norm(s, f"{key}.norm1", x), heads)
        feed = ghost_mlp if f"{key}.mlp.cheap_operation2.weight" in s else mlp
        y = y + feed(s, f"{key}.mlp", norm(s, f"{key}.norm2", y))
        dense = f"{key}.dense_linear"
        x = torch.cat([x, linear(s, dense, y)], 2) if f"{dense}.weight" in s else y
    return norm(s, "norm", x)


def classify(s, heads, x):
    return linear(s, "head", last_tokens(s, heads, x)[:, 0])


# Until here.


def kind_of(key, value):
    """The reference cases' kind of a tensor."""
    if key in ("cls_token", "pos_embed"):
        return "embed"
    if key.endswith((".w", "w")) and value.ndim == 2:
        return "orthogonal_rows"
    if "norm" in key:
        return "norm_w" if key.endswith("weight") else "norm_b"
    if key.endswith("bias"):
        return "bias"
    return f"{'w_small' if 'kqv' in key else 'w'}:{value[0].numel()}"


def filled(network, seeded, seed=1):
    state = {
        key: torch.from_numpy(seeded.fill(key, tuple(v.shape), kind_of(key, v), seed))
        for key, v in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.double().eval()


def image(side, batch=1):
    generator = torch.Generator().manual_seed(side)
    return torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_official_outputs(case, seeded, tmp_path):
    described = seeded.load_case(case)
    path = tmp_path / "official.pth.tar"
    seeded.write_checkpoint(described, path)
    size = tuple(described["input"]["shape"][2:])
    card = BY_NAME[case.replace("_", "-")]
    tensors = read_checkpoint(path, prefer=PREFER).tensors
    adapted = adapt(tensors, card, configure(card, size, None, {}), {})
    network = build(card, adapted.config, False).eval()
    load_strict(network, adapted.tensors, source=path.name, likely=recognize)
    with torch.no_grad():
        logits = network(torch.from_numpy(seeded.case_input(described))).numpy()
    wanted = np.load(PARITY / f"{case}.npz")["logits"]
    assert difference(logits.ravel(), wanted) <= OFFICIAL_PARITY
    assert seeded.check(described, {"logits": logits})["logits"] <= OFFICIAL_PARITY
    assert network.input_shape == (1, 3, *size)
    assert network.output_names == ("logits",)


def test_the_reference_cases_are_there():
    assert CASES == ["t2t_vit_7", "t2t_vit_t_14"]
    for case in CASES:
        assert json.loads((PARITY / f"{case}.json").read_text())["system"] == "t2t_vit"


@pytest.mark.parametrize("side", [0, 5])
@pytest.mark.parametrize("kind", TINY)
def test_restated(kind, side, seeded):
    config = replace(TINY[kind], grid=side) if side else TINY[kind]
    network = filled(T2TViT(config), seeded)
    x = image(config.grid * 16, batch=2)
    with torch.no_grad():
        got = network(x)
    wanted = classify(network.state_dict(), config.heads, x)
    assert got.std() > 0.1, "a flat output proves nothing"
    assert difference(got.numpy(), wanted.numpy()) < 1e-11


@pytest.mark.parametrize("variant", ["7", "t-14", "micro"])
def test_restated_at_the_variants_own_widths(variant, seeded):
    config = replace(CONFIGS[variant], depth=1, grid=4)
    network = filled(T2TViT(config), seeded)
    x = image(64)
    with torch.no_grad():
        got = network(x)
    wanted = classify(network.state_dict(), config.heads, x)
    assert difference(got.numpy(), wanted.numpy()) < 1e-11


def test_every_map_by_name(seeded):
    config = TINY["performer"]
    network = filled(build(BY_NAME["t2t-vit-7"], config, True), seeded)
    x = image(32)
    with torch.no_grad():
        found = network(x)
    state = network.state_dict()
    fine, coarse, _ = maps(state, x)
    tokens = last_tokens(state, config.heads, x)
    wanted = {
        "logits": linear(state, "head", tokens[:, 0]),
        "features": tokens[:, 0],
        "tokens": tokens,
        "map4": fine,
        "map8": coarse,
    }
    assert set(found) == set(wanted)
    for name, value in found.items():
        assert difference(value.numpy(), wanted[name].numpy()) < 1e-11, name
    assert found["map4"].shape == (1, 8, 8, 8)


def test_every_published_name_exists():
    official = (*COUNTS, "micro")
    assert tuple(card.name for card in CARDS) == tuple(f"t2t-vit-{name}" for name in official)
    assert set(CONFIGS) == set(official)
    for card in CARDS:
        assert card.outputs == ("logits",)
        assert card.input_size == (16 * CONFIGS[card.variant].grid,) * 2
        assert card.num_classes == CONFIGS[card.variant].num_classes


def on_meta(card, config):
    """Parameters and GMACs of the network, built without memory."""
    with torch.device("meta"):
        network = build(card, config, False).eval()
        example = torch.empty(network.input_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert network(example).shape == (1, config.num_classes)
    gmacs = counter.get_total_flops() / 2e9
    return sum(parameter.numel() for parameter in network.parameters()), gmacs


# What a card says of its network, tests/edgevit/networks/test_zoo.py compares with the network.
def test_the_cards_are_the_specifications():
    for variant, (params, gmacs) in COUNTS.items():
        card = BY_NAME[f"t2t-vit-{variant}"]
        assert (card.params, card.gmacs) == (params, pytest.approx(gmacs, abs=6e-4)), variant


@pytest.mark.parametrize(
    ("variant", "params", "gmacs"), [("14", 21_691_470, 16.370), ("7", 4_407_502, 4.147)]
)
def test_counts_at_384_pixels(variant, params, gmacs):
    card = BY_NAME[f"t2t-vit-{variant}"]
    found = on_meta(card, configure(card, (384, 384), None, {}))
    assert found == (params, pytest.approx(gmacs, abs=6e-4))


def test_the_micro_network_is_small_and_names_the_kinds_of_object():
    card = BY_NAME["t2t-vit-micro"]
    assert card.params < 1_000_000
    assert card.num_classes == len(CLASSES) - 1, "the label of a scene is never the background"


@pytest.mark.parametrize(("positions", "dim"), [(5, 8), (197, 256), (50, 7)])
def test_the_position_table_by_its_definition(positions, dim):
    table = sinusoid_table(positions, dim)
    assert table.shape == (1, positions, dim)
    assert table.dtype == torch.float32
    for position in (0, 1, positions // 2, positions - 1):
        for j in range(dim):
            angle = position / 10000 ** (2 * (j // 2) / dim)
            wanted = math.cos(angle) if j % 2 else math.sin(angle)
            assert table[0, position, j].item() == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize("kind", TINY)
def test_the_random_start_and_what_is_trained(kind):
    torch.manual_seed(0)
    network = T2TViT(TINY[kind])
    fixed = {key for key, value in network.named_parameters() if not value.requires_grad}
    directions = {key for key in fixed if key.endswith(".w")}
    assert fixed - directions == {"pos_embed"}
    assert len(directions) == (0 if kind == "transformer" else 2)
    for key in directions:
        w = network.get_parameter(key)
        assert torch.allclose(w @ w.T, len(w) * torch.eye(len(w)), atol=1e-5)
    network(image(TINY[kind].grid * 16, batch=2).float()).sum().backward()
    for key, value in network.named_parameters():
        assert (value.grad is None) == (key in fixed), key


@pytest.mark.parametrize("kind", TINY)
def test_captured_whole(kind, seeded):
    config = TINY[kind]
    network = filled(T2TViT(config), seeded).float()
    x = image(config.grid * 16).float()
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        assert torch.allclose(program.module()(x), network(x), atol=1e-6)
