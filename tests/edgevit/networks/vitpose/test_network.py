"""ViTPose against the official code's outputs, and against the paper's text restated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import load_strict
from edgevit.difference import difference
from edgevit.networks.vitpose.cards import CARDS
from edgevit.networks.vitpose.checkpoint import PREFER, adapt, configure, recognize
from edgevit.networks.vitpose.network import CONFIGS, Config, build

PARITY = Path(__file__).resolve().parents[3] / "parity"
OFFICIAL_PARITY = 2e-4
OF_NAME = {card.name: card for card in CARDS}
TINY = {
    "classic": Config(32, 2, 4, deconv_channels=8, num_classes=5, input_size=(64, 48)),
    "simple": Config(32, 2, 4, "simple", num_classes=5, input_size=(64, 48)),
}
# Millions, GMACs: the specification's table.
SPEC = {
    "s": (24.291, 5.594),
    "b": (89.995, 18.523),
    "l": (308.545, 61.569),
    "h": (637.209, 125.830),
    "s-simple": (21.723, 4.654),
    "b-simple": (85.912, 17.461),
    "l-simple": (303.453, 60.426),
    "h-simple": (631.108, 124.606),
}
BACKBONE = {"s": 21.664, "b": 85.795, "l": 303.297, "h": 630.912}


def tiny(decoder, seed=0, **changes):
    torch.manual_seed(seed)
    network = build(OF_NAME["vitpose-s"], replace(TINY[decoder], **changes), False).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape) * (0.3 if value.ndim > 1 else 0.5))
    return network


# The network once more, as straight code over a state dict, from the specification alone.


def restated(s, x, heads, size):
    rows, columns = ((side + 4 - 16) // 16 + 1 for side in size)
    x = F.conv2d(
        x, s["backbone.patch_embed.proj.weight"], s["backbone.patch_embed.proj.bias"], 16, 2
    )
    assert x.shape[2:] == (rows, columns)
    dim = x.shape[1]
    tokens = x.reshape(dim, -1).T
    tokens = tokens + s["backbone.pos_embed"][0, 1:] + s["backbone.pos_embed"][0, 0]
    norm = lambda key, t: F.layer_norm(t, (dim,), s[f"{key}.weight"], s[f"{key}.bias"], 1e-6)  # noqa: E731
    linear = lambda key, t: t @ s[f"{key}.weight"].T + s[f"{key}.bias"]  # noqa: E731
    block = 0
    while (key := f"backbone.blocks.{block}") + ".norm1.weight" in s:
        q, k, v = linear(f"{key}.attn.qkv", norm(f"{key}.norm1", tokens)).chunk(3, -1)
        width = dim // heads
        mixed = []
        for h in range(0, dim, width):
            part = slice(h, h + width)
            mixed.append(((q[:, part] @ k[:, part].T) / width**0.5).softmax(-1) @ v[:, part])
        tokens = tokens + linear(f"{key}.attn.proj", torch.cat(mixed, -1))
        hidden = linear(f"{key}.mlp.fc1", norm(f"{key}.norm2", tokens))
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        tokens = tokens + linear(f"{key}.mlp.fc2", hidden)
        block += 1
    x = norm("backbone.last_norm", tokens).T.reshape(1, dim, rows, columns)
    head = "keypoint_head"
    if f"{head}.deconv_layers.0.weight" not in s:
        x = F.interpolate(x.relu(), scale_factor=4, mode="bilinear")
        return F.conv2d(x, s[f"{head}.final_layer.weight"], s[f"{head}.final_layer.bias"], 1, 1)
    for i in (0, 3):
        x = F.conv_transpose2d(x, s[f"{head}.deconv_layers.{i}.weight"], None, 2, 1)
        bn = {
            part: s[f"{head}.deconv_layers.{i + 1}.{part}"].reshape(1, -1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        }
        x = (x - bn["running_mean"]) / torch.sqrt(bn["running_var"] + 1e-5)
        x = (x * bn["weight"] + bn["bias"]).relu()
    return F.conv2d(x, s[f"{head}.final_layer.weight"], s[f"{head}.final_layer.bias"])


# Until here.


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("vitpose_s_classic_coco_256x192", "vitpose-s"),
        ("vitpose_s_classic_coco_256x192", "vitpose-plus-s"),
        ("vitpose_s_simple_coco_256x192", "vitpose-s-simple"),
    ],
)
def test_official_outputs(case, name, seeded, tmp_path):
    card, reference = OF_NAME[name], seeded.load_case(case)
    path = tmp_path / "official.pth"
    seeded.write_checkpoint(reference, path)
    checkpoint = read_checkpoint(path, prefer=PREFER)
    config = configure(card, (256, 192), None, {})
    adapted = adapt(checkpoint.tensors, card, config, {})
    network = build(card, adapted.config, False).eval()
    load_strict(network, adapted.tensors, source=str(path), likely=recognize)
    assert set(network.state_dict()) == set(checkpoint.tensors)
    with torch.no_grad():
        out = network(torch.from_numpy(seeded.case_input(reference))).numpy()
    spec = reference["outputs"]["out"]
    wanted = np.load(PARITY / f"{case}.npz")["out"]
    assert list(out.shape) == spec["shape"]
    assert difference(out.ravel()[seeded.sample_indices(out.size)], wanted) <= OFFICIAL_PARITY
    assert abs(float(out.std()) - spec["std"]) < 1e-4
    assert seeded.check(reference, {"out": out})["out"] <= OFFICIAL_PARITY


@pytest.mark.parametrize("decoder", ["classic", "simple"])
@pytest.mark.parametrize("size", [(64, 48), (80, 32), (75, 100), (48, 64)])
def test_restated_at_any_size(decoder, size):
    network = tiny(decoder, input_size=size).double()
    x = torch.randn(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = network(x)
    want = restated(network.state_dict(), x, 4, size)
    assert out.std() > 0.1
    assert difference(out.numpy(), want.numpy()) < 1e-10
    assert out.shape == (1, 5, *(4 * side for side in network.config.grid))


@pytest.mark.parametrize(
    ("size", "grid"),
    [((256, 192), (16, 12)), ((384, 288), (24, 18)), ((256, 256), (16, 16)), ((128, 96), (8, 6))],
)
def test_the_grid_of_the_official_sizes(size, grid):
    assert Config(96, 1, 3, input_size=size).grid == grid


# What a card says of its network, tests/edgevit/networks/test_zoo.py compares with the network.
def test_the_cards_are_the_specifications():
    assert OF_NAME["vitpose-micro"].params < 1_000_000
    for card in CARDS:
        if card.variant == "micro":
            continue
        variant = card.variant.removeprefix("plus-")
        assert (round(card.params / 1e6, 3), round(card.gmacs, 3)) == SPEC[variant], card.name
        with torch.device("meta"):
            network = build(card, configure(card, card.input_size, None, {}), False)
        backbone = sum(p.numel() for p in network.backbone.parameters())
        assert round(backbone / 1e6, 3) == BACKBONE[variant.removesuffix("-simple")], card.name


def test_the_names():
    sizes = "sblh"
    assert set(OF_NAME) == {
        *(f"vitpose-{s}" for s in sizes),
        *(f"vitpose-{s}-simple" for s in sizes),
        *(f"vitpose-plus-{s}" for s in sizes),
        "vitpose-micro",
    }
    assert set(CONFIGS) == {card.variant for card in CARDS}


def test_published_scores_are_the_readmes():
    best = {card.name: card.published[0].value for card in CARDS if card.published}
    assert best["vitpose-s"] == 73.8
    assert best["vitpose-h-simple"] == 78.9
    assert best["vitpose-plus-b"] == 77.0
    assert all("COCO val AP," in c.published[0].metric for c in CARDS if c.published)


def test_every_map_by_name():
    network = tiny("classic")
    x = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(2))
    every = build(OF_NAME["vitpose-s"], network.config, True).eval()
    every.load_state_dict(network.state_dict())
    with torch.no_grad():
        maps = every(x)
        assert torch.equal(maps["heatmaps"], network(x))
        assert torch.equal(maps["features"], network.backbone(x))
    assert set(maps) == {"heatmaps", "features"}
    assert maps["features"].shape == (1, 32, 4, 3)


@pytest.mark.parametrize("decoder", ["classic", "simple"])
def test_torch_export_captures_it(decoder):
    network = tiny(decoder)
    x = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(3))
    exported = torch.export.export(network, (x,), strict=False).module()
    with torch.no_grad():
        assert difference(exported(x).numpy(), network(x).numpy()) < 1e-5


@pytest.mark.parametrize("decoder", ["classic", "simple"])
def test_the_random_start_is_alive_and_learns(decoder):
    torch.manual_seed(5)
    network = build(OF_NAME["vitpose-s"], TINY[decoder], False)
    x = torch.randn(2, 3, 64, 48)
    network.eval()
    with torch.no_grad():
        assert 1e-3 < float(network(x).std()) < 1
    loss = network.train()(x).square().mean()
    loss.backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not still
