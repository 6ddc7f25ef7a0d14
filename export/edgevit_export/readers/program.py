"""An ExecuTorch program as frozen values: methods, calls, tensors, and where payloads lie.

Read by slot numbers of exir/_serialize/program.fbs (executorch 1.5.1), so that executorch, and with
it torch, need not be imported.
"""

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgevit_export.readers.flatbuffer import Table, Window
from edgevit_export.readers.source import MalformedError, packed_bytes, printable

IDENTIFIER = b"ET12"

# ScalarType of scalar_type.fbs: numpy's name (or the official one) and bits an element.
SCALARS: Mapping[int, tuple[str, int]] = {
    0: ("uint8", 8), 1: ("int8", 8), 2: ("int16", 16), 3: ("int32", 32), 4: ("int64", 64),
    5: ("float16", 16), 6: ("float32", 32), 7: ("float64", 64), 11: ("bool", 8), 12: ("qint8", 8),
    13: ("quint8", 8), 14: ("qint32", 32), 15: ("bfloat16", 16), 16: ("quint4x2", 4),
    17: ("quint2x4", 2), 22: ("bits16", 16), 23: ("float8e5m2", 8), 24: ("float8e4m3fn", 8),
    25: ("float8e5m2fnuz", 8), 26: ("float8e4m3fnuz", 8), 27: ("uint16", 16), 28: ("uint32", 32),
    29: ("uint64", 64),
}  # fmt: skip
# Members of the unions KernelTypes and InstructionArguments.
TENSOR, TENSOR_LIST, OPTIONAL_TENSOR_LIST = 5, 10, 11
OTHER_VALUES = {1: "none", 2: "int", 3: "bool", 4: "double", 6: "string"}
KERNEL_CALL, DELEGATE_CALL = 1, 2
OTHER_CALLS = (3, 4, 5)  # move, jump and free compute nothing

