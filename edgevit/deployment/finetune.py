"""`edgevit quantize --qat`: a bundle of a network that was fine-tuned to be quantized, where
rounding after training loses too much.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.ports import from_file, to_file
from edgevit.deployment.export import Exported, seal
from edgevit.deployment.files import scheme_for
from edgevit.deployment.load import load
from edgevit.deployment.prepare import Edited, Prepared, edit, prepare
from edgevit.errors import UsageError
from edgevit.networks.zoo import MODELS
from edgevit.quantize.simulated import STYLE
from edgevit.quantize.training import Forward, Outputs, Training, distill, outputs_of
from edgevit.request.check import check_export, preprocessing_for
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step, silent
from edgevit.tasks.task import Subject
from edgevit_export.quiet import quiet
from edgevit_runtimes.engines import open_session

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from edgevit.networks.parts.layers import Network

# What can be fine-tuned, and how fast: a weight may move by about one of its steps. The w8a8 of
# vit-micro goes from 30.2 dB to 30.8, and with 2e-5 nowhere; its w4 from 20.3 to 22, and with 3e-4
# to 16.
RATES = MappingProxyType({"w8a8": 5e-6, "w4": 5e-5})
QAT = "qat"  # beside the weight edits of the manifest
OTHER_TEACHER = "--teacher with a model of `edgevit list`, or with the directory of a bundle"


@dataclass(frozen=True, slots=True)
class Student:
    """A network that rounds as its files will, and its weights."""

    run: Forward
    parameters: "Mapping[str, Parameter]"
    before_step: Callable[[int], None]
    result: "Callable[[], Network]"  # without the rounding


def fine_tune(
    spec: DeploySpec,
    teacher: str | None = None,
    training: Training | None = None,
    report: Report = silent,
) -> Exported:
    """Train a network for `spec.precision` on its calibration samples, and deploy it.

    teacher: a bundle's directory or a model's name; None is the network itself in fp32. Raises
    what `deploy` raises, and `UsageError` where the teacher does not answer as the network does.
    """
    rate = rate_of(spec)  # refuses before anything is loaded
    how = training or Training(rate)
    if not (teacher is None or teacher in MODELS or _is_bundle(teacher)):
        raise UsageError(f"{teacher} is neither a bundle nor a model.", next=OTHER_TEACHER)
    if spec.output != "logits":
        raise UsageError("A network is fine-tuned by its logits.", next="--output logits")

    check_export(spec)
    prepared = prepare(spec, report, calibrated=True)
    with _teacher(prepared, teacher) as (name, wanted):
        tuned, edited, done = _tuned(prepared, edit(prepared, report), wanted, how, report)
    weights = replace(tuned.weights, note=f"{tuned.weights.note}; {done}, by {name}")
    return seal(replace(tuned, weights=weights), edited, report)


def rate_of(spec: DeploySpec) -> float:
    """The learning rate of a precision; raises `UsageError` on one that nothing is trained for."""
    precision = spec.resolved_precision
    if precision not in RATES:
        raise UsageError(
            f"Fine-tuning is for {' and '.join(RATES)}, not for {precision}.",
            next=f"--precision {next(iter(RATES))}",
        )
    return RATES[precision]


def _tuned(
    prepared: Prepared, edited: Edited, teacher: Forward, training: Training, report: Report
) -> tuple[Prepared, Edited, str]:
    """What files are made of, with trained weights in it, and what was done."""
    samples, precision = prepared.calibration, prepared.spec.resolved_precision
    assert samples is not None

    def progress(step: int, loss: float) -> None:
        report(Step("start", f"fine-tune: step {step} of {training.steps}, loss {loss:.3g}"))

    report(Step("start", "prepare the fine-tuning"))
    with _STUDENTS[precision](prepared, edited) as student:
        trained = distill(
            student.run,
            student.parameters,
            teacher,
            samples,
            training,
            progress,
            student.before_step,
        )
        network = student.result()
    if not trained.step:
        report(Step("note", "Fine-tuning found nothing better: the weights do not change"))
        done = f"not changed by {training.steps} steps of fine-tuning for {precision}"
        return prepared, edited, done
    done = (
        f"fine-tuned for {precision}, {trained.step} of {training.steps} steps on {len(samples)} of"
        f" {samples.name}"
    )
    report(Step("done", f"{done}: loss {trained.before:.3g} to {trained.after:.3g}"))
    if precision == "w4":
        return replace(prepared, common=network), edited, done
    return prepared, Edited(network, (*edited.edits, QAT)), done


@contextmanager
def _static(prepared: Prepared, edited: Edited) -> Iterator[Student]:
    """Layers as w8a8 files have them, their ranges as calibrated before the training."""
    import torch

    with quiet():  # torchao tells of every CUDA library it does not find
        from edgevit_export.quantization.simulate import simulate

    network, samples = deepcopy(edited.network), prepared.calibration
    assert samples is not None
    example = torch.zeros(network.input_shape)
    read = ((sample,) for sample in samples)
    scheme = scheme_for(prepared.spec, "w8a8")
    sim = simulate(network, (example,), scheme, STYLE, read)
    parameters = dict(sim.graph.named_parameters())

    def result() -> "Network":
        with torch.no_grad():
            for name, value in parameters.items():
                network.get_parameter(name).copy_(value)
        return network

    with sim.integer([layer.path for layer in sim.layers]):
        yield Student(sim.run, parameters, lambda _: None, result)


@contextmanager
def _narrow(prepared: Prepared, edited: Edited) -> Iterator[Student]:
    """Linear layers in 4 bits, on the grid of one format after the other."""
    import torch

    from edgevit.networks.passes.fold_norm_affines import fold_norm_affines

    with quiet():
        from edgevit_export.quantization.narrow import GRIDS, narrow

    # ExecuTorch and LiteRT files have the gains of norms in the weights behind them, which changes
    # the largest weight of a group: rounding is learned as it will be there.
    folded = fold_norm_affines(deepcopy(prepared.common)).eval()
    example = (torch.zeros(prepared.common.input_shape),)
    made = narrow(folded, example, prepared.spec.quantize.keep_float)
    yield Student(
        made.run,
        dict(made.network.named_parameters()),
        lambda step: made.use(GRIDS[step % len(GRIDS)]),
        lambda: cast("Network", made.plain()),
    )


_STUDENTS = {"w8a8": _static, "w4": _narrow}


@contextmanager
def _teacher(prepared: Prepared, teacher: str | None) -> Iterator[tuple[str, Forward]]:
    """Its name and its outputs, once they are known to fit."""
    if teacher is None or teacher == prepared.spec.model:
        yield "itself in fp32", outputs_of(prepared.network)
    elif _is_bundle(teacher):
        with _bundle_teacher(prepared, open_bundle(Path(teacher))) as named:
            yield named
    else:
        source = replace(prepared.spec.source, checkpoint=None, options=(), random=False)
        other = replace(prepared.spec, model=teacher, source=source)
        trained = load(other, silent)
        network = trained.network
        preprocessing = preprocessing_for(other, network.preparation)
        subject = Subject(other.card.task, trained.labels, preprocessing)
        _check_subject(teacher, prepared.subject, subject)
        run = outputs_of(network)
        _check_outputs(teacher, prepared, run)
        yield teacher, run


def _is_bundle(teacher: str) -> bool:
    return (Path(teacher) / MANIFEST).is_file()


@contextmanager
def _bundle_teacher(prepared: Prepared, bundle: Bundle) -> Iterator[tuple[str, Forward]]:
    import torch

    name = bundle.manifest.model
    _check_subject(name, prepared.subject, Subject.of(bundle.manifest))
    files = [
        file
        for file in bundle.manifest.files
        if file.precision == "fp32" and file.verification.status == "executed"
    ]
    if not files or bundle.manifest.output != "logits":
        raise UsageError(
            f"{bundle.path} has no executed fp32 file with logits, which a teacher needs.",
            next=f"edgevit export {name} --precision fp32 -o teacher",
        )
    file = files[0]
    with open_session(bundle.checked(file)) as session:

        def run(x: "Tensor") -> Outputs:
            arrays = session.run(to_file(x.numpy(), file.inputs[0]))
            pairs = zip(arrays, file.outputs, strict=True)
            return tuple(torch.from_numpy(from_file(array, spec)) for array, spec in pairs)

        _check_outputs(name, prepared, run)
        yield f"{name} in {file.path} (sha256 {file.sha256[:12]})", run


def _check_subject(name: str, own: Subject, other: Subject) -> None:
    for what, differs in (
        ("another task", own.task != other.task),
        ("other labels", own.labels != other.labels),
        ("pictures that are prepared differently", own.preprocessing != other.preprocessing),
    ):
        if differs:
            raise UsageError(f"The teacher {name} has {what}.", next=OTHER_TEACHER)


def _check_outputs(name: str, prepared: Prepared, teacher: Forward) -> None:
    """Both see the golden picture: what they return must have the same shapes."""
    import torch

    case = prepared.cases[0]
    with torch.no_grad():
        shapes = [tuple(value.shape) for value in teacher(torch.from_numpy(case.inputs[0]))]
    wanted = [value.shape for value in case.outputs]
    if shapes != wanted:
        raise UsageError(
            f"The teacher {name} returns shapes {shapes}, not {wanted}.", next=OTHER_TEACHER
        )
