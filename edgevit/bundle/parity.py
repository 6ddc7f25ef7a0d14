"""The network's outputs against those of an exported file, reopened in its runtime."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgevit.bundle.ports import from_file, to_file
from edgevit.difference import (
    LEAST_SPREAD,
    Array,
    absolute,
    agreement,
    cosine,
    difference,
    explained,
    kappa,
    sqnr,
)
from edgevit.errors import CheckFailed, UsageError
from edgevit_export.artifact import Artifact, TensorSpec, content_sha256
from edgevit_export.halves import FLOATS, HALVES
from edgevit_runtimes.device import Device
from edgevit_runtimes.devices import LOCAL, computes_half, open_on, versions_on
from edgevit_runtimes.engines import chosen
from edgevit_runtimes.errors import DeviceFailed

Status = Literal["executed", "evaluated", "not verified"]

HALF = "float16"  # of `Verification.floats`
FP32_DIFFERENCE = 1e-4
FP16_COSINE = 0.999
QUANTIZED_COSINE = 0.95  # then comes the accuracy gate
MASK_AGREEMENT = 0.999
# Of floats that are halves from end to end: 97.3 % of a network that was never trained, 99.9 % of
# topformer-t (emulated cortex-a77).
HALF_AGREEMENT = 0.95
# Of quantized masks, before their gate. On the golden picture and on 1/f inputs, where classes meet
# in more places, 92 to 99.6 % of the pixels agree in w8a8 and w4 (topformer-t,
# vit-adapter-micro-upernet), and 71 to 85 % of a network that was never trained; of independent
# masks of 150 classes 1 %.
QUANTIZED_AGREEMENT = 0.5

# What every file must keep, whatever is asked beside it: a cosine forgives any factor, an absolute
# bound any output that is smaller, an agreement a mask of the commonest class alone.
# Explained variance of float outputs: 0.92 to 0.9998 were measured of w4 (mvitv2-micro-video and
# topformer-t), 0.994 and more of w8a8.
EXACT_EXPLAINED = 0.99  # of fp32 and fp16, which keep 1 - 1e-6; a cosine of 0.999 means 0.998
QUANTIZED_EXPLAINED = 0.8  # a cosine of 0.95 means 0.9 where the scale is right
ASKED_EXPLAINED = 0.5  # where the user says what is near enough
# Of label maps: 0.80 to 0.99 were measured of w8a8, 0.64 to 0.78 of a network never trained.
LEAST_KAPPA = 0.4
# Of the network's spread, that each channel has: 0.94 to 1.03 were measured of w4. Channels with
# less than that share of the whole output's own are not looked at: static ranges may clip them.
LIVE = 0.1

MOST_ATOL = 1000.0  # logits lie within 100
LEAST_COSINE = 0.5  # two outputs whose values are above 0 have that without anything in common


@dataclass(frozen=True, slots=True)
class Case:
    """One input with what the fp32 network makes of it."""

    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds for a file of some precision. None: not checked."""

    difference: float | None = FP32_DIFFERENCE
    atol: float | None = None
    cosine: float | None = None
    agreement: float | None = None  # of the class per pixel

    @classmethod
    def of(
        cls, precision: str, is_map: bool, atol: float | None, min_cosine: float | None
    ) -> "Bounds":
        """The bounds of a precision; `atol` and `min_cosine` replace them.

        Raises `UsageError` on bounds that nothing, or anything, would keep.
        """
        if atol is not None and not 0 <= atol <= MOST_ATOL:
            raise UsageError(
                f"--atol takes 0 to {MOST_ATOL:g}, not {atol:g}.",
                next="--atol 0.01",
            )
        if min_cosine is not None and not LEAST_COSINE <= min_cosine <= 1:
            raise UsageError(
                f"--min-cosine takes {LEAST_COSINE:g} to 1, not {min_cosine:g}: unrelated outputs"
                " can have less.",
                next=f"--min-cosine {QUANTIZED_COSINE:g}",
            )
        quantized = precision not in ("fp32", "fp16")
        agreement = (QUANTIZED_AGREEMENT if quantized else MASK_AGREEMENT) if is_map else None
        if atol is not None:
            return cls(None, atol, min_cosine, agreement)
        if precision == "fp32":
            return cls(FP32_DIFFERENCE, None, min_cosine, agreement)
        usual = QUANTIZED_COSINE if quantized else FP16_COSINE
        return cls(None, None, min_cosine or usual, agreement)

    @property
    def explained(self) -> float:
        """The share of a float output's variance that a file must explain, with these bounds."""
        cosine = 1.0 if self.cosine is None else self.cosine
        if self.atol is not None or cosine < QUANTIZED_COSINE:
            return ASKED_EXPLAINED
        return QUANTIZED_EXPLAINED if cosine < FP16_COSINE else EXACT_EXPLAINED

    def of_floats(self, floats: str) -> "Bounds":
        """The bounds where a file's floats were computed in these."""
        if floats.startswith(HALF) and self.agreement == MASK_AGREEMENT:
            return replace(self, agreement=HALF_AGREEMENT)
        return self


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known about one file. None: not measured, as distances of label maps, which have
    none: two neighbors of a class list are as wrong as any others.
    """

    status: Status
    reason: str  # why not, where it is not verified
    difference: float | None = None  # the worst over all cases and outputs
    absolute: float | None = None
    cosine: float | None = None
    agreement: float | None = None
    cases: int = 0
    runtime: tuple[tuple[str, str], ...] = ()  # package, version
    sqnr: float | None = None  # dB, of the reference's power over the error's; the least
    # In what this device computed a file whose floats are halves where a core has them: float16, or
    # what its format has `elsewhere`. Empty for files that leave no choice.
    floats: str = ""

    @property
    def in_floats(self) -> str:
        """The end of a sentence: " in float16" or " in float32"; nothing of other files."""
        return f" in {self.floats}" if self.floats else ""


def floats_on(artifact: Artifact, device: Device) -> str:
    """In what a device computes the floats of a file that leaves it the choice; else nothing."""
    halves = HALVES.get(artifact.format)
    if halves is None or FLOATS not in artifact.facts:
        return ""
    return HALF if computes_half(device) else halves.elsewhere


def check_parity(
    artifact: Artifact,
    cases: Sequence[Case],
    bounds: Bounds,
    engine: str | None = None,
    device: Device = LOCAL,
) -> Verification:
    """Reopen a file from the disk, check its hash, run every case on the device and compare.

    Raises `CheckFailed` where a hash, an output's count or shape, or a bound does not hold. A
    runtime that this machine cannot have gives `not verified` with the reason; where `engine` names
    a runtime other than the file's own, or on another device, that raises too.
    """
    if content_sha256(artifact.path) != artifact.sha256:
        raise CheckFailed(
            f"{artifact.path.name} changed on the disk since it was written.", next="export again"
        )
    entry = chosen(artifact.path, engine)
    floats = floats_on(artifact, device)
    bounds = bounds.of_floats(floats)
    try:
        session = open_on(device, artifact.path, engine)
    except DeviceFailed as error:
        if engine is not None or device != LOCAL:
            raise
        return Verification("not verified", error.message.rstrip("."))
    rows: list[_Row] = []
    with session:
        for kind, ports, expected in (
            ("inputs", session.inputs, artifact.inputs),
            ("outputs", session.outputs, artifact.outputs),
        ):
            _count(artifact.path.name, kind, len(ports), len(expected))
        for port, spec in zip(session.inputs, artifact.inputs, strict=True):
            if port.shape != spec.shape:
                raise CheckFailed(
                    f"{artifact.path.name} takes {port.shape} where {spec.shape} was exported."
                )
        for case in cases:
            _count(artifact.path.name, "outputs", len(artifact.outputs), len(case.outputs))
            fed = [to_file(a, s) for a, s in zip(case.inputs, artifact.inputs, strict=True)]
            outputs = session.run(*fed)
            _count(artifact.path.name, "outputs", len(outputs), len(artifact.outputs))
            for got, spec, want in zip(outputs, artifact.outputs, case.outputs, strict=True):
                rows.append(_compare(artifact.path.name, from_file(got, spec), spec, want, bounds))
    if not rows:
        raise CheckFailed(f"{artifact.path.name} was compared with nothing.")
    least = _worst(min, (row.sqnr for row in rows))
    verification = Verification(
        "executed",
        "",
        difference=_worst(max, (row.difference for row in rows)),
        absolute=_worst(max, (row.absolute for row in rows)),
        cosine=_worst(min, (row.cosine for row in rows)),
        agreement=_worst(min, (row.agreement for row in rows)),
        sqnr=None if least is None else round(least, 2),
        cases=len(cases),
        runtime=tuple(versions_on(device, entry).items()),
        floats=floats,
    )
    share = _worst(min, (row.explained for row in rows))
    _hold(artifact.path.name, verification, bounds, share, _worst(min, (row.kappa for row in rows)))
    return verification


@dataclass(frozen=True, slots=True)
class _Row:
    """What was measured of one output in one case; None where it has no such measure."""

    agreement: float | None
    difference: float | None = None
    absolute: float | None = None
    cosine: float | None = None
    sqnr: float | None = None
    explained: float | None = None
    kappa: float | None = None


def _count(name: str, kind: str, held: int, expected: int) -> None:
    if held != expected:
        raise CheckFailed(f"{name} has {held} {kind}, the network {expected}.")


def _worst(
    pick: Callable[[Iterable[float]], float], values: Iterable[float | None]
) -> float | None:
    """The worst of what was measured; no measure gives NaN, which `max` would pass over."""
    measured = [value for value in values if value is not None]
    return pick(measured) if measured else None


def _compare(name: str, got: Array, spec: TensorSpec, want: Array, bounds: Bounds) -> _Row:
    """Everything that can be measured of one output."""
    if got.shape != want.shape:
        raise CheckFailed(f"{name}: {spec.name} is {got.shape}, the network's is {want.shape}.")
    if float(np.ptp(got)) == 0.0 and float(np.ptp(want)) != 0.0:
        raise CheckFailed(f"{name}: {spec.name} is the same value everywhere.")
    if np.issubdtype(want.dtype, np.integer):
        return _Row(agreement(got, want), kappa=kappa(got, want))
    if not np.isfinite(got).all():
        raise CheckFailed(f"{name}: {spec.name} holds values that are not finite.")
    _check_live(name, got, spec, want)
    is_map = bounds.agreement is not None and want.ndim == 4
    return _Row(
        agreement(got, want) if is_map else None,
        difference(got, want),
        absolute(got, want),
        cosine(got, want),
        sqnr(got, want),
        explained(got, want),
    )


def _check_live(name: str, got: Array, spec: TensorSpec, want: Array) -> None:
    """Raise `CheckFailed` where an output, or a channel of a map, is nearly the same value
    everywhere and the network's is not: among many channels no sum tells of one.
    """
    kept = 1 if want.ndim >= 4 else None
    axes = tuple(axis for axis in range(want.ndim) if axis != kept)
    wide = want.astype(np.float64)
    has, wanted = (array.std(axis=axes, keepdims=True) for array in (got.astype(np.float64), wide))
    least = np.maximum(
        LEAST_SPREAD * np.abs(wide).max(axis=axes, keepdims=True), LIVE * float(wide.std())
    )
    dead = np.flatnonzero((wanted > least) & (has < LIVE * wanted))
    if len(dead):
        where = spec.name if wanted.size == 1 else f"channel {dead[0]} of {spec.name}"
        raise CheckFailed(f"{name}: {where} is nearly the same value everywhere.")


def _hold(
    name: str,
    verification: Verification,
    bounds: Bounds,
    share: float | None,
    beyond_chance: float | None,
) -> None:
    """Raise `CheckFailed` naming the first bound that does not hold."""
    rows = (
        ("difference", verification.difference, bounds.difference, False),
        ("absolute difference", verification.absolute, bounds.atol, False),
        ("cosine", verification.cosine, bounds.cosine, True),
        ("mask agreement", verification.agreement, bounds.agreement, True),
        ("explained variance", share, bounds.explained, True),
        ("agreement beyond chance (kappa)", beyond_chance, LEAST_KAPPA, True),
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
