"""MViTv2 in integers: residual pooling makes few large values, and what reads them stays float."""

from collections.abc import Iterator

from torch import nn

from edgevit.networks.integers import LAST, PATCHES, Float, Integers
from edgevit.networks.mvitv2.network import MViTPyramid
from edgevit.networks.parts.places import Place, joined


def layer_places(module: nn.Module) -> Iterator[Place]:
    """The pyramid's sums."""
    if isinstance(module, MViTPyramid) and not module.all_outputs:
        laterals = [module.get_submodule(f"fpn_lateral{n}") for n in range(2, 6)]
        outputs = [module.get_submodule(f"fpn_output{n}") for n in range(2, 6)]
        yield from joined(laterals, outputs)


INTEGERS = Integers(
    "mse",
    (
        PATCHES,
        LAST,
        # 24.5 to 25.4 dB of a seeded mvitv2-s-video in torch, for 1 to 4 % of mvitv2-t's time and
        # 5 to 7 % of the micro one's (on a machine that was not idle).
        Float("*.pool*", "depthwise: few products, and a map's ends are cut off"),
        Float(
            "*blocks.*proj",
            "residual pooling adds queries to what it reads, and makes few large values: 25.4 to"
            " 28.6 dB of the same network for a tenth of the products",
        ),
    ),
    # mvitv2-micro 40.1 to 40.8 dB. Smoothed norms and corrected biases have 41.5 there, and 0.9 dB
    # less in a seeded mvitv2-s-video on what calibration did not show.
    edits=("equalize-norms",),
    # 30.4 to 32.5 dB of the same, edited in both, in torch with ONNX Runtime's one scale a tensor.
    also=("w8dyn",),
    layer_places=layer_places,
)
