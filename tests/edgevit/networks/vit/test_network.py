"""ViT against the official outputs, and against the papers' text restated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import load_strict
from edgevit.difference import difference
from edgevit.networks.vit import checkpoint as layout
from edgevit.networks.vit.cards import CARDS
from edgevit.networks.vit.network import CONFIGS, Config, build

PARITY = Path(__file__).resolve().parents[3] / "parity"
CASE = "timm_vit_tiny_patch16_224"
OFFICIAL_PARITY = 2e-4
BY_NAME = {card.name: card for card in CARDS}
TINY = replace(
    CONFIGS["micro"], patch=8, dim=24, depth=2, heads=3, input_size=(24, 40), num_classes=5
)

# From the specification's table: variant -> patch, width, depth, heads, MLP; millions of
# parameters and GMACs at a size, where it has them. H/14's count there is without a classifier.
SPECIFIED = {
    "tiny-16": (16, 192, 12, 3, 768, 5.717, {224: 1.254, 384: 4.682}),
    "small-32": (32, 384, 12, 6, 1536, 22.879, {224: 1.143}),
    "small-16": (16, 384, 12, 6, 1536, 22.051, {224: 4.599, 384: 15.490}),
    "base-32": (32, 768, 12, 12, 3072, 88.224, {224: 4.409, 384: 13.044}),
    "base-16": (16, 768, 12, 12, 3072, 86.568, {224: 17.564, 384: 55.484}),
    "base-8": (8, 768, 12, 12, 3072, 86.577, {224: 78.148}),
    "large-32": (32, 1024, 24, 16, 4096, 306.63, {384: 45.276}),
    "large-16": (16, 1024, 24, 16, 4096, 304.327, {224: 61.555, 384: 191.066}),
    "huge-14": (14, 1280, 32, 16, 5120, 630.765 + 1.281, {224: 167.294}),
}


# The network once more, as straight code over a state dict, from the specification alone: nothing
# here knows edgevit.networks.


def layer_norm(s, key, x, eps):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * s[f"{key}.weight"] + s[f"{key}.bias"]


def linear(s, key, x):
    return torch.einsum("...i,oi->...o", x, s[f"{key}.weight"]) + s[f"{key}.bias"]


def restated(s, x, patch, depth, heads, eps=1e-6):
    """Tokens after the last norm (where it comes before pooling), and the logits."""
    kernel = s["patch_embed.proj.weight"]
    rows, columns = x.shape[2] // patch, x.shape[3] // patch
    patches = x.reshape(-1, 3, rows, patch, columns, patch)
    tokens = torch.einsum("bcipjq,dcpq->bijd", patches, kernel).flatten(1, 2)
    tokens = tokens + s["patch_embed.proj.bias"]
    first = [s[key].expand(len(x), 1, -1) for key in ("cls_token", "dist_token") if key in s]
    tokens = torch.cat([*first, tokens], 1) + s["pos_embed"]
    for index in range(depth):
        key = f"blocks.{index}"
        q, k, v = linear(s, f"{key}.attn.qkv", layer_norm(s, f"{key}.norm1", tokens, eps)).chunk(
            3, -1
        )
        mixed = []
        for part in zip(*(t.chunk(heads, -1) for t in (q, k, v)), strict=True):
            scores = part[0] @ part[1].transpose(1, 2) / part[0].shape[-1] ** 0.5
            mixed.append(scores.softmax(-1) @ part[2])
        tokens = tokens + linear(s, f"{key}.attn.proj", torch.cat(mixed, -1))
        hidden = linear(s, f"{key}.mlp.fc1", layer_norm(s, f"{key}.norm2", tokens, eps))
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        tokens = tokens + linear(s, f"{key}.mlp.fc2", hidden)
    if "norm.weight" in s:
        tokens = layer_norm(s, "norm", tokens, eps)
    if "fc_norm.weight" in s:
        pooled = layer_norm(s, "fc_norm", tokens[:, len(first) :].mean(1), eps)
    else:
        pooled = tokens[:, 0] if "cls_token" in s else tokens.mean(1)
    if "pre_logits.fc.weight" in s:
        pooled = torch.tanh(linear(s, "pre_logits.fc", pooled))
    logits = linear(s, "head", pooled)
    if "head_dist.weight" in s:
        logits = (logits + linear(s, "head_dist", tokens[:, 1])) / 2
    return tokens, logits


# Until here.


def kind_of(key, value):
    if key.endswith(("_token", "pos_embed")):
        return "embed"
    if "norm" in key:
        return "norm_w" if key.endswith("weight") else "norm_b"
    return "bias" if key.endswith("bias") else f"w:{value[0].numel()}"


def network_of(config, seeded, all_outputs=False):
    """A tiny network with seeded weights, in float64, and those weights."""
    network = build(BY_NAME["vit-micro"], config, all_outputs).eval()
    state = {
        key: torch.from_numpy(seeded.fill(key, tuple(value.shape), kind_of(key, value), 1))
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.double(), {key: value.double() for key, value in state.items()}


def image(size, batch=1, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, *size, generator=generator, dtype=torch.float64)


def test_official_outputs(seeded, tmp_path):
    case = seeded.load_case(CASE)
    path = tmp_path / "official.pth"
    seeded.write_checkpoint(case, path)
    card = BY_NAME["vit-tiny-16"]
    checkpoint = read_checkpoint(path, prefer=layout.PREFER)
    config = layout.configure(card, (224, 224), None, {})
    adapted = layout.adapt(checkpoint.tensors, card, config, {}, container=checkpoint.container)
    assert adapted.untrained == ()
    network = build(card, adapted.config, True).eval()
    load_strict(network, adapted.tensors, source="official.pth")
    with torch.no_grad():
        got = network(torch.from_numpy(seeded.case_input(case)))
    wanted = np.load(PARITY / f"{CASE}.npz")
    for ours, theirs in (("logits", "out"), ("tokens", "forward_features")):
        value = got[ours].numpy()
        assert list(value.shape) == case["outputs"][theirs]["shape"]
        assert abs(float(value.std()) - case["outputs"][theirs]["std"]) < 1e-3
        taken = value.ravel()[seeded.sample_indices(value.size)]
        assert difference(taken, wanted[theirs]) <= OFFICIAL_PARITY


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eps": 1e-3},
        {"dist_token": True},
        {"dist_token": True, "dist_head": True},
        {"pool": "mean", "norm_after_pool": True},
        {"pool": "mean", "cls_token": False},
        {"pool": "mean", "cls_token": False, "norm_after_pool": True},
        {"representation": 24},
        {"representation": 40},
        {"patch": 4, "input_size": (16, 8)},
        {"mlp_ratio": 3, "heads": 2, "num_classes": 1},
    ],
)
def test_restated(changes, seeded):
    config = replace(TINY, **changes)
    network, state = network_of(config, seeded, all_outputs=True)
    x = image(config.input_size, batch=2)
    with torch.no_grad():
        got = network(x)
    tokens, logits = restated(state, x, config.patch, config.depth, config.heads, config.eps)
    assert logits.std() > 0.1, "a flat output proves nothing"
    assert difference(got["logits"].numpy(), logits.numpy()) < 1e-10
    assert difference(got["tokens"].numpy(), tokens.numpy()) < 1e-10


@pytest.mark.parametrize("distilled", [False, True])
def test_every_map_by_name(distilled, seeded):
    config = replace(TINY, dist_token=distilled, dist_head=distilled)
    network, _ = network_of(config, seeded, all_outputs=True)
    plain, _ = network_of(config, seeded)
    x = image(config.input_size)
    with torch.no_grad():
        got = network(x)
        assert torch.equal(got["logits"], plain(x))
    assert list(got) == ["logits", "features", "tokens", "block0", "block1"]
    assert got["features"].shape == (1, 24)
    tokens = (1, 1 + distilled + 3 * 5, 24)
    assert got["tokens"].shape == got["block0"].shape == got["block1"].shape == tokens
    assert torch.equal(got["features"], got["tokens"][:, 0])


def test_a_network_knows_its_input_and_outputs():
    network = build(BY_NAME["vit-micro"], TINY, False)
    assert network.input_shape == (1, 3, 24, 40)
    assert network.output_names == ("logits",)


# What a card says of its network, tests/edgevit/networks/test_zoo.py compares with the network.
def test_sizes_are_whole_patches():
    for card in CARDS:
        config = layout.configure(card, card.input_size, None, {})
        assert card.size_multiple == config.patch, card.name
        assert all(side % config.patch == 0 for side in card.input_size), card.name


@pytest.mark.parametrize("variant", SPECIFIED)
def test_the_specifications_table(variant):
    patch, dim, depth, heads, hidden, millions, gmacs = SPECIFIED[variant]
    config = CONFIGS[variant]
    assert (config.patch, config.dim, config.depth, config.heads) == (patch, dim, depth, heads)
    assert config.mlp_ratio * config.dim == hidden
    card = BY_NAME[f"vit-{variant}"]
    assert card.params / 1e6 == pytest.approx(millions, abs=6e-3)
    for size, wanted in gmacs.items():
        sized = replace(config, input_size=(size, size))
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            build(card, sized, False)(torch.empty(1, 3, size, size))
        # H/14 was measured without its classifier.
        assert counter.get_total_flops() / 2e9 == pytest.approx(wanted, abs=1.5e-3)


def test_the_cards_are_the_promised_names():
    names = {f"vit-{size}-16" for size in ("tiny", "small", "base", "large")}
    names |= {f"vit-{size}-32" for size in ("small", "base", "large")}
    assert {card.name for card in CARDS} == names | {"vit-base-8", "vit-huge-14", "vit-micro"}
    assert {card.variant for card in CARDS} == set(CONFIGS)
    assert BY_NAME["vit-micro"].params < 1_000_000
    for card in CARDS:
        assert card.architecture == "vit"
        assert card.task == "classification"
        assert card.published or card.name == "vit-micro"
        assert all(row.source and 0 < row.value < 100 for row in card.published)


@pytest.mark.parametrize(
    "changes",
    [{}, {"dist_token": True, "dist_head": True}, {"pool": "mean", "norm_after_pool": True}],
)
def test_torch_export_takes_it(changes, seeded):
    network, _ = network_of(replace(TINY, **changes), seeded)
    x = image(TINY.input_size)
    exported = torch.export.export(network, (x,))
    other = image(TINY.input_size, seed=4)
    with torch.no_grad():
        assert torch.equal(exported.module()(other), network(other))
    widest = max(
        node.meta["val"].ndim
        for node in exported.graph.nodes
        if isinstance(node.meta.get("val"), torch.Tensor)
    )
    assert widest <= 5


@pytest.mark.parametrize(
    "changes",
    [{}, {"dist_token": True, "dist_head": True}, {"representation": 8}],
)
def test_every_parameter_learns(changes):
    torch.manual_seed(0)
    config = replace(TINY, **changes)
    network = build(BY_NAME["vit-micro"], config, False).train()
    assert all(
        p.std() > 0
        for n, p in network.named_parameters()
        if not n.endswith("bias") and "norm" not in n
    )
    x = image(config.input_size, batch=2).float()
    nn.functional.cross_entropy(network(x), torch.tensor([1, 3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert parameter.grad.abs().sum() > 0


def test_the_grid_and_the_prefix():
    config = Config(16, 32, 1, 2, input_size=(64, 96), dist_token=True)
    assert config.grid == (4, 6)
    assert config.prefix == 2
    assert replace(config, cls_token=False, dist_token=False).prefix == 0
