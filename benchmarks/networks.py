"""ROWS: the networks that models_latency.py measures; what builds each, and its peer's form."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import torch
from torch import nn

from benchmarks.rounds import KEPT
from edgevit.networks.create import create_model
from edgevit.networks.mvitv2.checkpoint_names import official_names
from edgevit.networks.parts.layers import Network
from edgevit.networks.seeded import fill_seeded

SEED = 0
FASTER = 1.4  # what ViT on ExecuTorch is to reach, beside timm's straight export
PLAIN = "our plain network"


@dataclass(frozen=True, slots=True)
class Row:
    """One network at one size; `timm`: what timm's create_model takes for the same network."""

    model: str
    size: tuple[int, ...]
    timm: str | None = None
    timm_options: Mapping[str, object] = field(default_factory=dict)
    on_executorch: float = KEPT  # speed asked there

    @property
    def picture(self) -> str:
        """The input size in words."""
        return "x".join(map(str, self.size))

    @property
    def key(self) -> str:
        """The row's own name, which a folder has too."""
        return f"{self.model}-{self.picture}"

    def at_least(self, name: str) -> float:
        """The speed asked of edgevit's file in a format."""
        return self.on_executorch if name == "executorch" else KEPT


ROWS = (
    Row("vit-tiny-16", (224, 224), "vit_tiny_patch16_224", on_executorch=FASTER),
    Row("vit-small-16", (224, 224), "vit_small_patch16_224", on_executorch=FASTER),
    Row("vit-base-16", (224, 224), "vit_base_patch16_224", on_executorch=FASTER),
    Row("vitpose-s", (256, 192)),
    Row("vitpose-b", (256, 192)),
    Row("t2t-vit-7", (224, 224)),
    Row("t2t-vit-14", (224, 224)),
    Row("t2t-vit-t-14", (224, 224)),
    Row("mvitv2-t", (224, 224), "mvitv2_tiny"),
    Row("mvitv2-s-video", (8, 64, 64)),
    Row("mvitv2-s-video", (16, 112, 112)),
    Row("mvitv2-t-fpn", (256, 320)),
    Row("vit-adapter-t", (256, 256)),
    Row("vit-adapter-t-upernet", (256, 320)),
)

# Of seconds each, to try this script with; not measured unless they are asked for.
SMALL = (
    Row(
        "vit-micro",
        (112, 112),
        "vit_tiny_patch16_224",
        {"img_size": 112, "embed_dim": 96, "depth": 6, "num_heads": 3, "num_classes": 9},
    ),
    Row("vitpose-micro", (128, 96)),
    Row("t2t-vit-micro", (112, 112)),
    Row("mvitv2-micro", (128, 128)),
    Row("mvitv2-micro-video", (8, 96, 96)),
    Row("vit-adapter-micro-upernet", (128, 128)),
)


def network_of(row: Row) -> Network:
    """The row's network as trained, before any pass, with the same seeded weights every time."""
    torch.manual_seed(SEED)  # what is never trained is drawn when the network is built
    network = create_model(row.model, input_size=row.size)
    fill_seeded(network, SEED)
    return network


def timm_version(peers: Path | None) -> str | None:
    """The version of timm in this folder or this environment; None where it is in neither."""
    path = [*([str(peers)] if peers else []), *sys.path]
    return next((found.version for found in distributions(name="timm", path=path)), None)


def peer_of(row: Row, peers: Path | None) -> str:
    """Whose network is exported straight."""
    found = timm_version(peers) if row.timm else None
    return f"timm {found}" if found else PLAIN


def peer_network(row: Row, network: Network, peers: Path | None) -> nn.Module:
    """timm's own network with the weights of ours where it has one and is at hand, else ours."""
    if row.timm is None or timm_version(peers) is None:
        return network
    _prepare_timm(peers)
    import timm

    peer: nn.Module = timm.create_model(row.timm, **row.timm_options).eval()
    ours = network.state_dict()
    # ViT's keys are the same in both; MViTv2's stages are one row of blocks here.
    names = official_names(peer.state_dict())
    peer.load_state_dict({theirs: ours[name] for theirs, name in names.items()}, strict=True)
    return peer


@cache
def _prepare_timm(peers: Path | None) -> torch.library.Library:
    """Let `import timm` succeed; whoever calls keeps what is returned, by the cache.

    timm imports torchvision, whose wheel is built against CUDA: its operators do not load beside a
    CPU torch, and it refuses to be imported unless these two are defined.
    """
    if peers:
        sys.path.append(str(peers))  # behind the environment's own packages
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
