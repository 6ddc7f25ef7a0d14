"""Single-thread latency of edgevit's TopFormer files beside the official network exported straight.

    python benchmarks/topformer_latency.py --json result.json --markdown docs/benchmarks.md
    python benchmarks/topformer_latency.py --recorded result.json --markdown docs/benchmarks.md

Both files of a comparison run in turns in one process, so that what slows the machine slows both.
"""

import argparse
import json
import runpy
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.page import (
    aligned_table,
    architecture,
    machine_table,
    markdown_table,
    versions_table,
    warn_if_busy,
    write_part,
)
from benchmarks.rounds import (
    BLOCKS,
    KEPT,
    MEASURED,
    ROOT,
    Samples,
    blocks,
    changed,
    commit,
    extend,
    source_state,
    speed_cells,
    time_files,
    tool_versions,
)
from benchmarks.straight import export_straight
from edgevit.bundle.inspect import inspect_file
from edgevit.bundle.opened import Bundle, open_bundle
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.bundle.ports import from_file, to_file
from edgevit.deployment.export import deploy
from edgevit.difference import agreement, difference
from edgevit.networks.create import create_model
from edgevit.networks.parts.layers import Network
from edgevit.networks.topformer.network import Attention
from edgevit.request.spec import DeploySpec, Source
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.weights import demo_weights
from edgevit_export.artifact import content_sha256, content_size
from edgevit_export.formats import FORMATS
from edgevit_runtimes.device import machine_facts
from edgevit_runtimes.engines import engine_of, open_session, versions
from edgevit_runtimes.timing import percentile_ms, ratio_interval

SOURCES = (
    "edgevit", "export", "benchmarks/topformer_latency.py", "benchmarks/straight.py",
    "tests/parity",
)  # fmt: skip
MODEL, CASE = "topformer-t", "topformer_t_ade20k_448x448"
WEIGHTS = {
    "seeded": "the 150-class ADE20K network with seeded weights (tests/parity), as its checkpoint",
    "demo": "edgevit's demo weights, 10 classes, trained on drawn scenes",
}
WARMUP = 10
MASK_SHARE = 4  # one mask round for so many logits rounds: they take longer and differ by far more
SCHEMA, KIND = 1, "edgevit-topformer-latency"


