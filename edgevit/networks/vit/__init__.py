"""ViT (ICLR 2021), with DeiT's and MAE's variants: the plain image classifier."""

from edgevit.networks.system import Parts, System, by_container
from edgevit.networks.vit.cards import CARDS, PREPARATIONS


def _load() -> Parts:
    from edgevit.networks.vit import checkpoint, integers, network, passes

    return Parts(
        network.build,
        checkpoint,
        by_container(checkpoint.adapt),
        passes.PASSES,
        integers.INTEGERS,
    )


SYSTEM = System("vit", CARDS, _load, PREPARATIONS)
