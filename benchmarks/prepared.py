"""The files that models_latency.py compares: exported and checked in processes of their own, kept
until the code that makes them changes.
"""

import json
import multiprocessing
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.networks import SEED, Row, network_of, peer_network, peer_of
from benchmarks.rounds import ROOT, source_state
from benchmarks.straight import export_straight
from edgevit.bundle.inspect import inspect_file
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.bundle.ports import from_file, to_file
from edgevit.deployment.reparameterize import reparameterize
from edgevit.difference import difference
from edgevit.networks.parts.layers import Network
from edgevit_export.artifact import TensorSpec, content_sha256, content_size
from edgevit_export.formats import FORMATS
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import FP32
from edgevit_runtimes.engines import open_session

Who = Literal["straight", "edgevit"]
Array = NDArray[np.float32]
Specs = tuple[TensorSpec, ...]

# What is known of a network before it is built (cards.py) decides no file.
_NETWORKS = (
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted(ROOT.glob("edgevit/networks/*/network.py"))
    ),
    "edgevit/networks/parts",
    "edgevit/networks/create.py",
    "benchmarks/networks.py",
)
SOURCES: dict[Who, tuple[str, ...]] = {
    "straight": (*_NETWORKS, "benchmarks/straight.py"),
    "edgevit": (*_NETWORKS, "edgevit/networks", "export"),
}
# What exporters say, and what that means.
REASONS = (
    (
        r"(?s)'list' object has no attribute 'dtype'.*aten\.split_with_sizes",
        "the exporter does not take a split into one part, which deformable attention over one"
        " map has",
    ),
)
OPERATOR = re.compile(r"While executing .*target=torch\.ops\.(aten\.\w+)")
MOST_WORDS = 200  # characters of an exporter's own words


@dataclass(frozen=True, slots=True)
class Prepared:
    """One file and what is known of it; where it cannot be had, the reason."""

    path: Path
    reason: str | None
    export_s: float
    facts: dict[str, Any]  # size, sha256, difference, delegated_subgraphs
    input: TensorSpec | None = None


def prepare(row: Row, name: str, who: Who, peers: Path | None, work: Path) -> Prepared:
    """Export a file and check it in a process of its own, unless `work` has what this code made."""
    folder = work / row.key / name
    folder.mkdir(parents=True, exist_ok=True)
    outcome = folder / f"{who}.json"
    peer = peer_of(row, peers) if who == "straight" else None
    state = source_state(SOURCES[who], row, peer)
    found = json.loads(outcome.read_text("utf-8")) if outcome.is_file() else {}
    if found.get("state") != state:
        outcome.unlink(missing_ok=True)
        ended = alone(make, row, name, who, peers, outcome, state)
        if not outcome.is_file():
            found = {"state": state, "reason": f"the exporting process {ended}", "export_s": 0.0}
            outcome.write_text(json.dumps(found), "utf-8")
        found = json.loads(outcome.read_text("utf-8"))
    taken = found.get("input")
    return Prepared(
        path=outcome.with_suffix(FORMATS[name].suffix),
        reason=found["reason"],
        export_s=found["export_s"],
        facts=found.get("facts", {}),
        input=TensorSpec(**{**taken, "shape": tuple(taken["shape"])}) if taken else None,
    )


def alone(job: Callable[..., None], *arguments: object) -> str:
    """Run a job in a fresh process, whose memory is free afterwards; says how it ended.

    A crash of an exporter or a runtime ends that process alone.
    """
    process = multiprocessing.get_context("spawn").Process(target=job, args=arguments)
    process.start()
    process.join()
    code = process.exitcode
    if code is not None and code < 0:
        short = " (out of memory, most likely)" if code == -9 else ""
        return f"was ended by signal {-code}{short}"
    return f"ended with code {code}"


def make(row: Row, name: str, who: Who, peers: Path | None, outcome: Path, state: str) -> None:
    """Write one file and its `outcome`, which says what it is or why there is none."""
    torch.set_num_threads(1)
    network = network_of(row)
    path = outcome.with_suffix(FORMATS[name].suffix)
    start = time.monotonic()
    said: dict[str, Any] = {"state": state, "reason": None}
    try:
        if who == "edgevit":
            inputs, outputs = export_ours(network, name, path)
        else:
            example = torch.zeros(network.input_shape)
            export_straight(name, peer_network(row, network, peers), example, path)
            inputs, outputs = as_in_torch(network)
        said["export_s"] = time.monotonic() - start
        facts = check(path, network, inputs[0], outputs)
        said |= {"facts": facts, "input": asdict(inputs[0])}
        if not facts["difference"] <= FP32_DIFFERENCE:
            said["reason"] = (
                f"the file computes something else: difference {facts['difference']:.1e},"
                f" at most {FP32_DIFFERENCE:g} is allowed"
            )
    except Exception as error:  # exporters and runtimes fail with errors of every kind
        said |= {"reason": in_words(error), "export_s": time.monotonic() - start}
    outcome.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


def export_ours(network: Network, name: str, path: Path) -> tuple[Specs, Specs]:
    """edgevit's file: every pass for the format, then its backend."""
    ready = reparameterize(network, "host", name, SEED)
    names = Names(("image",), network.output_names)
    artifact = lower(ready, (torch.zeros(network.input_shape),), name, FP32, path, names)
    return artifact.inputs, artifact.outputs


def as_in_torch(network: Network) -> tuple[Specs, Specs]:
    """The borders of a straight file: shapes and layouts are the network's own."""
    given = (TensorSpec(name, (), "float32") for name in network.output_names)
    return (TensorSpec("image", network.input_shape, "float32"),), tuple(given)


def picture_of(shape: tuple[int, ...]) -> Array:
    """The input of every run, seeded noise: no network here takes longer for one than another."""
    return np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)


def check(path: Path, network: Network, taken: TensorSpec, outputs: Specs) -> dict[str, Any]:
    """The file's facts; its difference from the network in torch is the worst of all outputs."""
    picture = picture_of(network.input_shape)
    with torch.no_grad():
        out = network(torch.from_numpy(picture))
    wanted = out if isinstance(out, tuple) else (out,)
    with open_session(path, threads=1) as session:
        held = session.run(to_file(picture, taken))
    worst = max(
        difference(from_file(got, spec), want.numpy())
        for got, spec, want in zip(held, outputs, wanted, strict=True)
    )
    return {
        "size": content_size(path),
        "sha256": content_sha256(path),
        "difference": worst,
        "delegated_subgraphs": inspect_file(path).delegated_subgraphs,
    }


def in_words(error: Exception) -> str:
    """Why there is no file, in one sentence."""
    text = str(error)
    for pattern, words in REASONS:
        if re.search(pattern, text):
            return words
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    short = first.rstrip(".") if len(first) <= MOST_WORDS else f"{first[:MOST_WORDS]} [cut]"
    at = OPERATOR.search(text)
    return f"{type(error).__name__}{f' at {at[1]}' if at else ''}: {short.replace('|', '/')}"
