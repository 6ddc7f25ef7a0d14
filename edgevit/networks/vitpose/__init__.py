"""ViTPose and ViTPose+ (NeurIPS 2022, TPAMI 2023): a plain ViT and a decoder to heatmaps."""

from edgevit.networks.system import Parts, System, by_keys
from edgevit.networks.vitpose.cards import CARDS, PREPARATIONS


def _load() -> Parts:
    from edgevit.networks.vitpose import checkpoint, integers, network, passes

    return Parts(
        network.build,
        checkpoint,
        by_keys(checkpoint.adapt),
        passes.PASSES,
        integers.INTEGERS,
    )


SYSTEM = System("vitpose", CARDS, _load, PREPARATIONS)
