"""The fp32 network of a bundle, rebuilt from the weights that its manifest names."""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from edgevit.bundle.manifest import Manifest
from edgevit.errors import UsageError
from edgevit.networks.create import PartlyUntrained, load_network
from edgevit.weights import demo_weights

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

WHOLE = re.compile(r"-?[0-9]{1,18}")
SEEDED = re.compile(r"random weights of seed ([0-9]{1,10})\b")


def reference_network(
    manifest: Manifest, weights: Path | None = None
) -> "tuple[Network | None, str]":
    """The network as it was trained, in eval mode, and a message if it is not available.

    Its weights are `weights`, or the demo weights or random ones where the manifest names them; in
    each case their sha256 must be the manifest's. Raises `UsageError` where `weights` are others,
    and `CheckpointError` where they cannot be read.
    """
    if weights is not None:
        network = _loaded(manifest, weights)
        if network is None:
            raise UsageError(
                f"{weights.name} is not the checkpoint that this bundle was made from"
                f" ({manifest.weights.source}): its sha256 differs.",
                next="give the original file with --weights",
            )
        return network, ""
    if manifest.weights.source == "random":
        network = _seeded(manifest)
    else:
        demo = demo_weights(manifest.model)
        own = demo is not None and demo.path.name == manifest.weights.source
        network = _loaded(manifest, demo.path) if demo is not None and own else None
    if network is not None:
        return network, ""
    return None, (
        f"The weights {manifest.weights.source} are not here, so nothing was compared with the fp32"
        " network; give them with --weights."
    )


def _loaded(manifest: Manifest, path: Path) -> "Network | None":
    """The network with these weights, or None where their sha256 is not the manifest's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartlyUntrained)  # no such checkpoint was exported
        loaded = load_network(
            manifest.model, path, manifest.input_size, None, "task", **_options(manifest)
        )
    assert loaded.checkpoint is not None
    if loaded.checkpoint.sha256 != manifest.weights.sha256:
        return None
    return _with_output(loaded.network, manifest)


def _seeded(manifest: Manifest) -> "Network | None":
    """The network with random weights of the seed in the manifest's note."""
    from edgevit.networks.seeded import fill_seeded

    seed = SEEDED.match(manifest.weights.note)
    if seed is None:
        return None
    network = load_network(
        manifest.model,
        None,
        manifest.input_size,
        len(manifest.labels) or None,
        "task",
        **_options(manifest),
    ).network
    if fill_seeded(network, int(seed[1])) != manifest.weights.sha256:
        return None
    return _with_output(network, manifest)


def _options(manifest: Manifest) -> dict[str, object]:
    """The architecture's options; a manifest has their text."""
    return {k: int(v) if WHOLE.fullmatch(v) else v for k, v in manifest.options}


def _with_output(network: "Network", manifest: Manifest) -> "Network":
    if manifest.output == "mask":
        from edgevit.networks.parts.label_map import LabelMap

        return LabelMap(network).eval()
    return network
