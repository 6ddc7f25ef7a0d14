"""Rewrites of ViTPose: constant positions."""

from torch import Tensor, nn

from edgevit.networks.passes.fold_places import place_constants
from edgevit.networks.system import ALL_FORMATS, Pass, alone
from edgevit.networks.vitpose.network import Backbone


def fold_places(model: nn.Module) -> nn.Module:
    """Positions become a constant: the class token's row is added to every patch, so the table is
    p_rest + p_class.

    Needs: nothing. Leaves: None where the parameter was.
    """
    for module in list(model.modules()):
        if isinstance(module, Backbone) and isinstance(module.pos_embed, Tensor):
            positions = module.positions()
            assert positions is not None
            place_constants(module, [], positions)
    return model


PASSES: tuple[Pass, ...] = (
    Pass(
        alone(fold_places),
        "common",
        ALL_FORMATS,
        "class tokens and tables are constants; their sum is computed here instead of there",
        before="shift-conv3d",
    ),
)
