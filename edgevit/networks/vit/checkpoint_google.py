"""Google's ViT files: flax names in an .npz, kernels with their inputs first.

Source: google-research/vision_transformer, vit_jax/checkpoint.py and models_vit.py. The published
files count submodules as flax did before Linen (`LayerNorm_0`, `MultiHeadDotProductAttention_1`,
`LayerNorm_2`, `MlpBlock_3`); flax's `convert_pre_linen` makes the later names of them, and both are
read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TABLE = "Transformer/posembed_input/pos_embedding"
KERNEL = "embedding/kernel"
# timm's reader of the same files knows these too: parameters beside an optimizer, and big_vision's.
ROOTS = ("opt/target/", "params/")

TOP = {
    "cls": "cls_token",
    TABLE: "pos_embed",
    KERNEL: "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
    "pre_logits/kernel": "pre_logits.fc.weight",
    "pre_logits/bias": "pre_logits.fc.bias",
    "head/kernel": "head.weight",
    "head/bias": "head.bias",
}
BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)")
ATTENTION = re.compile(r"MultiHeadDotProductAttention_[01]/(query|key|value|out)/(kernel|bias)")
RANKS = {("qkv", "kernel"): 3, ("qkv", "bias"): 2, ("out", "kernel"): 3, ("out", "bias"): 1}
INNER = {
    "LayerNorm_0/scale": "norm1.weight",
    "LayerNorm_0/bias": "norm1.bias",
    **{f"LayerNorm_{n}/scale": "norm2.weight" for n in (1, 2)},
    **{f"LayerNorm_{n}/bias": "norm2.bias" for n in (1, 2)},
    **{
        f"MlpBlock_{n}/Dense_{layer}/{part}": f"mlp.fc{layer + 1}.{ours}"
        for n in (0, 3)
        for layer in (0, 1)
        for part, ours in (("kernel", "weight"), ("bias", "bias"))
    },
}


@dataclass(frozen=True, slots=True)
class Renamed:
    """The tensors under timm's names, and into how many heads their kernels are cut: one count, of
    a file that is whole.
    """

    tensors: dict[str, Tensor]
    heads: frozenset[int]


def root_of(keys: Mapping[str, object]) -> str | None:
    """What stands before every parameter's name; None where this is no file of Google's."""
    return next((root for root in ("", *ROOTS) if f"{root}{KERNEL}" in keys), None)


def rename(tensors: Mapping[str, Tensor]) -> Renamed:
    """Google's names and layouts to timm's; what has no name or no expected rank stays as it is.

    Dropped: everything beside the parameters of a training state (`opt/...` next to `opt/target/`),
    which is the optimizer's.
    """
    root = root_of(tensors) or ""
    renamed: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}  # block and part -> query, key, value
    heads: set[int] = set()
    for full, value in tensors.items():
        if not full.startswith(root):
            continue
        key = full.removeprefix(root)
        block = BLOCK.fullmatch(key)
        if block is None:
            renamed[TOP.get(key, key)] = _turned(key, value)
            continue
        prefix, inner = f"blocks.{int(block[1])}.", block[2]
        found = ATTENTION.fullmatch(inner)
        if found is None:
            ours = INNER.get(inner)
            renamed[prefix + ours if ours else key] = _turned(key, value)
            continue
        which, part = found[1], found[2]
        if value.ndim != RANKS["out" if which == "out" else "qkv", part]:
            renamed[key] = value
        elif which == "out":
            ours = "weight" if part == "kernel" else "bias"
            # kernel [heads, head_dim, D] -> [D, heads * head_dim]
            flat = value.flatten(0, 1).t().contiguous() if part == "kernel" else value
            renamed[f"{prefix}attn.proj.{ours}"] = flat
        else:
            if part == "kernel":
                heads.add(value.shape[1])
            attention.setdefault(f"{prefix}attn.qkv/{part}", {})[which] = value
    for name, parts in attention.items():
        qkv, part = name.split("/")
        renamed.update(_fused(qkv, part, parts))
    return Renamed(renamed, frozenset(heads))


def _turned(key: str, value: Tensor) -> Tensor:
    """A kernel with its outputs first, as torch has them; anything else as it is."""
    if not key.endswith("/kernel"):
        return value
    if value.ndim == 4:  # [rows, columns, inputs, outputs]
        return value.permute(3, 2, 0, 1).contiguous()
    return value.t().contiguous() if value.ndim == 2 else value


def _fused(name: str, part: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows of q, k, v over each other; a lone one keeps a name that no network has."""
    # kernels [D, heads, head_dim] -> [heads * head_dim, D], biases [heads, head_dim] -> flat
    flat = {
        which: value.flatten(1).t() if part == "kernel" else value.flatten()
        for which, value in parts.items()
    }
    if len(flat) < 3 or len({value.shape[1:] for value in flat.values()}) > 1:
        return {f"{name}.{which}.{part}": value for which, value in flat.items()}
    ours = "weight" if part == "kernel" else "bias"
    return {f"{name}.{ours}": torch.cat([flat[which] for which in ("query", "key", "value")])}
