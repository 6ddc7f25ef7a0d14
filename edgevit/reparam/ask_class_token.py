"""MViTv2 with a class token: the last block computes it alone."""

from torch import nn

from edgevit.models.mvitv2 import Block, MViT
from edgevit.models.transformer import OneToken


def ask_class_token(model: nn.Module) -> nn.Module:
    """Compute of the last block what the classifier reads.

    With R the row of the class token, which is neither pooled nor placed,
        R (pool(x) + (softmax(l) v + q) W) = R x + softmax(R q k^T s) v W  (+ R q W by `cls_query`),
    and norms and the MLP work a token: pooled queries, their positions and all patches of the MLP
    are never read. Keys and values stay whole. Needs: nothing. Leaves: the class token alone behind
    the last block.
    """
    if isinstance(model, MViT) and not model.all_outputs and isinstance(model.selected, OneToken):
        block = model.blocks[-1]
        assert isinstance(block, Block)
        block.attn.class_only = True
        model.selected = nn.Flatten(1)  # its place: the others are gone
    return model
