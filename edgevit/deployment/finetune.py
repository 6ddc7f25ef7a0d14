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
from edgevit.deployment.export import deploy, preprocessing_for
from edgevit.deployment.load import load
from edgevit.deployment.rounds import Findings, Job, edited, scheme_for
from edgevit.errors import UsageError
from edgevit.evaluation.subject import Subject
from edgevit.networks.zoo import MODELS
from edgevit.quantize.study import STYLE
from edgevit.quantize.training import Forward, Outputs, Training, distill, outputs_of
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
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
    report: Report = lambda _: None,
) -> Bundle:
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

    def tune(job: Job) -> tuple[Job, str]:
        with _teacher(job, teacher) as (name, wanted):
            tuned, told = _tuned(job, wanted, how)
        return tuned, f"{told}, by {name}"

    return deploy(spec, report, tune)


def rate_of(spec: DeploySpec) -> float:
    """The learning rate of a precision; raises `UsageError` on one that nothing is trained for."""
    precision = spec.resolved_precision
    if precision not in RATES:
        raise UsageError(
            f"Fine-tuning is for {' and '.join(RATES)}, not for {precision}.",
            next=f"--precision {next(iter(RATES))}",
        )
    return RATES[precision]


def _tuned(job: Job, teacher: Forward, training: Training) -> tuple[Job, str]:
    """The job with trained weights, and what was done."""
    report, samples, precision = job.report, job.calibration, job.spec.resolved_precision
    assert samples is not None

    def progress(step: int, loss: float) -> None:
        report(Step("start", f"fine-tune: step {step} of {training.steps}, loss {loss:.3g}"))

    report(Step("start", "prepare the fine-tuning"))
    with _STUDENTS[precision](job) as student:
        found = distill(
            student.run,
            student.parameters,
            teacher,
            samples,
            training,
            progress,
            student.before_step,
        )
        network = student.result()
    if not found.step:
        report(Step("note", "No step of the fine-tuning was better: the weights stay as they were"))
        return job, f"not changed by {training.steps} steps of fine-tuning for {precision}"
    told = (
        f"fine-tuned for {precision}, {found.step} of {training.steps} steps on {len(samples)} of"
        f" {samples.name}"
    )
    report(Step("done", f"{told}: loss {found.before:.3g} to {found.after:.3g}"))
    if precision == "w4":
        return replace(job, common=network), told
    edits = (*job.findings.edits, QAT)
    return replace(job, findings=Findings(edited=network, edits=edits)), told


@contextmanager
def _static(job: Job) -> Iterator[Student]:
    """Layers as w8a8 files have them, their ranges as calibrated before the training."""
    import torch

    with quiet():  # torchao tells of every CUDA library it does not find
        from edgevit_export.quantization.simulate import simulate

    network, samples = deepcopy(edited(job)), job.calibration
    assert samples is not None
    example = torch.zeros(network.input_shape)
    read = ((sample,) for sample in samples)
    sim = simulate(network, (example,), scheme_for(job, "w8a8"), STYLE, read)
    parameters = dict(sim.graph.named_parameters())

    def result() -> "Network":
        with torch.no_grad():
            for name, value in parameters.items():
                network.get_parameter(name).copy_(value)
        return network

    with sim.integer([layer.path for layer in sim.layers]):
        yield Student(sim.run, parameters, lambda _: None, result)


@contextmanager
def _narrow(job: Job) -> Iterator[Student]:
    """Linear layers in 4 bits, on the grid of one format after the other."""
    import torch

    from edgevit.networks.passes.explicit_norms import fold_norm_affines

    with quiet():
        from edgevit_export.quantization.narrow import GRIDS, narrow

    # ExecuTorch and LiteRT files have the gains of norms in the weights behind them, which changes
    # the largest weight of a group: rounding is learned as it will be there.
    folded = fold_norm_affines(deepcopy(job.common)).eval()
    made = narrow(folded, (torch.zeros(job.common.input_shape),), job.spec.keep_float)
    yield Student(
        made.run,
        dict(made.network.named_parameters()),
        lambda step: made.use(GRIDS[step % len(GRIDS)]),
        lambda: cast("Network", made.plain()),
    )


_STUDENTS = {"w8a8": _static, "w4": _narrow}


@contextmanager
def _teacher(job: Job, teacher: str | None) -> Iterator[tuple[str, Forward]]:
    """Its name and its outputs, once they are known to fit."""
    if teacher is None or teacher == job.spec.model:
        yield "itself in fp32", outputs_of(job.network)
    elif _is_bundle(teacher):
        with _bundle_teacher(job, open_bundle(Path(teacher))) as found:
            yield found
    else:
        other = replace(job.spec, model=teacher, weights=None, options=(), random_weights=False)
        network, _, labels = load(other, lambda _: None)
        subject = Subject(other.card.task, labels, preprocessing_for(other, network.preparation))
        _check_subject(teacher, job.subject, subject)
        run = outputs_of(network)
        _check_outputs(teacher, job, run)
        yield teacher, run


def _is_bundle(teacher: str) -> bool:
    return (Path(teacher) / MANIFEST).is_file()


@contextmanager
def _bundle_teacher(job: Job, bundle: Bundle) -> Iterator[tuple[str, Forward]]:
    import torch

    name = bundle.manifest.model
    _check_subject(name, job.subject, Subject.of(bundle.manifest))
    files = [
        file
        for file in bundle.manifest.files
        if file.precision == "fp32" and file.verification.status == "executed"
    ]
    if not files or bundle.manifest.output != "logits":
        raise UsageError(
            f"{bundle.path} has no fp32 file of logits that was executed; such a file can teach.",
            next=f"edgevit export {name} --precision fp32 -o teacher",
        )
    file = files[0]
    with open_session(bundle.checked(file)) as session:

        def run(x: "Tensor") -> Outputs:
            found = session.run(to_file(x.numpy(), file.inputs[0]))
            pairs = zip(found, file.outputs, strict=True)
            return tuple(torch.from_numpy(from_file(array, spec)) for array, spec in pairs)

        _check_outputs(name, job, run)
        yield f"{name} in {file.path} (sha256 {file.sha256[:12]})", run


def _check_subject(name: str, own: Subject, other: Subject) -> None:
    for what, differs in (
        ("another task", own.task != other.task),
        ("other labels", own.labels != other.labels),
        ("pictures that are prepared differently", own.preprocessing != other.preprocessing),
    ):
        if differs:
            raise UsageError(f"The teacher {name} has {what}.", next=OTHER_TEACHER)


def _check_outputs(name: str, job: Job, teacher: Forward) -> None:
    """Both see the golden picture: what they return must have the same shapes."""
    import torch

    case = job.cases[0]
    with torch.no_grad():
        found = [tuple(value.shape) for value in teacher(torch.from_numpy(case.inputs[0]))]
    wanted = [value.shape for value in case.outputs]
    if found != wanted:
        raise UsageError(
            f"The teacher {name} returns shapes {found}, not {wanted}.", next=OTHER_TEACHER
        )
