"""Only the class token is classified, so the last block computes it alone."""

from torch import nn

from edgevit.networks.parts.transformer import Attention, Block
from edgevit.networks.passes.split_projections import FirstTokens, set_apart


def answer_for_first(block: Block, count: int) -> None:
    """Compute of the last block what the classifier reads: its first `count` tokens.

    With R the rows of the tokens that are read,
        R (x + softmax(q k^T) v W) = R x + softmax((R q) k^T) v W,
    and norms and MLPs work a token. Needs: attention with one projection. Leaves: these tokens as
    the only ones behind the block.
    """
    assert isinstance(block.attn, Attention)
    keep_first(block, count)
    set_apart(block.attn, count)


def keep_first(block: Block, count: int) -> FirstTokens:
    """Have the shortcut of a block pass its first tokens alone; returns what cuts them."""
    first = FirstTokens(count)
    block.shortcut = first  # type: ignore[assignment]  # the place of all tokens
    return first


def nothing_between(*modules: nn.Module) -> bool:
    """Whether these places are empty."""
    return all(isinstance(module, nn.Identity) for module in modules)
