"""Rewrites of T2T-ViT: constant positions, and the class token alone in the last block."""

from torch import Tensor, nn

from edgevit.networks.parts.transformer import Block, OneToken
from edgevit.networks.passes.class_tokens import answer_for_first, keep_first
from edgevit.networks.passes.fold_places import place_constants
from edgevit.networks.system import ALL_FORMATS, Pass, alone
from edgevit.networks.t2t_vit.network import GhostAttention, SqueezeExcite, T2TViT
from edgevit.networks.t2t_vit.performer import fold_feature_scales
from edgevit.networks.t2t_vit.unfold_to_conv import unfold_to_conv


def fold_places(model: nn.Module) -> nn.Module:
    """The class token and positions become constants, as `place_constants` has it.

    Needs: nothing. Leaves: None where the parameters were.
    """
    for module in list(model.modules()):
        match module:
            case T2TViT(cls_token=Tensor() as token, pos_embed=Tensor() as table):
                place_constants(module, [token], table)
    return model


def answer_for_class_tokens(model: nn.Module) -> nn.Module:
    """Compute of the last block what the classifier reads, as `answer_for_first` has it.

    Squeeze-excite is a mean over all tokens and stays before the cut; ghost attention has its
    queries cut alone. Needs: nothing. Leaves: the class token alone behind the last block.
    """
    if not (isinstance(model, T2TViT) and isinstance(model.pool, OneToken)):
        return model
    block = model.blocks[-1]
    if not isinstance(block, Block):
        return model
    attention = block.attn
    if any(isinstance(module, SqueezeExcite) for module in attention.modules()):
        block.attn = nn.Sequential(attention, keep_first(block, 1))
    elif isinstance(attention, GhostAttention):
        attention.set_submodule("q", nn.Sequential(keep_first(block, 1), attention.q))
    else:
        answer_for_first(block, 1)
    model.pool = nn.Flatten(1)  # type: ignore[assignment]  # its place: the others are gone
    return model


PASSES: tuple[Pass, ...] = (
    Pass(
        alone(unfold_to_conv),
        "common",
        ALL_FORMATS,
        "no runtime has unfold, and what exporters write instead gathers every patch",
        before="shift-conv3d",
    ),
    Pass(
        alone(fold_feature_scales),
        "common",
        ALL_FORMATS,
        "anywhere: without it ONNX's optimizer drops the 1e-8 that keeps a small sum from zero",
        before="shift-conv3d",
    ),
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
