"""T2T-ViT (ICCV 2021): image classifiers whose tokens are made of tokens."""

from edgevit.networks.system import Parts, System, by_container
from edgevit.networks.t2t_vit.cards import CARDS, PREPARATIONS


def _load() -> Parts:
    from edgevit.networks.t2t_vit import checkpoint, integers, network, passes

    return Parts(
        network.build,
        checkpoint,
        by_container(checkpoint.adapt),
        passes.PASSES,
        integers.INTEGERS,
    )


SYSTEM = System("t2t_vit", CARDS, _load, PREPARATIONS)
