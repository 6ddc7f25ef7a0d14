"""Counts what exported files execute on an emulated core, and estimates what that would take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.device import Device
from edgevit_runtimes.engines import chosen
from edgevit_runtimes.errors import BadSetting, MissingRuntime
from edgevit_runtimes.estimate.latency import Estimate, estimate, kinds
from edgevit_runtimes.profiles import kleidiai_word, settings_of
from edgevit_runtimes.runners import emulated
from edgevit_runtimes.session import Array, sha256_of
from edgevit_runtimes.setup.emulated import require_emulated

CountProgress = Callable[[str, int, int], None]
Accuracy = Mapping[str, object]  # of a file, as whoever measured it has it; JSON values
SAME = 1e-4  # of the instructions: two runs of one file differ by less


@dataclass(frozen=True, slots=True)
class CountRow:
    """One file on one core: the instructions of each repeat, and the estimate of the first."""

    file: str
    sha256: str
    engine: str
    versions: dict[str, str]
    instructions: tuple[int, ...]  # one a repeat
    kinds: dict[str, int] | None  # None: LLVM is not installed
    estimate: Estimate | None
    missing: str | None = None  # why there is no estimate
    input_sha256: str = ""  # of the inputs' bytes, in their order
    outputs_right: bool | None = None  # compared on this core before; None: nobody did
    kleidiai: str = "as built"  # or "on", "off" where the runtime has a switch
    accuracy: Accuracy | None = None

    @property
    def spread(self) -> float | None:
        """(largest - smallest) / smallest of the repeats; None for a single one."""
        if len(self.instructions) < 2:
            return None
        return (max(self.instructions) - min(self.instructions)) / min(self.instructions)

    @property
    def note(self) -> str | None:
        """Why this row is no ground for a comparison, if so."""
        if self.spread is not None and self.spread > SAME:
            return f"counts differ by {self.spread:.3%}, more than {SAME:.2%}"
        return self.missing

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "input_sha256": self.input_sha256,
            "engine": self.engine,
            "versions": dict(self.versions),
            "threads": 1,
            "instructions": list(self.instructions),
            "accuracy": None if self.accuracy is None else dict(self.accuracy),
            "kleidiai": self.kleidiai,
            "kinds": self.kinds,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "spread": self.spread,
            "validity": {
                "counts_repeat": None if self.spread is None else self.spread <= SAME,
                "outputs_right": self.outputs_right,
            },
            "note": self.note,
        }


def count_files(
    files: Sequence[Path],
    inputs: Sequence[Sequence[Array]],
    hashes: Sequence[str],
    device: Device,
    *,
    repeat: int = 2,
    engine: str | None = None,
    progress: CountProgress | None = None,
    checked: bool | None = None,
    kleidiai: bool = True,
    accuracies: Sequence[Accuracy | None] = (),
) -> tuple[CountRow, ...]:
    """Count one warm run of each file, `repeat` times, on one thread.

    `inputs[i]` and `hashes[i]` belong to `files[i]`; `checked`: the caller has compared the outputs
    on this device. Raises `BadSetting`, `UnknownEngine`,
    `MissingRuntime` with the command that sets the emulator up, `DeviceFailed` or `RunFailed`.
    """
    if repeat < 1 or not files or not len(files) == len(inputs) == len(hashes):
        raise BadSetting("Counting needs at least one file and one repeat.")
    core = CORES[device.address or ""]
    engines = [chosen(path, engine) for path in files]
    own = [settings_of(entry, kleidiai) for entry in engines]
    versions = [emulated.versions(entry) for entry in engines]
    require_emulated()
    rows = []
    for i, (path, entry) in enumerate(zip(files, engines, strict=True)):
        runs = []
        for turn in range(repeat):
            if progress is not None:
                label = f"{path.name} on {core.name}, repeat {turn + 1} of {repeat}"
                progress(label, i * repeat + turn, len(files) * repeat)
            # The first models caches for the estimate, which changes no count and takes longer.
            counted = emulated.count(
                path, entry, core.name, inputs[i], caches=turn == 0, settings=own[i]
            )
            runs.append(counted)
        first = runs[0]
        try:
            price = estimate(first.counts, core, first.names)
            mix, missing = kinds(first.counts), None
        except MissingRuntime as error:
            mix, price, missing = None, None, f"no estimate: {error.message} Next: {error.next}"
        rows.append(
            CountRow(
                path.name,
                hashes[i],
                entry.name,
                versions[i],
                tuple(run.counts.instructions for run in runs),
                mix,
                price,
                missing,
                sha256_of(inputs[i]),
                checked,
                kleidiai_word(entry, kleidiai),
                accuracies[i] if accuracies else None,
            )
        )
    return tuple(rows)