Span = tuple[int, int]  # start in the file, size
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Value:
    """One entry of a method's table of values; `buffer` says which data a constant has."""

    kind: str  # a tensor's dtype, else what it is
    shape: tuple[int, ...] = ()
    is_tensor: bool = False
    items: tuple[int, ...] = ()  # of a list of tensors
    buffer: int = 0
    buffer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One call of an operator, and the data types of the tensors it works on."""

    name: str
    overload: str
    dtypes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delegate:
    """One part of the program that a backend took, and where its payload lies."""

    backend: str
    payload: Span


@dataclass(frozen=True, slots=True)
class Method:
    """One method; `delegate_calls` has a delegate as often as it is called, in order."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    values: tuple[Value, ...]
    kernels: tuple[Kernel, ...]
    delegate_calls: tuple[Delegate, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A whole .pte file. `named` gives the bytes of each weight that delegates refer to by name."""

    methods: tuple[Method, ...]
    named: Mapping[str, int]


def read_program(data: mmap.mmap) -> Program:
    """The program of a mapped .pte file; raises `MalformedError`."""
    if len(data) < 64 or data[4:8] != IDENTIFIER:
        raise MalformedError(f"it does not say {IDENTIFIER.decode()} at its beginning")
    size, base = len(data), 0
    if data[8:12] == b"eh00":  # the extended header: where the program ends and its segments begin
        size, base = struct.unpack_from("<QQ", data, 16)
    root = Window(data, 0, size).root()
    segments = tuple((base + s.integer(0, "Q"), s.integer(1, "Q")) for s in root.tables(4))
    if any(start + length > len(data) for start, length in segments):
        raise MalformedError("it ends before its data does")
    inline = tuple(entry.blob(0) for entry in root.tables(3))
    methods = tuple(_method(table, inline, segments) for table in root.tables(1))
    if not methods:
        raise MalformedError("it has no method")
    _check_constants(root, segments, methods)
    named = {entry.text(0): _at(segments, entry.integer(1))[1] for entry in root.tables(7)}
    return Program(methods=methods, named=named)


def _method(table: Table, inline: Sequence[Span], segments: Sequence[Span]) -> Method:
    values = tuple(_value(entry) for entry in table.tables(2))
    operators = [(entry.text(0), entry.text(1)) for entry in table.tables(6)]
    delegates = [_delegate(entry, inline, segments) for entry in table.tables(7)]
    kernels: list[Kernel] = []
    delegate_calls: list[Delegate] = []
    for chain in table.tables(5):
        for instruction in chain.tables(2):
            kind, call = instruction.integer(0, "B"), _needed(instruction.table(1))
            if kind == KERNEL_CALL:
                name, overload = _at(operators, call.integer(0, "i"))
                arguments = [_at(values, index) for index in call.integers(1)]
                kernels.append(Kernel(name, overload, _dtypes(values, arguments)))
            elif kind == DELEGATE_CALL:
                delegate_calls.append(_at(delegates, call.integer(0, "i")))
            elif kind not in OTHER_CALLS:
                raise MalformedError(f"it has an instruction of the unknown kind {kind}")
    return Method(
        name=table.text(0),
        inputs=tuple(_at(values, index) for index in table.integers(3)),
        outputs=tuple(_at(values, index) for index in table.integers(4)),
        values=values,
        kernels=tuple(kernels),
        delegate_calls=tuple(delegate_calls),
    )


def _value(entry: Table) -> Value:
    kind = entry.integer(0, "B")
    if kind in (TENSOR_LIST, OPTIONAL_TENSOR_LIST):
        return Value(kind="list", items=_needed(entry.table(1)).integers(0))
    if kind != TENSOR:
        return Value(kind=OTHER_VALUES.get(kind, "list"))
    tensor = _needed(entry.table(1))
    scalar = tensor.integer(0, "b")
    if scalar not in SCALARS:
        raise MalformedError(f"a tensor has the unknown data type {scalar}")
    dtype, bits = SCALARS[scalar]
    extra = tensor.table(9)
    if extra is not None and extra.integer(2, "b") != 0:
        raise MalformedError(f"the weight {printable(extra.text(1))!r} lies in another file")
    shape = tensor.integers(2)
    # With an allocation it is no constant, but memory that may have an initial value.
    buffer = tensor.integer(5) if tensor.table(6) is None else 0
    taken = packed_bytes(shape, bits) if buffer else 0
    return Value(kind=dtype, shape=shape, is_tensor=True, buffer=buffer, buffer_bytes=taken)


def _delegate(entry: Table, inline: Sequence[Span], segments: Sequence[Span]) -> Delegate:
    reference = _needed(entry.table(1))
    place = segments if reference.integer(0, "b") else inline
    return Delegate(backend=entry.text(0), payload=_at(place, reference.integer(1)))


def _dtypes(values: Sequence[Value], arguments: Sequence[Value]) -> frozenset[str]:
    found = {value.kind for value in arguments if value.is_tensor}
    for value in arguments:
        members = [_at(values, index) for index in value.items if index != -1]  # -1 is None
        found.update(member.kind for member in members if member.is_tensor)
    return frozenset(found)


def _check_constants(root: Table, segments: Sequence[Span], methods: Sequence[Method]) -> None:
    """Every constant tensor must lie in what the file has for it."""
    buffers = [entry.blob(0)[1] for entry in root.tables(2)]  # up to 2024 they lay in the program
    segment = root.table(5)
    if segment is not None and (offsets := segment.integers(1, "Q")):
        size = _at(segments, segment.integer(0))[1]
        buffers = [size - offset for offset in offsets]
    for value in (value for method in methods for value in method.values if value.buffer):
        if value.buffer_bytes > _at(buffers, value.buffer):
            raise MalformedError("a constant is larger than the data it has")


def _needed(table: Table | None) -> Table:
    if table is None:
        raise MalformedError("a part of it is missing")
    return table


def _at(items: Sequence[Item], index: int) -> Item:
    if not 0 <= index < len(items):
        raise MalformedError("a number in it points to nothing")
    return items[index]
