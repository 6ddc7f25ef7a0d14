"""One exported file on an emulated ARM core: made, compared with the network, counted, estimated.

Every cell is made in a process of its own and kept below a folder until the code that decides it
changes. Nothing here is a time: instructions are counted exactly, milliseconds are estimated.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.prepared import alone, in_words
from benchmarks.rounds import source_state
from benchmarks.straight import Scale, export_straight, int8_ports
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.bundle.ports import from_file, to_file
from edgevit.deployment.export import deploy
from edgevit.deployment.golden import golden_picture
from edgevit.difference import agreement, difference, sqnr
from edgevit.networks.create import create_model
from edgevit.networks.parts.layers import Network
from edgevit.networks.seeded import fill_seeded
from edgevit.request.check import preprocessing_for
from edgevit.request.spec import DeploySpec, Evaluate, Quantize, Source
from edgevit.weights import demo_weights
from edgevit_export.artifact import TensorSpec, content_sha256, content_size
from edgevit_export.formats import FORMATS, why_absent
from edgevit_runtimes.cores import CORES
from edgevit_runtimes.counting import CountRow
from edgevit_runtimes.engines import chosen
from edgevit_runtimes.estimate.latency import estimate, kinds
from edgevit_runtimes.runners import emulated
from edgevit_runtimes.session import sha256_of

Who = Literal["straight", "edgevit"]
Array = NDArray[Any]
WHO: tuple[Who, ...] = ("straight", "edgevit")
HALF_AT_THE_BORDER = ("onnx", "executorch")  # of straight files: the network itself is halved
SEED = 0
CALIBRATED_ON = 32  # drawn scenes
SOURCES = (
    *("edgevit/networks", "edgevit/deployment", "edgevit/quantize", "edgevit/weights", "export"),
    *("runtimes/native/runner", "runtimes/edgevit_runtimes/estimate"),
    *("benchmarks/arm_cells.py", "benchmarks/straight.py"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One file: of a model, at a size, in a precision, for a runtime, by whom."""

    model: str
    size: tuple[int, ...]
    format: str
    precision: str
    who: Who
    output: Literal["logits", "mask"] = "logits"
    checkpoint: str | None = None  # below the work folder; None: demo weights, else random ones

    @property
    def key(self) -> str:
        """The cell's own name, which its folder has too."""
        size = "x".join(map(str, self.size))
        model = "-".join(filter(None, (self.model, self.checkpoint and Path(self.checkpoint).stem)))
        return f"{model}-{size}-{self.output}-{self.precision}-{self.format}-{self.who}"


class Mask(nn.Module):
    """The mask as an app has it in its graph: logits upsampled to the input's size, then argmax."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.size = network, network.input_shape[-2:]

    def forward(self, x: Tensor) -> Tensor:
        """[1, 3, H, W] -> int64 [1, H, W]."""
        logits = F.interpolate(self.network(x), size=self.size, mode="bilinear")
        return logits.argmax(1)


def trained(cell: Cell, work: Path) -> Network:
    """The cell's network before any rewrite, batch norms and all."""
    demo = demo_weights(cell.model)
    given = work / cell.checkpoint if cell.checkpoint else demo.path if demo else None
    network = create_model(cell.model, given, input_size=cell.size)
    if given is None:
        fill_seeded(network, SEED)
    return network


