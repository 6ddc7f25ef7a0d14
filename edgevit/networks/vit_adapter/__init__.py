"""ViT-Adapter (ICLR 2023): feature maps of a plain ViT for segmentation and detection."""

from edgevit.networks.system import Parts, System, by_keys
from edgevit.networks.vit_adapter.cards import CARDS, PREPARATIONS


def _load() -> Parts:
    from edgevit.networks.vit_adapter import checkpoint, integers, network, passes

    return Parts(
        network.build,
        checkpoint,
        by_keys(checkpoint.adapt),
        passes.PASSES,
        integers.INTEGERS,
    )


SYSTEM = System("vit_adapter", CARDS, _load, PREPARATIONS)
