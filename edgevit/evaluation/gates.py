"""GATES: what a file of each precision must keep of its fp32 network's accuracy."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from edgevit.bundle.manifest import Accuracy
from edgevit.errors import CheckFailed


@dataclass(frozen=True, slots=True)
class Gate:
    """One bound, and the reason for it."""

    metric: str
    bound: float  # with labels of value / fp32's value, else of the agreement itself
    reason: str


# With labels: the least share of fp32's score on the same pictures, by precision and metric.
# Without: the least agreement, which is the same for every precision.
ALL = ("top-1", "mIoU", "PCK", "AP")
STRICT = "weights alone are int8, so little may be lost: 99 % of fp32"
USUAL = "activations are int8 too: 98 % of fp32"
DENSE = "a mask sums up small errors at every border: 97 % of fp32"
COARSE = "fewer than 8 bits: held to what w8a8 must keep"
FINE = "halves keep eleven bits: 99.5 % of fp32"

AGREEMENT: Mapping[str, Gate] = MappingProxyType(
    {
        gate.metric: gate
        for gate in (
            Gate("top-1 agreement", 0.97, "the same class on 97 of 100 pictures"),
            Gate("mIoU agreement", 0.93, "mIoU against fp32's own mask"),
            Gate("keypoint agreement", 0.97, "within 5 % of the box, of 97 of 100 keypoints"),
            Gate("feature cosine", 0.99, "mean over pictures"),
        )
    }
)


def _row(bound: float, dense: float, reason: str, dense_reason: str) -> Mapping[str, Gate]:
    gates = {metric: Gate(metric, bound, reason) for metric in ALL}
    gates["mIoU"] = Gate("mIoU", dense, dense_reason)
    return MappingProxyType(gates)


# fp32 files have no accuracy gate: they are held by parity.
GATES: Mapping[str, Mapping[str, Gate]] = MappingProxyType(
    {
        "fp16": _row(0.995, 0.995, FINE, FINE),
        "w8a8": _row(0.98, 0.97, USUAL, DENSE),
        "mixed": _row(0.98, 0.97, USUAL, DENSE),
        "w8dyn": _row(0.99, 0.99, STRICT, STRICT),
        "w8": _row(0.99, 0.99, STRICT, STRICT),
        "w4": _row(0.98, 0.97, COARSE, DENSE),
        "p6": _row(0.98, 0.97, COARSE, DENSE),
        "p4": _row(0.98, 0.97, COARSE, DENSE),
    }
)


def gate_of(precision: str, metric: str) -> Gate | None:
    """The gate of a file's precision for a metric of `evaluation.metrics` (labeled) or of
    `evaluation.agreement`; None where there is none (fp32).
    """
    row = GATES.get(precision)
    if row is None:
        return None
    return AGREEMENT[metric] if metric in AGREEMENT else row[metric]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a gate for one file."""

    metric: str
    value: float
    reference: float | None  # the fp32 network's, with labels
    share: float | None  # value / reference with labels, else the agreement; None: not known
    bound: float | None  # None: no gate
    samples: int
    passed: bool
    data: str
    labeled: bool

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)

    def sentence(self) -> str:
        """The measured accuracy, and the required one."""
        of = f" ({self.share:.2%} of fp32's {self.reference:.4f})" if self.share_of_fp32 else ""
        bound = "" if self.bound is None else f"; at least {self.bound * 100:g}% is asked"
        return f"{self.metric} {self.value:.4f}{of} on {self.samples} of {self.data}{bound}"

    @property
    def share_of_fp32(self) -> bool:
        """Whether `share` is a part of the fp32 network's score."""
        return self.reference is not None and self.share is not None


def judge(precision: str, accuracy: Accuracy) -> Verdict:
    """Hold one measurement against the gate of its file's precision.

    Without a gate everything passes. With one, a measurement passes whose share is at least the
    bound; one without fp32's score, or of data on which fp32 itself scores 0, does not.
    """
    gate = gate_of(precision, accuracy.metric)
    share: float | None
    if not accuracy.labeled:
        share = accuracy.value
    elif accuracy.reference is None or accuracy.reference <= 0:
        share = None
    else:
        share = accuracy.value / accuracy.reference
    passed = gate is None or (share is not None and math.isfinite(share) and share >= gate.bound)
    return Verdict(
        accuracy.metric,
        accuracy.value,
        accuracy.reference,
        share,
        None if gate is None else gate.bound,
        accuracy.samples,
        passed,
        accuracy.data,
        accuracy.labeled,
    )


def require(verdict: Verdict, path: str) -> None:
    """Raise `CheckFailed` where a file misses its gate."""
    if not verdict.passed:
        raise CheckFailed(
            f"{path} misses its accuracy gate: {verdict.sentence()}.", next="--accept-accuracy"
        )