def multiply_adds(network: Network) -> int:
    """Of one run of the network as trained: convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(network.input_shape))
    return int(counter.get_total_flops()) // 2


def count_cell(cell: Cell, work: Path, core: str) -> dict[str, Any]:
    """What is known of a cell: kept in `work`, or made in a process of its own."""
    folder = work / cell.key
    folder.mkdir(parents=True, exist_ok=True)
    outcome = folder / f"{core}.json"
    given = (work / cell.checkpoint).read_bytes() if cell.checkpoint else b""
    state = source_state(SOURCES, cell, hash_of(given))
    found: dict[str, Any] = json.loads(outcome.read_text("utf-8")) if outcome.is_file() else {}
    if found.get("state") != state:
        outcome.unlink(missing_ok=True)
        ended = alone(make, cell, work, core, outcome, state)
        if not outcome.is_file():
            return {"reason": f"the process {ended}"}
        found = json.loads(outcome.read_text("utf-8"))
    return found


def hash_of(content: bytes) -> str:
    """sha256 of bytes."""
    return sha256_of([np.frombuffer(content, np.uint8)])


def make(cell: Cell, work: Path, core: str, outcome: Path, state: str) -> None:
    """Write one file, run and count it, and write its `outcome`."""
    torch.set_num_threads(1)
    said: dict[str, Any] = {"state": state, "reason": None}
    entry = FORMATS[cell.format]
    try:
        if cell.who == "edgevit" and cell.precision not in entry.precisions:
            said["reason"] = why_absent(entry, cell.precision)
        else:
            said |= _made(cell, work, core, outcome.parent)
    except Exception as error:  # exporters and runtimes fail with errors of every kind
        said["reason"] = in_words(error)
    for left in outcome.parent.iterdir():  # gigabytes, for a whole table
        if left.is_dir():
            shutil.rmtree(left)
        elif left.suffix != ".json":
            left.unlink()
    outcome.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


def _made(cell: Cell, work: Path, core: str, folder: Path) -> dict[str, Any]:
    network = trained(cell, work)
    macs = multiply_adds(network)  # before an exporter changes it
    spec = spec_of(cell, work, folder / "bundle")
    picture = golden_picture(spec.card.task, preprocessing_for(spec, network.preparation))[1]
    reference: nn.Module = Mask(network) if cell.output == "mask" else network
    with torch.no_grad():
        out = reference(torch.from_numpy(picture))
    wanted = [tensor.numpy() for tensor in (out if isinstance(out, tuple) else (out,))]
    scales: list[Scale] | None = None
    if cell.who == "edgevit":
        bundle = deploy(spec)
        (file,) = bundle.manifest.files
        path, taken, given = bundle.checked(file), to_file(picture, file.inputs[0]), file.outputs
    else:
        path, taken = folder / f"straight{FORMATS[cell.format].suffix}", picture
        export_straight(cell.format, reference, torch.from_numpy(picture), path, cell.precision)
        given = tuple(TensorSpec("", (), "float32") for _ in wanted)
        if cell.precision == "fp16" and cell.format in HALF_AT_THE_BORDER:
            taken = picture.astype(np.float16)
        if cell.precision == "w8a8" and cell.format == "litert":
            scales = int8_ports(path)
            taken = scales[0].quantized(picture)
    engine = chosen(path, None)
    run = emulated.count(path, engine, core, [taken], caches=True)
    outputs = run.outputs
    if scales is not None:
        outputs = tuple(s.real(a) for s, a in zip(scales[1:], outputs, strict=True))
    got = [from_file(array, spec) for array, spec in zip(outputs, given, strict=True)]
    row = CountRow(
        file=cell.key,
        sha256=content_sha256(path),
        engine=engine.name,
        versions=emulated.versions(engine),
        instructions=(run.counts.instructions,),
        kinds=kinds(run.counts),
        estimate=estimate(run.counts, CORES[core], run.names),
        input_sha256=sha256_of([taken]),
    )
    near = nearness(cell, got, wanted)
    if cell.precision == "fp32" and near.get("difference", 0.0) > FP32_DIFFERENCE:
        raise ValueError(f"the file computes something else on ARM: {near['difference']:.1e}")
    return {
        "size": content_size(path),
        "nearness": near,
        "multiply_adds": macs,
        "row": row.to_json(),
    }


def spec_of(cell: Cell, work: Path, place: Path) -> DeploySpec:
    """What a user would ask for."""
    given = work / cell.checkpoint if cell.checkpoint else None
    return DeploySpec(
        cell.model,
        place,
        only_formats=(cell.format,),
        precision=cell.precision,
        source=Source(given, random=given is None and demo_weights(cell.model) is None),
        input_size=cell.size,
        output=cell.output,
        quantize=Quantize(samples=CALIBRATED_ON),
        # Costs are shown here; docs/quantization.md has the accuracies.
        evaluate=Evaluate(samples=8, accept_accuracy=True, compare_speed=False),
        force=True,
    )


def nearness(cell: Cell, got: Sequence[Array], wanted: Sequence[Array]) -> dict[str, float]:
    """How near the outputs on ARM are to those of the fp32 network in torch; the worst of them."""
    pairs = list(zip(got, wanted, strict=True))
    if cell.output == "mask":
        return {"equal": min(agreement(a.astype(np.int32), b.astype(np.int32)) for a, b in pairs)}
    near = {"difference": max(difference(a.astype(np.float32), b) for a, b in pairs)}
    if cell.precision != "fp32":
        near["sqnr"] = min(sqnr(a.astype(np.float32), b) for a, b in pairs)
    (first, want), *_ = pairs
    if first.ndim == 4:  # maps of classes
        near["equal"] = float(np.mean(first.argmax(1) == want.argmax(1)))
    return near


def count_cells(
    cells: Iterable[Cell], work: Path, core: str, jobs: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Each cell and what is known of it, as they finish, `jobs` at a time; prints a line each."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(count_cell, cell, work, core): cell for cell in cells}
        for number, done in enumerate(as_completed(waiting), 1):
            cell, found = waiting[done], done.result()
            print(f"{number} of {len(waiting)}: {cell.key}: {short(found)}", flush=True)
            yield cell, found


def short(found: Mapping[str, Any]) -> str:
    """A cell in a few words."""
    if found["reason"] is not None:
        return str(found["reason"])
    row = found["row"]
    return f"{row['instructions'][0] / 1e6:.1f} M, {row['estimate']['compute_ms']:.1f} ms"


def slim(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is committed of a cell: all but the hottest blocks."""
    kept = {name: value for name, value in found.items() if name != "state"}
    if kept.get("row"):
        priced = {k: v for k, v in kept["row"]["estimate"].items() if k != "hottest"}
        kept["row"] = {**kept["row"], "estimate": priced}
    return kept


def described(cell: Cell) -> dict[str, Any]:
    """The cell as JSON."""
    return asdict(cell)
