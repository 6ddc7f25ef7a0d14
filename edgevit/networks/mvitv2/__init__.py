"""MViTv2 (CVPR 2022): image and video classifiers, and a feature pyramid."""

from edgevit.networks.mvitv2.cards import CARDS, PREPARATIONS
from edgevit.networks.system import Parts, System, by_keys


def _load() -> Parts:
    from edgevit.networks.mvitv2 import checkpoint, integers, network, passes

    return Parts(
        network.build,
        checkpoint,
        by_keys(checkpoint.adapt),
        passes.PASSES,
        integers.INTEGERS,
    )


SYSTEM = System("mvitv2", CARDS, _load, PREPARATIONS)
