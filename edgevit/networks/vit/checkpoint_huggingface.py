"""ViT, DeiT and MAE files as transformers saves them: q, k and v apart, longer names.

Source: huggingface/transformers, models/vit/modeling_vit.py, models/deit/modeling_deit.py and
models/vit_mae/modeling_vit_mae.py. Files on the hub carry the names from before transformers 5
(`encoder.layer.0.attention.attention.query`), which conversion_mapping.py brings to the later ones
(`layers.0.attention.q_proj`); both are read.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

KERNEL = "embeddings.patch_embeddings.projection.weight"
ROOTS = ("vit.", "deit.")
EPS = 1e-12  # `layer_norm_eps` of ViTConfig, DeiTConfig and ViTMAEConfig, and of the hub's configs

TOP = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
}
BLOCK = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)")
INNER = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
QKV = {
    "attention.attention.query": "q",
    "attention.attention.key": "k",
    "attention.attention.value": "v",
    "attention.q_proj": "q",
    "attention.k_proj": "k",
    "attention.v_proj": "v",
}
# The pooler: no classifier of transformers reads it (`add_pooling_layer=False`). The mask token and
# the decoder: of masked pre-training alone.
DROPPED = ("pooler.dense.", "embeddings.mask_token", "decoder.")


def is_huggingface(keys: Mapping[str, object]) -> bool:
    """Whether these are a file's keys as transformers writes them."""
    return any(f"{root}{KERNEL}" in keys for root in ("", *ROOTS))


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names to timm's, q, k and v fused; unknown ones stay, `DROPPED` go."""
    renamed: dict[str, Tensor] = {}
    apart: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        root = next((r for r in ROOTS if full.startswith(r)), "")
        key = full.removeprefix(root)
        if key.startswith(DROPPED):
            continue
        block = BLOCK.fullmatch(key)
        if block is None:
            renamed[_top(key, full)] = value
            continue
        prefix, inner, part = f"blocks.{int(block[1])}.", block[2], block[3]
        if inner in QKV:
            apart.setdefault(f"{prefix}attn.qkv/{part}", {})[QKV[inner]] = value
        else:
            renamed[f"{prefix}{INNER[inner]}.{part}" if inner in INNER else full] = value
    for name, parts in apart.items():
        qkv, part = name.split("/")
        # A lone one, or one of another width, keeps a name that no network has.
        if len(parts) == 3 and len({v.shape for v in parts.values()}) == 1 and parts["q"].ndim:
            renamed[f"{qkv}.{part}"] = torch.cat([parts[which] for which in "qkv"])
        else:
            renamed.update({f"{qkv}.{which}.{part}": value for which, value in parts.items()})
    return renamed


def _top(key: str, full: str) -> str:
    if key in TOP:
        return TOP[key]
    stem, _, part = key.rpartition(".")
    return f"{TOP[stem]}.{part}" if stem in TOP and part in ("weight", "bias") else full
