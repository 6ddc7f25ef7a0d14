"""TopFormer against the official code's outputs, and against the paper's text restated."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgevit.difference import difference
from edgevit.networks.create import create_model
from edgevit.networks.topformer.network import INJECTIONS, build, config_of
from edgevit.networks.zoo import model_card

PARITY = Path(__file__).resolve().parents[3] / "parity"
CASES = sorted(path.stem for path in PARITY.glob("topformer_*.json"))
OFFICIAL_PARITY = 2e-4

# Kernel, expansion, channels, stride of each pyramid row, and the rows whose outputs are read.
ROWS = {
    "t": "3,1,16,1 3,4,16,2 3,3,16,1 5,3,32,2 5,3,32,1 3,3,64,2 3,3,64,1 5,6,96,2 5,6,96,1",
    "s": "3,1,16,1 3,4,24,2 3,3,24,1 5,3,48,2 5,3,48,1 3,3,96,2 3,3,96,1 5,6,128,2 5,6,128,1"
    " 3,6,128,1",
    "b": "3,1,16,1 3,4,32,2 3,3,32,1 5,3,64,2 5,3,64,1 3,3,128,2 3,3,128,1 5,6,160,2 5,6,160,1"
    " 3,6,160,1",
}
READ = {"t": (2, 4, 6, 8), "s": (2, 4, 6, 9), "b": (2, 4, 6, 9)}
HEADS = {"t": 4, "s": 6, "b": 8}


# The network once more, as straight code over a state dict, from the specification's sections 1.1
# to 1.3 alone: nothing here knows edgevit.networks.


def norm(s, key, x):
    """Batch norm by its definition, in eval mode."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    weight, bias, mean, var = (
        s[f"{key}.{part}"].reshape(shape)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def conv(s, key, x, name="c", **geometry):
    """A convolution and, where the file has one, its norm."""
    x = F.conv2d(x, s[f"{key}.{name}.weight"], s.get(f"{key}.{name}.bias"), **geometry)
    return norm(s, f"{key}.bn", x) if f"{key}.bn.weight" in s else x


