"""transformers' names of a ViTPose network, brought to the official project's.

Source: transformers, models/vitpose and models/vitpose_backbone.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

HUGGING_FACE = (
    ("backbone.embeddings.position_embeddings", "backbone.pos_embed"),
    ("backbone.embeddings.patch_embeddings.projection.", "backbone.patch_embed.proj."),
    ("backbone.encoder.layer.", "backbone.blocks."),
    ("backbone.layernorm.", "backbone.last_norm."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".attention.output.dense.", ".attn.proj."),
    ("head.deconv1.", "keypoint_head.deconv_layers.0."),
    ("head.batchnorm1.", "keypoint_head.deconv_layers.1."),
    ("head.deconv2.", "keypoint_head.deconv_layers.3."),
    ("head.batchnorm2.", "keypoint_head.deconv_layers.4."),
    ("head.conv.", "keypoint_head.final_layer."),
)
QUERY = re.compile(r"^(backbone\.blocks\.\d+)\.attention\.attention\.query\.(weight|bias)$")


def is_hugging_face(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of transformers' VitPoseForPoseEstimation."""
    return any(key.startswith("backbone.embeddings.") for key in tensors)


def from_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names to the official ones; q, k, v are stacked into one layer."""
    renamed = {}
    for key, value in tensors.items():
        name = key
        for theirs, ours in HUGGING_FACE:
            # Without a leading dot a name is to be matched from the start on.
            if theirs.startswith(".") or name.startswith(theirs):
                name = name.replace(theirs, ours, 1)
        renamed[name] = value
    for key in list(renamed):
        found = QUERY.match(key)
        if found is None:
            continue
        parts = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        shapes = {tuple(renamed[part].shape) for part in parts if part in renamed}
        # One alone, or one of another shape, keeps its name, which no network has.
        if all(part in renamed for part in parts) and len(shapes) == 1 and renamed[key].ndim:
            stacked = torch.cat([renamed.pop(part) for part in parts])
            renamed[f"{found[1]}.attn.qkv.{found[2]}"] = stacked
    return renamed
