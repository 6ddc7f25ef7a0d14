"""Which operations of a file take how long, by the runtime's own profile, where it has one.

ONNX Runtime's is the one that is read. Whether LiteRT's and ExecuTorch's packages can tell theirs
was not tried. A profiled run is never a timed one: writing every operation down takes time itself.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from edgevit_runtimes.engines import Engine
from edgevit_runtimes.errors import BadSetting, RunFailed
from edgevit_runtimes.session import Array
from edgevit_runtimes.sessions import onnxruntime

PROFILED = (onnxruntime.ENGINE,)
RUNS, WARMUP = 10, 2  # the first runs allocate, and are left out
MOST_BYTES = 1 << 27
SUFFIX = "_kernel_time"  # of the events that ONNX Runtime times an operation by
NO_KLEIDIAI: Mapping[str, str] = {"mlas.disable_kleidiai": "1"}  # onnxruntime_session_options_*.h


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a file: its median time of a run, and its share of all operations."""

    name: str
    kind: str
    ms: float
    share: float

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return asdict(self)


def settings_of(engine: Engine, kleidiai: bool) -> Mapping[str, str]:
    """The runtime's own settings; raises `BadSetting` where it cannot switch KleidiAI off."""
    if kleidiai:
        return {}
    if engine.name != onnxruntime.ENGINE:
        raise BadSetting(
            f"{engine.name} has no switch for KleidiAI: its package is built with it or without.",
            next="--runtime onnxruntime",
        )
    return NO_KLEIDIAI


def kleidiai_word(engine: Engine, kleidiai: bool) -> str:
    """How a result says it: "as built" where there is no switch."""
    if engine.name != onnxruntime.ENGINE:
        return "as built"
    return "on" if kleidiai else "off"


def profile_here(
    path: Path, inputs: Sequence[Array], threads: int, settings: Mapping[str, str]
) -> tuple[Operation, ...]:
    """Run a .onnx file here with its profile; raises `RunFailed` where that cannot be read."""
    with tempfile.TemporaryDirectory(prefix="edgevit-profile-") as folder:
        prefix = Path(folder) / "profile"
        with onnxruntime.open_(path, threads, settings, prefix) as session:
            for _ in range(WARMUP + RUNS):
                session.run(*inputs)
        written = list(Path(folder).iterdir())
        if len(written) != 1:
            raise RunFailed(f"ONNX Runtime wrote no profile of {path.name}.")
        return read_profile(written[0], path.name)


def read_profile(path: Path, file: str) -> tuple[Operation, ...]:
    """The operations of ONNX Runtime's profile, those that take longest first.

    Raises `RunFailed` where it is none.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RunFailed(f"The profile of {file} has more than {MOST_BYTES} bytes.")
        events = json.loads(path.read_text("utf-8", errors="replace"))
        took: dict[tuple[str, str], list[int]] = defaultdict(list)
        for event in events:
            name = str(event.get("name", ""))
            if event.get("cat") == "Node" and name.endswith(SUFFIX):
                kind = str(event["args"]["op_name"])
                took[name.removesuffix(SUFFIX), kind].append(int(event["dur"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunFailed(f"The profile of {file} cannot be read.") from None
    middles = {key: median(us[WARMUP:]) for key, us in took.items() if us[WARMUP:]}
    total = sum(middles.values())
    if not total:
        raise RunFailed(f"The profile of {file} has no operations.")
    return tuple(
        Operation(name, kind, us / 1e3, us / total)
        for (name, kind), us in sorted(middles.items(), key=lambda item: (-item[1], item[0]))
    )
