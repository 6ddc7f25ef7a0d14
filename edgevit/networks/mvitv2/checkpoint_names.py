"""The names that MViTv2's tensors have in each project's files, and the ones they have here."""

import re
from collections.abc import Iterable

from torch import Tensor

TIMM_BLOCK = re.compile(r"stages\.(\d{1,3})\.blocks\.(\d{1,3})\.(.+)")
TIMM_NAMES = (("shortcut_proj_attn.", "proj."), ("shortcut_proj_mlp.", "proj."))
PATCH = "patch_embed.proj.weight"
POOLED = (".attn.pool_q.weight", ".attn.pool_k.weight", ".attn.pool_v.weight")
FIRST_POOL = f"blocks.0{POOLED[0]}"  # what no network but MViTv2 has


def is_from_timm(keys: Iterable[str]) -> bool:
    """Whether these keys are timm's."""
    return any(TIMM_BLOCK.fullmatch(key) for key in keys)


def official_names(keys: Iterable[str]) -> dict[str, str]:
    """Every key with its name in our tree: timm's stages become one row of blocks, detectron2's
    `backbone.` falls away.
    """
    keys = tuple(keys)
    depths: dict[int, int] = {}
    for key in keys:
        if found := TIMM_BLOCK.fullmatch(key):
            stage, index = int(found[1]), int(found[2])
            depths[stage] = max(depths.get(stage, 0), index + 1)
    names = {}
    for key in keys:
        name = key
        if found := TIMM_BLOCK.fullmatch(key):
            before = sum(depth for stage, depth in depths.items() if stage < int(found[1]))
            tail = found[3]
            for old, new in TIMM_NAMES:
                tail = tail.replace(old, new) if tail.startswith(old) else tail
            name = f"blocks.{before + int(found[2])}.{tail}"
        elif depths and key.startswith("head.fc."):
            name = f"head.projection.{key.removeprefix('head.fc.')}"
        elif key.startswith(("backbone.bottom_up.", "backbone.fpn_")):
            name = key.removeprefix("backbone.")
        names[key] = name
    return names


def is_kernel(key: str) -> bool:
    """Whether this is the kernel of the patches or of a pooling convolution."""
    return key == PATCH or key.endswith(POOLED)


def squeezed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels of one frame without that frame: the ImageNet-1k files were trained in video code."""
    return {
        key: value.squeeze(2)
        if is_kernel(key) and value.ndim == 5 and value.shape[2] == 1
        else value
        for key, value in tensors.items()
    }
