"""What the classic tflite-runtime, which old boards have, makes of a .tflite file: one fact of the
manifest.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgevit.bundle.parity import Bounds, Case, Verification, check_parity
from edgevit.errors import CheckFailed
from edgevit_export.artifact import Artifact
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime, RunFailed, reason
from edgevit_runtimes.setup.tflite import COMMAND, VERSION, find_tflite

FACT = "tflite-runtime"
ENGINE = "tflite"
NOT_TRIED = f"not tried ({COMMAND})"


def with_classic(
    artifact: Artifact,
    newer: Verification,
    cases: Sequence[Case],
    bounds: Bounds,
    note: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """A LiteRT file with the fact of what tflite-runtime makes of it; any other as it is.

    `newer` is what LiteRT made of it. The fact is one of `2.14.0: executed, difference 3.0e-06`;
    `needs LiteRT 2.3.0: ...` with the reason, where tflite-runtime cannot read the file, ends on
    it, or computes something else; and `not tried (...)`. It depends on the machine in one way:
    whether the side environment is there. Never fails: the file is good, it needs a newer runtime.
    """
    if artifact.format != "litert":
        return artifact
    fact = _fact(artifact, newer, cases, bounds)
    if fact.startswith("needs"):
        note(f"{artifact.path.name} {fact}")
    return replace(artifact, facts={**artifact.facts, FACT: fact})


def _fact(artifact: Artifact, newer: Verification, cases: Sequence[Case], bounds: Bounds) -> str:
    if newer.status != "executed":
        return "not tried (LiteRT did not run it either)"
    if find_tflite() is None:
        return NOT_TRIED
    try:
        # The golden case alone: it is a picture, and what a board would be given.
        tried = check_parity(artifact, cases[:1], bounds, engine=ENGINE)
    except MissingRuntime as error:
        return f"not tried ({error.next})"
    except (CheckFailed, RunFailed, DeviceFailed) as error:
        version = dict(newer.runtime).get("ai-edge-litert", "")
        return f"needs LiteRT {version}: {reason(error)}"
    if tried.difference is None:
        return f"{VERSION}: executed, {tried.agreement:.2%} of pixels agree"
    return f"{VERSION}: executed, difference {tried.difference:.1e}"
