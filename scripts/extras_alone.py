"""Try each extra alone: install edgevit with it into a fresh environment, then do what it promises.

python scripts/extras_alone.py              every extra, one after the other; prints a table
python scripts/extras_alone.py onnx video   these alone
python scripts/extras_alone.py --json       the same as JSON

Packages come at the versions of requirements.lock. Each environment takes up to 3 GB in a temporary
folder and is removed before the next is made. Exit code 1 where something did not hold.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgevit_export.formats import FORMATS

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
EXTRAS = ("torch", *FORMATS, "video")
MODEL = "vit-micro"
# The precisions that different packages write, or different parts of them.
PRECISIONS = ("fp32", "w8a8", "w8dyn", "w4", "p4")
# How fast or accurate a file is has nothing to do with what is installed.
BRIEF = (
    "--calibration-samples",
    "4",
    "--eval-samples",
    "8",
    "--accept-accuracy",
    "--no-compare-speed",
)
MISSING = 3  # exit code of `edgevit` where a package is not installed

# What the torch extra is for: networks, their rewrites, checkpoints.
NETWORK = """
import edgevit
import torch
from safetensors.torch import save_file
model = edgevit.create_model("vit-micro")
again = edgevit.reparameterize(model, "host", "onnx")
x = torch.zeros(1, 3, *edgevit.model_card("vit-micro").input_size)
assert torch.allclose(model(x), again(x), atol=1e-4)
save_file(dict(model.state_dict()), "weights.safetensors")
edgevit.create_model("vit-micro", weights="weights.safetensors")
"""

# What the video extra is for: the frames of a clip.
CLIP = """
from pathlib import Path
import av
import numpy as np
from edgevit.tasks.video import open_clip
with av.open("clip.mp4", "w") as container:
    stream = container.add_stream("mpeg4", rate=15)
    stream.width = stream.height = 64
    for number in range(8):
        picture = np.full((64, 64, 3), 30 * number, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))
assert len(open_clip(Path("clip.mp4"), 4, 2).pictures) == 4
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """One command in the environment of one extra."""

    extra: str
    trial: str
    held: bool
    seconds: float
    detail: str  # the end of what it printed, where it did not hold


@dataclass(frozen=True, slots=True)
class Environment:
    """A fresh environment of one extra, in a folder that also takes what is written."""

    extra: str
    folder: Path

    def run(self, trial: str, command: Sequence[str], code: int = 0, says: str = "") -> Trial:
        """Run a command; it holds where it exits with `code` and prints `says`."""
        started = time.monotonic()
        # Nothing of this checkout, so that only what was installed is found.
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, "PIP_CONSTRAINT": str(LOCK), "OMP_WAIT_POLICY": "PASSIVE"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        held = done.returncode == code and says in done.stdout
        ending = " / ".join(done.stdout.strip().splitlines()[-3:])
        detail = "" if held else f"exit {done.returncode}: {ending}"
        return Trial(self.extra, trial, held, round(time.monotonic() - started, 1), detail)

    def python(self, trial: str, *arguments: str) -> Trial:
        """Run the environment's Python."""
        return self.run(trial, [str(self.folder / "venv/bin/python"), *arguments])

    def edgevit(self, trial: str, *arguments: str, code: int = 0, says: str = "") -> Trial:
        """Run the environment's `edgevit`."""
        command = [str(self.folder / "venv/bin/edgevit"), *arguments]
        return self.run(trial, command, code, says)


def trials(environment: Environment) -> Iterator[Trial]:
    """Install one extra and try it; ends early where it cannot be installed."""
    extra, place = environment.extra, environment.folder / "venv"
    yield environment.run("venv", [sys.executable, "-m", "venv", str(place)])
    asked = f"edgevit[{extra}] @ {ROOT.as_uri()}"
    installed = environment.python("install", "-m", "pip", "install", "-qq", "--no-compile", asked)
    yield installed
    if not installed.held:
        return
    yield environment.python("pip check", "-m", "pip", "check")
    yield environment.edgevit("list", "list")
    if extra == "torch":
        yield environment.python("a network, rewritten, saved and loaded", "-c", NETWORK)
    if extra == "video":
        yield environment.python("the frames of a clip", "-c", CLIP)
    if extra in FORMATS:
        for precision in PRECISIONS:
            if precision in FORMATS[extra].precisions:
                yield from bundle(environment, precision)
    else:
        for name in FORMATS:
            export = ("export", MODEL, "--runtime", name, "-o", name)
            line = f"pip install 'edgevit[{name}]'"
            yield environment.edgevit(f"no {name}: exit 3", *export, code=MISSING, says=line)


def bundle(environment: Environment, precision: str) -> Iterator[Trial]:
    """Export and verify one bundle."""
    export = ("export", MODEL, "--runtime", environment.extra, "--precision", precision)
    written = environment.edgevit(f"export {precision}", *export, *BRIEF, "-o", precision)
    yield written
    if written.held:
        yield environment.edgevit(f"verify {precision}", "verify", precision)


def main() -> int:
    """Try the extras and print what held; the exit code."""
    parser = argparse.ArgumentParser(description="Try each extra alone.")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=", ".join(EXTRAS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    unknown = set(options.extras) - set(EXTRAS)
    if unknown:
        parser.error(f"there is no extra {', '.join(sorted(unknown))}; there are {EXTRAS}")
    found = []
    for extra in options.extras or EXTRAS:
        with tempfile.TemporaryDirectory(prefix=f"edgevit-{extra}-") as folder:
            for trial in trials(Environment(extra, Path(folder))):
                found.append(trial)
                if not options.json:
                    state = "held" if trial.held else "FAILED"
                    line = f"{extra:11} {trial.trial:40} {state:7} {trial.seconds:7.1f} s"
                    print(f"{line}  {trial.detail}".rstrip(), flush=True)
    if options.json:
        print(json.dumps([asdict(trial) for trial in found], indent=2))
    return 0 if all(trial.held for trial in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
