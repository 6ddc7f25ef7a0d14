"""From a DeploySpec to a network with its weights in, where they came from, and the class names."""

import warnings
from typing import TYPE_CHECKING

from edgevit.bundle.manifest import Weights
from edgevit.bundle.names import cleaned
from edgevit.deployment.labels import labels_of
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.create import PartlyUntrained, load_network
from edgevit.networks.zoo import MODELS
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
from edgevit.weights import demo_weights

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network


def load(spec: DeploySpec, report: Report) -> "tuple[Network, Weights, tuple[str, ...]]":
    """The network with its weights in, where they came from, and the class names."""
    report(Step("start", f"load {spec.model}"))
    if spec.random_weights:
        return _with_random_weights(spec, report)
    demo = None
    path = spec.weights
    if path is None:
        demo = demo_weights(spec.model)
        if demo is None:
            raise UsageError(
                f"edgevit ships no demo weights for {spec.model}; give your own.",
                next=f"edgevit export {spec.model} --weights CHECKPOINT.pth (or --random-weights)",
            )
        path = demo.path
        report(
            Step(
                "note",
                "Using demo weights, trained on drawn scenes alone;"
                " give real ones with --weights CHECKPOINT.pth",
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartlyUntrained)  # refused below
        loaded = load_network(
            spec.model, path, spec.input_size, spec.num_classes, "task", **dict(spec.options)
        )
    network, checkpoint = loaded.network, loaded.checkpoint
    assert checkpoint is not None
    if network.untrained:
        parts = " and ".join(part.rstrip(".") for part in network.untrained)
        classifier = f"{spec.model.removesuffix('-features')}-cls"
        raise CheckpointError(
            f"{path.name} holds no weights for {parts}, which would stay random.",
            next=f"edgevit export {classifier} --weights {path}"
            if classifier in MODELS
            else "train the network first, and give the file that training wrote",
        )
    note = "demo weights trained on drawn scenes" if demo else f"read as {checkpoint.kind}"
    source = Weights(cleaned(path.name), checkpoint.sha256, note)
    own = demo is not None and spec.labels is None
    count = getattr(getattr(network, "config", None), "num_classes", 0)
    labels = demo.labels if demo and own else labels_of(spec, count, checkpoint.meta)
    report(Step("done", f"loaded {spec.model} from {path.name}"))
    return network, source, labels


def _with_random_weights(
    spec: DeploySpec, report: Report
) -> "tuple[Network, Weights, tuple[str, ...]]":
    from edgevit.networks.seeded import fill_seeded

    network = load_network(
        spec.model, None, spec.input_size, spec.num_classes, "task", **dict(spec.options)
    ).network
    digest = fill_seeded(network, spec.seed)
    note = f"random weights of seed {spec.seed}, never trained: for speed alone"
    report(Step("note", f"Using {note}"))
    count = getattr(getattr(network, "config", None), "num_classes", 0)
    report(Step("done", f"filled {spec.model} with random weights"))
    return network, Weights("random", digest, note), labels_of(spec, count, None)
