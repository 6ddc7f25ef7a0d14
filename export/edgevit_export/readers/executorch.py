"""What a .pte file holds: what its delegates took, and what was left outside of them and why."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgevit_export.artifact import TensorSpec
from edgevit_export.readers.program import Method, Program, Span, Value, read_program
from edgevit_export.readers.report import FileReport, LeftOut
from edgevit_export.readers.source import (
    MalformedError,
    add,
    most_frequent_first,
    opened,
    printable,
)
from edgevit_export.readers.xnnpack import Payload, read_payload, reason_left_out

KIND = "an ExecuTorch program"
XNNPACK = "XnnpackBackend"


def read(path: Path) -> FileReport:
    """The contents of a .pte file; its tensors have no names and are called input_0 and so on.

    `ops` counts each call of an operator as `namespace::name.overload`, and the nodes inside
    XNNPACK's subgraphs as `XNN...`; what other delegates took, the file does not tell. Raises
    `UnreadableFile`, also where weights lie in another file.
    """
    with opened(path, KIND) as data:
        program = read_program(data)
        spans = {
            delegate.payload
            for method in program.methods
            for delegate in method.delegate_calls
            if delegate.backend == XNNPACK
        }
        payloads = {span: read_payload(data, *span) for span in spans}
        return _report(len(data), program, payloads)


def _report(size: int, program: Program, payloads: Mapping[Span, Payload]) -> FileReport:
    methods = program.methods
    main = next((method for method in methods if method.name == "forward"), methods[0])
    calls = [delegate for method in methods for delegate in method.delegate_calls]
    ops: dict[str, int] = {}
    facts: dict[str, str | int] = {"methods": ", ".join(printable(m.name) for m in methods)}
    for delegate in calls:
        name = f"calls of {printable(delegate.backend)}"
        facts[name] = int(facts.get(name, 0)) + 1
        if delegate.backend == XNNPACK:
            for op, times in payloads[delegate.payload].ops.items():
                add(ops, op, times)
    left_out = _left_out(methods, {delegate.backend for delegate in calls})
    for entry in left_out:
        add(ops, entry.op, entry.count)
    return FileReport(
        format="executorch",
        size=size,
        weight_bytes=_constant_bytes(methods) + _delegate_bytes(program, payloads.values()),
        inputs=_ports(main.inputs, "input"),
        outputs=_ports(main.outputs, "output"),
        ops=most_frequent_first(ops),
        delegated_subgraphs=len(calls),
        left_out=left_out,
        facts=facts,
    )


def _left_out(methods: Sequence[Method], backends: set[str]) -> tuple[LeftOut, ...]:
    counts: dict[tuple[str, str], int] = {}
    for kernel in (kernel for method in methods for kernel in method.kernels):
        name = printable(f"{kernel.name}.{kernel.overload}" if kernel.overload else kernel.name)
        if backends and XNNPACK not in backends:
            taker = ", ".join(sorted(printable(backend) for backend in backends))
            reason = f"left by {taker}; the file does not tell why"
        else:
            reason = reason_left_out(kernel.name, kernel.overload, kernel.dtypes)
        counts[name, reason] = counts.get((name, reason), 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(LeftOut(op=op, count=count, reason=reason) for (op, reason), count in ordered)


def _constant_bytes(methods: Sequence[Method]) -> int:
    """Bytes of the constants outside of the delegates; methods share them by buffer index."""
    values = [value for method in methods for value in method.values]
    return sum({value.buffer: value.buffer_bytes for value in values if value.buffer}.values())


def _delegate_bytes(program: Program, payloads: Iterable[Payload]) -> int:
    """Bytes of the constants inside XNNPACK's subgraphs; those shared by name count once."""
    payloads = tuple(payloads)
    shared = frozenset[str]().union(*(payload.shared for payload in payloads))
    if missing := sorted(shared - program.named.keys()):
        raise MalformedError(f"the weight {printable(missing[0])!r} lies in another file")
    carried = sum(payload.constant_bytes for payload in payloads)
    return carried + sum(program.named[name] for name in shared)


def _ports(values: Sequence[Value], word: str) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=f"{word}_{place}", shape=value.shape, dtype=value.kind)
        for place, value in enumerate(values)
    )