class OfficialAttention(nn.Module):
    """Attention with the products in the official order: softmax(q^T k) v^T, transposed back."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.to_q, self.to_k, self.to_v = attention.to_q, attention.to_k, attention.to_v
        self.proj = attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        batch, _, height, width = x.shape
        shape = (batch, self.heads, -1, height * width)
        q = self.to_q(x).reshape(shape).permute(0, 1, 3, 2)
        k = self.to_k(x).reshape(shape)
        v = self.to_v(x).reshape(shape).permute(0, 1, 3, 2)
        mixed = torch.matmul(torch.matmul(q, k).softmax(dim=-1), v)
        out: Tensor = self.proj(mixed.permute(0, 1, 3, 2).reshape(batch, -1, height, width))
        return out


def official_network(weights: Path, size: tuple[int, int]) -> Network:
    """The network as trained, batch norms and all; its parity with the official code is tested."""
    network = create_model(MODEL, weights=weights, input_size=size)
    for name, module in list(network.named_modules()):
        if isinstance(module, Attention):
            network.set_submodule(name, OfficialAttention(module))
    return network.eval()


@dataclass(frozen=True, slots=True)
class Files:
    """What is compared in one format: the straight file, and two bundles of one file each."""

    straight: Path
    logits: Bundle
    mask: Bundle


def prepare(weights: str, name: str, size: tuple[int, int], work: Path) -> Files:
    """Export what is not yet in `work`, or was exported by other code."""
    folder = work / f"{weights}-{size[0]}x{size[1]}" / name
    stamp, state = folder / "made-by", source_state(SOURCES)
    straight = folder / f"straight{FORMATS[name].suffix}"
    bundles = {output: folder / output for output in ("logits", "mask")}
    if not stamp.is_file() or stamp.read_text() != state:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        checkpoint = _checkpoint(weights, folder)
        print(f"exporting {weights} {name} {size[0]}x{size[1]}", file=sys.stderr)
        network = official_network(checkpoint, size)
        export_straight(name, network, torch.zeros(network.input_shape), straight)
        given = checkpoint if weights == "seeded" else None
        for output, place in bundles.items():
            deploy(
                DeploySpec(
                    MODEL,
                    place,
                    only_formats=(name,),
                    source=Source(checkpoint=given),
                    input_size=size,
                    output="mask" if output == "mask" else "logits",
                )
            )
        stamp.write_text(state)
    return Files(straight, open_bundle(bundles["logits"]), open_bundle(bundles["mask"]))


def _checkpoint(weights: str, folder: Path) -> Path:
    if weights == "demo":
        demo = demo_weights(MODEL)
        assert demo is not None
        return demo.path
    seeded = runpy.run_path(str(ROOT / "tests" / "parity" / "seeded_weights.py"))
    path = folder / "seeded.pth"
    seeded["write_checkpoint"](seeded["load_case"](CASE), path)
    return path


def compare(weights: str, name: str, files: Files, rounds: int) -> dict[str, Any]:
    """Check that both files compute the same, then time them in turns; one row of the result."""
    bundle = files.logits
    entry = bundle.entry(name)
    picture = np.asarray(bundle.golden("input"))
    want = np.asarray(bundle.golden(entry.outputs[0].name))
    ours = bundle.checked(entry)
    fed = to_file(picture, entry.inputs[0])
    pair = {"straight": (files.straight, picture), "edgevit": (ours, fed)}
    found: dict[str, dict[str, Any]] = {}
    for who, (path, array) in pair.items():
        with open_session(path, threads=1) as session:
            got = session.run(array)[0]
        if who == "edgevit":
            got = from_file(got, entry.outputs[0])
        found[who] = {
            "size": content_size(path),
            "sha256": content_sha256(path),
            "difference": difference(got, want),
            "delegated_subgraphs": inspect_file(path).delegated_subgraphs,
        }
        if not found[who]["difference"] <= FP32_DIFFERENCE:
            raise SystemExit(f"{who} {path.name} does not compute what the network computes.")
    return {
        "weights": weights,
        "classes": int(want.shape[1]),
        "format": name,
        "engine": versions(engine_of(ours)),
        "files": found,
        "samples_s": time_files(pair, rounds, WARMUP),
        "mask": mask_stage(name, files, max(1, rounds // MASK_SHARE)),
    }


def mask_stage(name: str, files: Files, rounds: int) -> dict[str, Any]:
    """The logits file, the same with the mask in its graph, and `exact_mask`, in turns."""
    entry, whole = files.logits.entry(name), files.mask.entry(name)
    size = files.logits.manifest.input_size[-2], files.logits.manifest.input_size[-1]
    fed = to_file(np.asarray(files.logits.golden("input")), entry.inputs[0])
    paths = files.logits.checked(entry), files.mask.checked(whole)
    samples: Samples = {"logits": [], "in_graph": [], "exact_mask": []}
    same = mixed = 0.0
    for block in blocks(rounds):
        with open_session(paths[0], threads=1) as logits, open_session(paths[1], threads=1) as mask:
            output = logits.run(fed)[0]

            def exact(output: Any = output) -> Any:
                return exact_mask(from_file(output, entry.outputs[0])[0], size)

            mixed = mixed_cells(from_file(output, entry.outputs[0])[0])
            same = agreement(exact()[None].astype(np.int32), mask.run(fed)[0])
            runs = {"logits": lambda: logits.run(fed), "in_graph": lambda: mask.run(fed)}
            extend(samples, {**runs, "exact_mask": exact}, block, WARMUP)
    return {"samples_s": samples, "agreement": same, "mixed_cells": mixed}


def mixed_cells(logits: Any) -> float:
    """Share of the cells between four neighboring logits [C, h, w] whose best classes differ."""
    best = logits.argmax(0)
    corners = np.stack([best[:-1, :-1], best[:-1, 1:], best[1:, :-1], best[1:, 1:]])
    return float((corners != corners[0]).any(0).mean())


def measure_all(
    weights: Sequence[str], formats: Sequence[str], size: tuple[int, int], rounds: int, work: Path
) -> dict[str, Any]:
    """The whole result, JSON values only."""
    machine = machine_facts()  # before the load that exporting makes
    torch.set_num_threads(1)
    made = [(kind, name, prepare(kind, name, size, work)) for kind in weights for name in formats]
    rows = []
    for kind, name, files in made:
        print(f"measuring {kind} {name}", file=sys.stderr)
        rows.append(compare(kind, name, files, rounds))
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "model": MODEL,
        "size": list(size),
        "threads": 1,
        "rounds": rounds,
        "commit": commit(),
        "changed_since": changed(),
        "machine": machine,
        "versions": tool_versions(),
        "rows": rows,
    }


def logits_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Weights, runtime, both medians, the speed with its interval, what that says, subgraphs."""
    rows = []
    for row in result["rows"]:
        graphs = [row["files"][who]["delegated_subgraphs"] for who in ("straight", "edgevit")]
        rows.append(
            [
                f"{row['weights']}, {row['classes']} classes",
                row["format"],
                *speed_cells(row["samples_s"], KEPT),
                "-" if None in graphs else f"{graphs[0]} to {graphs[1]}",
            ]
        )
    return rows


