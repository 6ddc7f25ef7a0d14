"""Only the class token is classified, so the last block computes it alone."""

import torch
from torch import nn

from edgevit.models.t2t_vit import GhostAttention, SqueezeExcite, T2TViT
from edgevit.models.transformer import Attention, Block, OneToken
from edgevit.models.vit import VisionTransformer
from edgevit.reparam.split_projections import FirstTokens, set_apart


def answer_for_class_tokens(model: nn.Module) -> nn.Module:
    """Compute of the last block what the classifier reads.

    With R the rows of the tokens that are read,
        R (x + softmax(q k^T) v W) = R x + softmax((R q) k^T) v W,
    and norms and MLPs work a token. Squeeze-excite is a mean over all tokens and stays before R.
    DeiT's mean of two classifiers, one a token, is one over both:
        (W1 t1 + b1 + W2 t2 + b2) / 2 = [W1 / 2, W2 / 2] [t1; t2] + (b1 + b2) / 2
    Needs: nothing. Leaves: the tokens that are read as the only ones behind the last block.
    """
    if isinstance(model, VisionTransformer | T2TViT) and isinstance(model.pool, OneToken):
        block = model.blocks[-1]
        if not isinstance(block, Block):
            return model
        count = 1
        if isinstance(model, VisionTransformer) and model.head_dist is not None:
            if not (_empty(model.fc_norm) and _empty(model.pre_logits)):
                return model
            count = 2
            model.head = _joined(model.head, model.head_dist)
            model.head_dist = None
        _narrow(block, count)
        model.pool = nn.Flatten(1)  # type: ignore[assignment]  # its place: the others are gone
    return model


def _empty(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity)


def _narrow(block: Block, count: int) -> None:
    """Have a block answer for its first tokens."""
    first, attention = FirstTokens(count), block.attn
    block.shortcut = first  # type: ignore[assignment]  # the place of all tokens
    if any(isinstance(module, SqueezeExcite) for module in attention.modules()):
        block.attn = nn.Sequential(attention, first)
    elif isinstance(attention, GhostAttention):
        attention.set_submodule("q", nn.Sequential(first, attention.q))
    else:
        assert isinstance(attention, Attention)
        set_apart(attention, count)


@torch.no_grad()
def _joined(head: nn.Linear, other: nn.Linear) -> nn.Linear:
    joined = nn.Linear(2 * head.in_features, head.out_features, dtype=head.weight.dtype)
    joined.weight.copy_(torch.cat([head.weight, other.weight], dim=1) / 2)
    joined.bias.copy_((head.bias + other.bias) / 2)
    return joined
