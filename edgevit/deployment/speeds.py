"""What a quantized file's time is beside that of the fp32 file of the same runtime: integers do not
pay everywhere, and an export says where they do not.

Nothing of it goes into the manifest, which holds nothing that a second export would not hold.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from edgevit.bundle.ports import to_file
from edgevit.deployment.files import Made, lower_file
from edgevit.deployment.prepare import Prepared, rewrite
from edgevit.difference import Array
from edgevit.steps import Report, Step, silent
from edgevit_export.artifact import Artifact
from edgevit_export.errors import ExportError
from edgevit_export.scheme import Scheme
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RuntimesError
from edgevit_runtimes.timing import Run, interleave, ratio_interval

SECONDS = 4.0  # that a comparison is to take
FEWEST, MOST = 6, 60  # rounds of it


@dataclass(frozen=True, slots=True)
class Speed:
    """A file's speed over that of its fp32 twin: median of rounds in turns, one thread, and the
    95 % interval (`edgevit_runtimes.timing.ratio_interval`).
    """

    file: str
    precision: str
    ratio: float
    low: float
    high: float
    rounds: int
    machine: str  # the architecture that it was timed on, as the system names it

    @property
    def pays(self) -> bool:
        """Whether the interval shows that it is faster than fp32 here."""
        return self.low > 1

    def cell(self) -> str:
        """The ratio with its interval."""
        return f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f})"

    def sentence(self) -> str:
        """One sentence for the user."""
        where = f"on this machine ({self.machine}, one thread)"
        said = f"{self.file} ({self.precision}) has {self.cell()} of fp32's speed {where}"
        return said if self.pays else f"{said}: {self.precision} is not faster here, only smaller"


def measure_speeds(prepared: Prepared, made: Sequence[Made], report: Report) -> tuple[Speed, ...]:
    """Compare the time of each file that is not fp32 and runs here with a temporary fp32 file."""
    speeds = []
    for file in made:
        artifact = file.artifact
        if artifact.precision == "fp32":
            continue
        name = f"{artifact.path.name} ({artifact.precision})"
        if file.verification.status != "executed":
            why = f"speed beside fp32 is not known: {file.verification.reason}"
            report(Step("note", f"{name}: {why}"))
            continue
        with TemporaryDirectory(prefix="edgevit-fp32-") as folder:
            report(Step("start", f"time {artifact.path.name} beside fp32"))
            try:
                twin = _twin(prepared, artifact.format, Path(folder))
                speed = compare(artifact, twin, prepared.cases[0].inputs[0])
            except (ExportError, RuntimesError) as error:  # the file itself is made and verified
                text = f"{artifact.path.name}: no fp32 file to time it beside ({error.message})"
                report(Step("note", text))
                continue
        report(Step("done" if speed.pays else "note", speed.sentence()))
        speeds.append(speed)
    return tuple(speeds)


def compare(file: Artifact, twin: Artifact, picture: Array) -> Speed:
    """Time both on one input (NCHW) in turns, in one process, on one thread."""
    with open_session(file.path, threads=1) as own, open_session(twin.path, threads=1) as other:
        own_input, other_input = to_file(picture, file.inputs[0]), to_file(picture, twin.inputs[0])
        runs: dict[str, Run] = {
            "own": lambda: own.run(own_input),
            "fp32": lambda: other.run(other_input),
        }
        _once(runs)
        start = perf_counter()
        _once(runs)
        rounds = round(SECONDS / (perf_counter() - start))
        rounds = max(FEWEST, min(rounds, MOST))
        taken = interleave(runs, rounds, warmup=1)
    middle, low, high = ratio_interval(taken["fp32"], taken["own"])
    return Speed(file.path.name, file.precision, middle, low, high, rounds, platform.machine())


def _once(runs: Mapping[str, Run]) -> None:
    for run in runs.values():
        run()


def _twin(prepared: Prepared, name: str, folder: Path) -> Artifact:
    """An fp32 file of the same network and format."""
    spec = prepared.spec
    shaped, _ = rewrite(prepared.common, "format", name, spec, silent)
    return lower_file(prepared, shaped, name, Scheme("fp32", spec.opset), folder, silent)
