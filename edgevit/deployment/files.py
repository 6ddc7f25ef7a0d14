"""One file of a bundle: rewritten for its format, exported, and compared with the fp32 network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevit.bundle.classic import with_classic
from edgevit.bundle.manifest import Accuracy, Elsewhere, PassEntry
from edgevit.bundle.parity import HALF, Case, Verification, check_parity
from edgevit.deployment.prepare import Edited, Prepared, rewrite, with_output
from edgevit.errors import CheckFailed, UsageError
from edgevit.evaluation.gates import Verdict
from edgevit.networks.zoo import system_of
from edgevit.quantize.overflow import LARGEST, beyond_half
from edgevit.request.check import bounds_for
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
from edgevit_export.artifact import Artifact
from edgevit_export.formats import FORMATS
from edgevit_export.names import Names
from edgevit_export.scheme import Scheme
from edgevit_runtimes.cores import DEFAULT_CORE
from edgevit_runtimes.device import Device
from edgevit_runtimes.devices import can_run, emulated_ready, where
from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.setup.emulated import COMMAND

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

WEIGHTS_ALONE = "onnx"  # whose fp16 has products in float32
FEW = 2  # cases that a file is run on under emulation without being asked to
MOST_GMACS = 8.0  # of such a file: one or two minutes a case
NOT_IN_HALF = "ARM cores compute its floats in float16, which was not executed"


@dataclass(frozen=True, slots=True)
class Made:
    """One file and the results for it."""

    artifact: Artifact
    verification: Verification
    passes: tuple[PassEntry, ...]  # of its format
    accuracy: tuple[Accuracy, ...] = ()
    verdict: Verdict | None = None
    elsewhere: tuple[Elsewhere, ...] = ()


def make_file(
    prepared: Prepared, edited: Edited, name: str, scheme: Scheme, folder: Path, report: Report
) -> Made:
    """Write the file of one format at one precision, reopen it and compare.

    Raises `CheckFailed` where it does not compute what the network computes, and as `lower` and
    `run_line` do.
    """
    spec = prepared.spec
    served = system_of(spec.card).load().integers.serves(scheme.precision)
    source = edited.network if served else prepared.common
    shaped, passes = rewrite(source, "format", name, spec, report, scheme.calibrated)
    _check_keep_float(spec.quantize.keep_float, name, shaped)
    if scheme.precision == "fp16" and name != WEIGHTS_ALONE:
        _warn_of_overflow(prepared, shaped, report)
    artifact = lower_file(prepared, shaped, name, scheme, folder, report)
    verification = verify_file(prepared, artifact, report)
    artifact = with_classic(
        artifact,
        verification,
        prepared.cases,
        bounds_for(spec, scheme.precision),
        lambda text: report(Step("note", text)),
    )
    elsewhere = verify_elsewhere(prepared, artifact, verification, report)
    return Made(artifact, verification, passes, elsewhere=elsewhere)


def scheme_for(spec: DeploySpec, precision: str, mixture: Sequence[str] = ()) -> Scheme:
    """How a precision is made of a network: what its system, the user and a mixture keep float."""
    integers = system_of(spec.card).load().integers
    own = integers.patterns if integers.serves(precision) else ()
    floats = (*own, *spec.quantize.keep_float, *mixture)
    return Scheme(precision, spec.opset, floats, spec.quantize.observer or integers.observer)


def lower_file(
    prepared: Prepared,
    shaped: "Network",
    name: str,
    scheme: Scheme,
    folder: Path,
    report: Report,
) -> Artifact:
    """Write a network that was rewritten for a format into `folder`."""
    import torch

    from edgevit_export.lower import lower

    network = with_output(shaped, prepared.spec.output)
    report(Step("start", f"export {name} {scheme.precision}"))
    samples = prepared.calibration if scheme.calibrated else None
    artifact = lower(
        network,
        (torch.zeros(network.input_shape),),
        name,
        scheme,
        folder / f"model{FORMATS[name].suffix}",
        Names(("image",), network.output_names),
        () if samples is None else ((sample,) for sample in samples),
    )
    size = f"{artifact.size / 1e6:.2f} MB"
    report(Step("done", f"exported {artifact.path.name}, {scheme.precision}, {size}"))
    return artifact


def verify_file(prepared: Prepared, artifact: Artifact, report: Report) -> Verification:
    """Reopen one file in its runtime and compare it with the fp32 network."""
    if not prepared.spec.verify.enabled:
        report(Step("note", f"{artifact.path.name}: not verified (--no-verify)"))
        return Verification("not verified", "skipped by --no-verify")
    report(Step("start", f"verify {artifact.format}"))
    bounds = bounds_for(prepared.spec, artifact.precision)
    verification = check_parity(artifact, prepared.cases, bounds)
    if verification.status != "executed":
        note = f"{artifact.path.name}: not verified: {verification.reason}"
        report(Step("note", note))
        return verification
    measured = []
    if verification.difference is not None:
        measured.append(f"difference {verification.difference:.1e}")
    if verification.agreement is not None:
        measured.append(f"{verification.agreement:.2%} of pixels agree")
    if artifact.precision not in ("fp32", "fp16") and verification.sqnr is not None:
        measured.append(f"SQNR {verification.sqnr:.1f} dB")
    said = f"verified {artifact.path.name}: {', '.join(measured)} ({verification.cases} inputs)"
    report(Step("done", said))
    return verification


def verify_elsewhere(
    prepared: Prepared, artifact: Artifact, here: Verification, report: Report
) -> tuple[Elsewhere, ...]:
    """Run one file on each device that was asked for; raises `CheckFailed` where one computes
    something else. Core ML files, which no ARM library for Linux opens, are left out.

    A file whose floats are halves on ARM, and were float32 wherever it ran so far, is run on an
    emulated core if that is set up; if not, a note says so.
    """
    name, cases, found = artifact.path.name, prepared.cases, list[Elsewhere]()

    def execute(device: Device, some: Sequence[Case]) -> None:
        report(Step("start", f"verify {artifact.format} on {where(device)}"))
        bounds = bounds_for(prepared.spec, artifact.precision)
        try:
            verification = check_parity(artifact, some, bounds, device=device)
        except (CheckFailed, RunFailed) as error:  # a graph may fail to open in halves alone
            repair = "--precision fp32" if here.floats else error.next
            raise CheckFailed(f"On {where(device)}, {error.message}", next=repair) from error
        found.append(Elsewhere(str(device), verification))
        report(Step("done", f"executed {name} on {where(device)}{verification.in_floats}"))

    for device in prepared.spec.verify.devices:
        if can_run(device, artifact.path):
            execute(device, cases)
        else:
            report(Step("note", f"{name}: {where(device)} opens no such files"))
    known = (here, *(entry.verification for entry in found))
    if here.floats and all(one.floats != HALF for one in known):
        if not emulated_ready():
            why = f"{COMMAND}, or --verify-on DEVICE"
        elif _gmacs(prepared.spec) > MOST_GMACS:
            why = f"it takes minutes: --verify-on emulated:{DEFAULT_CORE}"
        else:
            execute(Device("emulated", DEFAULT_CORE), cases[:FEW])
            return tuple(found)
        report(Step("note", f"{name}: computed{here.in_floats} here; {NOT_IN_HALF} ({why})"))
    return tuple(found)


def _gmacs(spec: DeploySpec) -> float:
    """Billions of multiply-adds at the size asked for, about: attention grows faster than that."""
    card = spec.card
    return card.gmacs * math.prod(spec.input_size or card.input_size) / math.prod(card.input_size)


def _check_keep_float(patterns: Sequence[str], name: str, network: "Network") -> None:
    """Raise `UsageError` on a pattern that names no module of what a file is made from."""
    from edgevit_export.quantization.paths import kept_float

    modules = [path for path, _ in network.named_modules() if path]
    for pattern in patterns:
        if not any(kept_float(path, (pattern,)) for path in modules):
            raise UsageError(
                f"--keep-float {pattern} matches no layer of the network for {name}.",
                next="edgevit quantize MODEL --sensitivity --json, which names the blocks",
            )


def _warn_of_overflow(prepared: Prepared, network: "Network", report: Report) -> None:
    """A remark where 16-bit floats end below what the network reaches on its cases."""
    beyond = beyond_half(network, (case.inputs[0] for case in prepared.cases))
    if beyond:
        path, value = max(beyond.items(), key=lambda item: item[1])
        report(
            Step(
                "note",
                f"{path} reaches {value:.3g}; 16-bit floats end at {LARGEST:.0f}: an fp16 file"
                f" overflows there ({len(beyond)} places in all); --precision fp32 does not",
            )
        )
