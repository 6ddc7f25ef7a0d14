"""Rewrites of ViT: constant positions, and the last block for the tokens that are classified."""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.transformer import Block, OneToken
from edgevit.networks.passes.class_tokens import answer_for_first, nothing_between
from edgevit.networks.passes.fold_places import place_constants
from edgevit.networks.system import ALL_FORMATS, Pass, alone
from edgevit.networks.vit.network import VisionTransformer


def fold_places(model: nn.Module) -> nn.Module:
    """Class tokens and positions become constants, as `place_constants` has it.

    Needs: nothing. Leaves: None where the parameters were.
    """
    for module in list(model.modules()):
        if isinstance(module, VisionTransformer) and isinstance(module.pos_embed, Tensor):
            tokens = [t for t in (module.cls_token, module.dist_token) if t is not None]
            module.dist_token = None
            place_constants(module, tokens, module.pos_embed)
    return model


def answer_for_class_tokens(model: nn.Module) -> nn.Module:
    """Compute of the last block what the classifier reads, as `answer_for_first` has it.

    DeiT's mean of two classifiers, one a token, is one over both:
        (W1 t1 + b1 + W2 t2 + b2) / 2 = [W1 / 2, W2 / 2] [t1; t2] + (b1 + b2) / 2
    Needs: nothing. Leaves: the tokens that are read as the only ones behind the last block.
    """
    if not (isinstance(model, VisionTransformer) and isinstance(model.pool, OneToken)):
        return model
    block = model.blocks[-1]
    if not isinstance(block, Block):
        return model
    count = 1
    if model.head_dist is not None:
        if not nothing_between(model.fc_norm, model.pre_logits):
            return model
        count = 2
        model.head = _joined(model.head, model.head_dist)
        model.head_dist = None
    answer_for_first(block, count)
    model.pool = nn.Flatten(1)  # type: ignore[assignment]  # its place: the others are gone
    return model


@torch.no_grad()
def _joined(head: nn.Linear, other: nn.Linear) -> nn.Linear:
    joined = nn.Linear(2 * head.in_features, head.out_features, dtype=head.weight.dtype)
    joined.weight.copy_(torch.cat([head.weight, other.weight], dim=1) / 2)
    joined.bias.copy_((head.bias + other.bias) / 2)
    return joined


PASSES: tuple[Pass, ...] = (
    Pass(
        alone(fold_places),
        "common",
        ALL_FORMATS,
        "class tokens and tables are constants; their sum is computed here instead of there",
        before="shift-conv3d",
    ),
    Pass(
        alone(answer_for_class_tokens),
        "common",
        ALL_FORMATS,
        "saves most of the last block, which only the class token is read from",
        before="shift-conv3d",
    ),
)