def mask_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Weights, runtime, the stage in the graph and outside it, and logits plus stage compared."""
    rows = []
    for row in result["rows"]:
        samples = row["mask"]["samples_s"]
        outside = np.add(samples["logits"], samples["exact_mask"]).tolist()
        middle, low, high = ratio_interval(samples["in_graph"], outside)
        ms = {name: percentile_ms(values, 50) for name, values in samples.items()}
        rows.append(
            [
                f"{row['weights']}, {row['classes']} classes",
                row["format"],
                f"{ms['logits']:.2f}",
                f"{ms['in_graph'] - ms['logits']:.2f}",
                f"{ms['exact_mask']:.2f}",
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
                f"{row['mask']['mixed_cells']:.1%}",
                f"{row['mask']['agreement']:.3%}",
            ]
        )
    return rows


LOGITS_COLUMNS = (
    "weights", "format", "straight, ms", "edgevit, ms", "speed (95 %)", f"at least {KEPT}",
    "delegated subgraphs",
)  # fmt: skip
MASK_COLUMNS = (
    "weights", "format", "logits, ms", "mask in the graph, + ms", "exact_mask, + ms",
    "logits and mask: speed (95 %)", "mixed cells", "equal pixels",
)  # fmt: skip
PART = "topformer_latency"
PAGE = Path(__file__).with_name(f"{PART}_page.md")


def page(result: Mapping[str, Any]) -> str:
    """This part of docs/benchmarks.md; raises `SystemExit` on JSON of another kind."""
    if result.get("kind") != KIND or result.get("schema") != SCHEMA:
        raise SystemExit(f"This is no result of schema {SCHEMA} of this script.")
    machine = result["machine"]
    kinds = dict.fromkeys(row["weights"] for row in result["rows"])
    return PAGE.read_text("utf-8").format(
        arch=architecture(machine),
        machine=machine_table(
            machine, f"{result['commit']}{' and changes' if result['changed_since'] else ''}"
        ),
        size="x".join(map(str, result["size"])),
        rounds=result["rounds"],
        blocks=min(BLOCKS, result["rounds"]),
        bound=FP32_DIFFERENCE,
        kept=KEPT,
        weights="\n".join(f"- *{kind}*: {WEIGHTS[kind]}" for kind in kinds),
        logits=markdown_table(LOGITS_COLUMNS, logits_rows(result)),
        mask=markdown_table(MASK_COLUMNS, mask_rows(result)),
        versions=versions_table(result["versions"]),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure or read a result; print its tables, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS))
    parser.add_argument("--formats", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), default=(448, 448))
    parser.add_argument("--rounds", type=int, default=300, help="of the logits; a quarter for mask")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "topformer_latency",
                        help="exported files are kept here until the code changes")  # fmt: skip
    parser.add_argument("--recorded", type=Path, help="show this JSON and measure nothing")
    parser.add_argument("--json", type=Path, help="write all samples and machine facts here")
    parser.add_argument("--markdown", type=Path, help="write this part of the page here")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1:
        parser.error("--rounds is at least 1")
    if asked.recorded:
        result = json.loads(asked.recorded.read_text("utf-8"))
    else:
        size = (asked.size[0], asked.size[1])
        result = measure_all(asked.weights, asked.formats, size, asked.rounds, asked.work)
    text = page(result)
    if asked.json:
        asked.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if asked.markdown:
        write_part(asked.markdown, PART, text)
    print(aligned_table(LOGITS_COLUMNS, logits_rows(result)), end="\n\n")
    print(aligned_table(MASK_COLUMNS, mask_rows(result)))
    warn_if_busy(result["machine"])


if __name__ == "__main__":
    main()