def pyramid(s, prefix, variant, x):
    x = F.relu(conv(s, f"{prefix}tpm.stem.0", x, stride=2, padding=1))
    maps = []
    for index, row in enumerate(ROWS[variant].split()):
        kernel, expansion, outputs, stride = map(int, row.split(","))
        key, y = f"{prefix}tpm.layer{index + 1}.conv", x
        at = 0
        if expansion != 1:
            y, at = F.relu(conv(s, f"{key}.0", y)), 2
        y = conv(s, f"{key}.{at}", y, stride=stride, padding=kernel // 2, groups=y.shape[1])
        y = conv(s, f"{key}.{at + 2}", F.relu(y))
        x = x + y if stride == 1 and x.shape[1] == outputs else y
        if index in READ[variant]:
            maps.append(x)
    return maps


def window(size, grid, index):
    """First and one past the last row of an adaptive pool's window."""
    return index * size // grid, -((index + 1) * size // -grid)


def pool(x, rows, columns):
    """Adaptive average pooling, window by window."""
    out = x.new_empty(*x.shape[:2], rows, columns)
    for i in range(rows):
        for j in range(columns):
            top, bottom = window(x.shape[2], rows, i)
            left, right = window(x.shape[3], columns, j)
            out[:, :, i, j] = x[:, :, top:bottom, left:right].mean((2, 3))
    return out


def tokens_of(s, prefix, variant, maps, token_stride):
    rows, columns = ((side - 1) // (token_stride // 32) + 1 for side in maps[-1].shape[2:])
    x = torch.cat([pool(m, rows, columns) for m in maps], 1)
    for index in range(4):
        key = f"{prefix}trans.transformer_blocks.{index}"
        mixed = []
        q, k, v = (conv(s, f"{key}.attn.to_{name}", x).flatten(2) for name in "qkv")
        for h in range(HEADS[variant]):
            qh, kh = q[:, h * 16 : h * 16 + 16], k[:, h * 16 : h * 16 + 16]
            weights = torch.einsum("bdi,bdj->bij", qh, kh).softmax(-1)  # no 1 / sqrt(d)
            mixed.append(torch.einsum("bij,bdj->bdi", weights, v[:, h * 32 : h * 32 + 32]))
        attended = F.relu6(torch.cat(mixed, 1)).unflatten(2, (rows, columns))
        x = x + conv(s, f"{key}.attn.proj.1", attended)
        y = conv(s, f"{key}.mlp.fc1", x)
        y = F.conv2d(
            y,
            s[f"{key}.mlp.dwconv.weight"],
            s[f"{key}.mlp.dwconv.bias"],
            padding=1,
            groups=y.shape[1],
        )
        x = x + conv(s, f"{key}.mlp.fc2", F.relu6(y))
    return x


def up(x, like):
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


def inject(s, key, kind, local, semantics):
    one = partial(conv, s, name="conv")
    if kind.startswith("fuse"):
        fine, coarse = one(f"{key}.fuse1", local), one(f"{key}.fuse2", semantics)
        if kind == "fuse_sum":
            return fine + up(coarse, local)
        return fine * up((coarse + 3).clamp(0, 6) / 6, local)
    fine = one(f"{key}.local_embedding", local)
    added = one(f"{key}.global_embedding", semantics)
    if kind == "muli_sum_cbr":
        fine, added = F.relu(fine), F.relu(added)
    gate = (one(f"{key}.global_act", semantics) + 3).clamp(0, 6) / 6
    return fine * up(gate, local) + up(added, local)


def injected(s, variant, x, kind="muli_sum", token_stride=64):
    maps = pyramid(s, "backbone.", variant, x)
    tokens = tokens_of(s, "backbone.", variant, maps, token_stride)
    parts = tokens.split([m.shape[1] for m in maps], 1)
    return [inject(s, f"backbone.SIM.{i}", kind, maps[i], parts[i]) for i in (1, 2, 3)]


def segment(s, variant, x, kind="muli_sum", token_stride=64):
    first, *coarser = injected(s, variant, x, kind, token_stride)
    total = first + sum(up(m, first) for m in coarser)
    fuse = s["decode_head.linear_fuse.conv.weight"]
    groups = total.shape[1] // fuse.shape[1]
    total = F.relu(conv(s, "decode_head.linear_fuse", total, "conv", groups=groups))
    return conv(s, "decode_head", total, "conv_seg")


def classify(s, variant, x, token_stride=32):
    maps = pyramid(s, "", variant, x)
    mean = tokens_of(s, "", variant, maps, token_stride).mean((2, 3))
    return F.linear(norm(s, "head.bn", mean), s["head.l.weight"], s["head.l.bias"])


# Until here.


def image(size, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)


def compared(network: nn.Module, x, wanted):
    with torch.no_grad():
        out = network.double()(x)
    outputs = out if isinstance(out, tuple) else (out,)
    for got, want in zip(outputs, wanted, strict=True):
        assert got.std() > 0.1, "a flat output proves nothing"
        assert difference(got.numpy(), want.numpy()) < 1e-10


def state64(network):
    return {key: value.double() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_official_outputs(case, seeded, tmp_path):
    card = seeded.load_case(case)
    path = tmp_path / "official.pth"
    seeded.write_checkpoint(card, path)
    size = tuple(card["input"]["shape"][2:])
    network = create_model("topformer-t", weights=path, input_size=size)
    with torch.no_grad():
        logits = network(torch.from_numpy(seeded.case_input(card))).numpy()
    spec = card["outputs"]["logits"]
    assert list(logits.shape) == spec["shape"]
    taken = logits.ravel()[seeded.sample_indices(logits.size)]
    wanted = np.load(PARITY / f"{case}.npz")["logits"]
    assert difference(taken, wanted) <= OFFICIAL_PARITY
    assert abs(float(logits.std()) - spec["std"]) < 1e-3
    worst = seeded.check(card, {"logits": logits})["logits"]
    assert worst / max(1.0, spec["std"]) <= OFFICIAL_PARITY


def test_the_reference_cases_are_there():
    assert len(CASES) == 3
    for case in CASES:
        assert json.loads((PARITY / f"{case}.json").read_text())["system"] == "topformer"


@pytest.mark.parametrize("size", [(225, 321), (512, 704), (160, 96), (65, 33), (480, 480)])
def test_restated_at_even_and_odd_sizes(size, filled):
    network = filled(create_model("topformer-t", input_size=size))
    x = image(size)
    compared(network, x, [segment(state64(network), "t", x)])
    with torch.no_grad():
        logits = network(x)
    assert logits.shape[2:] == tuple(-(-side // 8) for side in size)


@pytest.mark.parametrize("variant", ["s", "b"])
@pytest.mark.parametrize("size", [(97, 128)])
def test_restated_larger_variants(variant, size, filled):
    network = filled(create_model(f"topformer-{variant}", input_size=size, num_classes=19))
    x = image(size)
    compared(network, x, [segment(state64(network), variant, x)])


@pytest.mark.parametrize("stride", [64, 32])
@pytest.mark.parametrize("kind", INJECTIONS)
def test_restated_injections_and_token_strides(kind, stride, filled):
    size = (104, 200)
    network = create_model("topformer-t", input_size=size, injection=kind, token_stride=stride)
    x = image(size)
    filled(network)
    compared(network, x, [segment(state64(network), "t", x, kind, stride)])


@pytest.mark.parametrize("depthwise", [False, True])
def test_restated_widths_that_a_checkpoint_may_have(depthwise, filled):
    config = replace(
        config_of(model_card("topformer-b")),
        num_classes=7,
        decode_channels=128,
        head_channels=128,
        depthwise_fuse=depthwise,
    )
    network = filled(build(model_card("topformer-b"), config, False).eval())
    x = image((64, 96))
    compared(network, x, [segment(state64(network), "b", x)])


@pytest.mark.parametrize("variant", ["t", "s", "b"])
def test_restated_features(variant, filled):
    network = filled(create_model(f"topformer-{variant}-features", input_size=(72, 100)))
    x = image((72, 100))
    compared(network, x, injected(state64(network), variant, x))


@pytest.mark.parametrize(
    ("variant", "size"), [("t", (224, 224)), ("s", (100, 75)), ("b", (64, 64))]
)
def test_restated_classification(variant, size, filled):
    network = filled(create_model(f"topformer-{variant}-cls", input_size=size))
    x = image(size)
    compared(network, x, [classify(state64(network), variant, x)])


def test_the_classifier_reads_its_tokens_at_32_unless_told_otherwise(filled):
    x = image((128, 128))
    network = filled(create_model("topformer-t-cls", token_stride=64))
    compared(network, x, [classify(state64(network), "t", x, 64)])
    with torch.no_grad():
        tokens = create_model("topformer-t-cls", outputs="all")(x.float())["tokens"]
    assert tokens.shape[2:] == (4, 4)


def test_every_map_by_name(filled):
    size = (100, 130)
    network = filled(create_model("topformer-s", input_size=size, outputs="all")).double()
    x, state = image(size), state64(network)
    with torch.no_grad():
        maps = network(x)
    levels = pyramid(state, "backbone.", "s", x)
    wanted = {
        **{f"map{4 << i}": level for i, level in enumerate(levels)},
        "tokens": tokens_of(state, "backbone.", "s", levels, 64),
        **{f"scale{8 << i}": m for i, m in enumerate(injected(state, "s", x))},
        "logits": segment(state, "s", x),
    }
    assert set(maps) == set(wanted)
    for name, value in maps.items():
        assert difference(value.numpy(), wanted[name].numpy()) < 1e-10, name
