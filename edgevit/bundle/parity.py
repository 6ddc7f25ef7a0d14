"""The network's outputs against those of an exported file, reopened in its runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgevit.bundle.ports import from_file, to_file
from edgevit.difference import MOST_SQNR, Array, agreement, cosine, difference, sqnr
from edgevit.errors import CheckFailed, UsageError
from edgevit_export.artifact import Artifact, TensorSpec, content_sha256
from edgevit_runtimes.engines import chosen, open_session, versions
from edgevit_runtimes.errors import DeviceFailed

Status = Literal["executed", "evaluated", "not verified"]

FP32_DIFFERENCE = 1e-4
FP16_COSINE = 0.999
QUANTIZED_COSINE = 0.95  # then comes the accuracy gate
MASK_AGREEMENT = 0.999


@dataclass(frozen=True, slots=True)
class Case:
    """One input with what the fp32 network makes of it."""

    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a file of some precision must keep. None: not asked."""

    difference: float | None = FP32_DIFFERENCE
    atol: float | None = None
    cosine: float | None = None
    agreement: float | None = None  # of the class per pixel

    @classmethod
    def of(
        cls, precision: str, is_map: bool, atol: float | None, min_cosine: float | None
    ) -> "Bounds":
        """DESIGN's bounds for a precision; `atol` and `min_cosine` replace them.

        Masks of quantized files have no bound here: their gate is the task's own metric. Raises
        `UsageError` on bounds that nothing, or anything, would keep.
        """
        if atol is not None and not 0 <= atol < float("inf"):
            raise UsageError(f"An absolute difference is 0 or more, not {atol:g}.")
        if min_cosine is not None and not 0 < min_cosine <= 1:
            raise UsageError(f"A cosine to keep lies above 0 and is at most 1, not {min_cosine:g}.")
        quantized = precision not in ("fp32", "fp16")
        agreement = MASK_AGREEMENT if is_map and not quantized else None
        if atol is not None:
            return cls(None, atol, min_cosine, agreement)
        if precision == "fp32":
            return cls(FP32_DIFFERENCE, None, min_cosine, agreement)
        usual = QUANTIZED_COSINE if quantized else FP16_COSINE
        return cls(None, None, min_cosine or usual, agreement)


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known about one file."""

    status: Status
    reason: str  # why not, where it is not verified
    difference: float | None = None  # the worst over all cases and outputs
    absolute: float | None = None
    cosine: float | None = None
    agreement: float | None = None
    cases: int = 0
    runtime: tuple[tuple[str, str], ...] = ()  # package, version
    sqnr: float | None = None  # dB, of the reference's power over the error's; the least


def check_parity(
    artifact: Artifact, cases: Sequence[Case], bounds: Bounds, engine: str | None = None
) -> Verification:
    """Reopen a file from the disk, check its hash, run every case and compare.

    Raises `CheckFailed` where a hash, an output's count or shape, or a bound does not hold. A
    runtime that this machine cannot have gives `not verified` with the reason; where `engine` names
    a runtime other than the file's own, that raises too.
    """
    if content_sha256(artifact.path) != artifact.sha256:
        raise CheckFailed(
            f"{artifact.path.name} changed on the disk since it was written.", next="export again"
        )
    entry = chosen(artifact.path, engine)
    try:
        session = open_session(artifact.path, engine)
    except DeviceFailed as error:
        if engine is not None:
            raise
        return Verification("not verified", error.message.rstrip("."))
    worst: list[tuple[float, ...]] = []
    with session:
        for kind, held, asked in (
            ("inputs", session.inputs, artifact.inputs),
            ("outputs", session.outputs, artifact.outputs),
        ):
            if len(held) != len(asked):
                raise CheckFailed(
                    f"{artifact.path.name} has {len(held)} {kind}, the network {len(asked)}."
                )
        for port, spec in zip(session.inputs, artifact.inputs, strict=True):
            if port.shape != spec.shape:
                raise CheckFailed(
                    f"{artifact.path.name} takes {port.shape} where {spec.shape} was exported."
                )
        for case in cases:
            fed = [to_file(a, s) for a, s in zip(case.inputs, artifact.inputs, strict=True)]
            outputs = session.run(*fed)
            for got, spec, want in zip(outputs, artifact.outputs, case.outputs, strict=True):
                worst.append(_compare(artifact.path.name, from_file(got, spec), spec, want))
    found = Verification(
        "executed",
        "",
        difference=max(row[0] for row in worst),
        absolute=max(row[1] for row in worst),
        cosine=min(row[2] for row in worst),
        agreement=min(row[3] for row in worst) if bounds.agreement is not None else None,
        sqnr=round(min(row[4] for row in worst), 2),
        cases=len(cases),
        runtime=tuple(versions(entry).items()),
    )
    _hold(artifact.path.name, found, bounds)
    return found


def _compare(name: str, got: Array, spec: TensorSpec, want: Array) -> tuple[float, ...]:
    """Difference, absolute difference, cosine, agreement and SQNR of one output."""
    if got.shape != want.shape:
        raise CheckFailed(f"{name}: {spec.name} is {got.shape}, the network's is {want.shape}.")
    if float(np.ptp(got)) == 0.0 and float(np.ptp(want)) != 0.0:
        raise CheckFailed(f"{name}: {spec.name} is the same value everywhere.")
    if np.issubdtype(want.dtype, np.integer):
        # Labels have no distance: two neighbors of a class list are as wrong as any others.
        return 0.0, 0.0, 1.0, agreement(got, want), MOST_SQNR
    if not np.isfinite(got).all():
        raise CheckFailed(f"{name}: {spec.name} holds values that are not finite.")
    absolute = float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max())
    same = agreement(got, want) if want.ndim == 4 else 1.0
    return difference(got, want), absolute, cosine(got, want), same, sqnr(got, want)


def _hold(name: str, found: Verification, bounds: Bounds) -> None:
    """Raise `CheckFailed` naming the first bound that does not hold."""
    rows = (
        ("difference", found.difference, bounds.difference, False),
        ("absolute difference", found.absolute, bounds.atol, False),
        ("cosine", found.cosine, bounds.cosine, True),
        ("mask agreement", found.agreement, bounds.agreement, True),
    )
    for what, value, bound, at_least in rows:
        if value is None or bound is None:
            continue
        if not (value >= bound if at_least else value <= bound):
            raise CheckFailed(
                f"{name} does not compute what the network computes: {what} {value:.3g},"
                f" {'at least' if at_least else 'at most'} {bound:g} is allowed.",
                next="export with --no-reparameterize, and report this with the model's name",
            )
