"""TopFormer (CVPR 2022): segmentation, classification and features from a token pyramid."""

from edgevit.networks.system import Parts, System, by_keys
from edgevit.networks.topformer.cards import CARDS, PREPARATIONS


def _load() -> Parts:
    from edgevit.networks.topformer import checkpoint, integers, network, passes

    return Parts(
        network.build,
        checkpoint,
        by_keys(checkpoint.adapt),
        passes.PASSES,
        integers.INTEGERS,
    )


SYSTEM = System("topformer", CARDS, _load, PREPARATIONS)
