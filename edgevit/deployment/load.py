"""From a request to a network with its weights in, where they came from, and the class names."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgevit.bundle.manifest import Weights
from edgevit.bundle.names import cleaned
from edgevit.deployment.labels import labels_of
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.create import Loaded, PartlyUntrained, load_network
from edgevit.networks.zoo import MODELS
from edgevit.request.check import check_mask
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
from edgevit.weights import demo_weights

if TYPE_CHECKING:
    from pathlib import Path

    from edgevit.networks.parts.layers import Network


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network with its weights in, where they came from, and what its classes are called."""

    network: "Network"
    weights: Weights
    labels: tuple[str, ...]


def load(spec: DeploySpec, report: Report) -> Trained:
    """Load the requested weights, or the demo weights of the model.

    Raises `UsageError` where there are none or a mask would have one class, `CheckpointError` where
    they do not fit or leave a part of the network untrained.
    """
    report(Step("start", f"load {spec.model}"))
    if spec.source.random:
        return _with_random_weights(spec, report)
    demo = None
    path = spec.source.checkpoint
    if path is None:
        demo = demo_weights(spec.model)
        if demo is None:
            raise UsageError(
                f"There are no demo weights for {spec.model}; give your own.",
                next=f"edgevit export {spec.model} --weights CHECKPOINT.pth (or --random-weights)",
            )
        path = demo.path
        report(
            Step(
                "note",
                "Using demo weights, trained only on drawn scenes;"
                " give real ones with --weights CHECKPOINT.pth",
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartlyUntrained)  # refused below
        loaded = _load_network(spec, path)
    network, checkpoint = loaded.network, loaded.checkpoint
    assert checkpoint is not None
    if network.untrained:
        parts = " and ".join(part.rstrip(".") for part in network.untrained)
        classifier = f"{spec.model.removesuffix('-features')}-cls"
        raise CheckpointError(
            f"{path.name} has no weights for {parts}, which would stay random.",
            next=f"edgevit export {classifier} --weights {path}"
            if classifier in MODELS
            else "train the network first, and give the file that training wrote",
        )
    note = "demo weights trained on drawn scenes" if demo else f"read as {checkpoint.kind}"
    check_mask(spec, _classes(network))
    own = demo is not None and spec.source.labels is None
    labels = demo.labels if demo and own else labels_of(spec, _classes(network), checkpoint.meta)
    report(Step("done", f"loaded {spec.model} from {path.name}"))
    return Trained(network, Weights(cleaned(path.name), checkpoint.sha256, note), labels)


def _with_random_weights(spec: DeploySpec, report: Report) -> Trained:
    from edgevit.networks.seeded import fill_seeded

    network = _load_network(spec, None).network
    digest = fill_seeded(network, spec.seed)
    note = f"random weights of seed {spec.seed}, never trained: for speed alone"
    report(Step("note", f"Using {note}"))
    report(Step("done", f"filled {spec.model} with random weights"))
    labels = labels_of(spec, _classes(network), None)
    return Trained(network, Weights("random", digest, note), labels)


def _load_network(spec: DeploySpec, path: "Path | None") -> Loaded:
    source = spec.source
    return load_network(
        spec.model, path, spec.input_size, source.num_classes, "task", **dict(source.options)
    )


def _classes(network: "Network") -> int:
    return getattr(getattr(network, "config", None), "num_classes", 0)
