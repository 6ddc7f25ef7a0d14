"""Reads a pickle with an interpreter of its own that cannot import or call anything foreign.

A pickle is a program for a small stack machine. `pickle.Unpickler` can be kept from importing, but
its C code still lets a file of a few bytes ask for gigabytes (memo indices, frame and string sizes)
or overflow the C stack (deep tuples as keys). This machine executes the opcodes that torch.save,
numpy and pickle.dump write (protocols 2 to 5; source: the opcode table in CPython's
Lib/pickletools.py), resolves names in `symbols.SYMBOLS` alone, and bounds what each opcode may
take.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from edgevit.checkpoints.bounds import (
    INTEGER_BYTES,
    MIB,
    NAME_BYTES,
    OPCODES,
    Unreadable,
    listed,
    shown,
)
from edgevit.checkpoints.symbols import SYMBOLS, Symbol, check_key
from edgevit.checkpoints.values import (
    ArrayType,
    Inert,
    LazyStorage,
    Marker,
    PickledArray,
    fill_array,
)

ENDS_EARLY = "is truncated or damaged: its pickle ends early; download it again"
BROKEN = "is damaged: its pickle is not well formed; download it again"
TENSORS_ALONE = 'torch.save(model.state_dict(), "weights.pth") where the model was trained'
STOP = ord(".")

PersistentLoad = Callable[[object], LazyStorage]


@dataclass(slots=True, eq=False)
class _Machine:
    stream: BinaryIO
    left: int  # bytes that the file still holds
    allowance: int  # bytes that this pickle may still take
    load: PersistentLoad | None
    version: int = 0  # of the pickle protocol, once stated
    stack: list[object] = field(default_factory=list)
    marks: list[list[object]] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)  # in the order they were named
    work: int = 0  # opcodes and copied elements
    text: int = 0  # characters that calls may still turn into new bytes

    def take(self, count: int) -> bytes:
        if count > self.allowance:
            raise Unreadable("holds a larger pickle than edgevit reads")
        data = self.stream.read(count) if count <= self.left else b""
        if len(data) != count:
            raise Unreadable(ENDS_EARLY)
        self.left -= count
        self.allowance -= count
        return data

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def line(self) -> str:
        data = self.stream.readline(min(NAME_BYTES, self.left, self.allowance))
        self.left -= len(data)
        self.allowance -= len(data)
        if not data.endswith(b"\n"):
            raise Unreadable(BROKEN)
        return data[:-1].decode("utf-8", "replace")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise Unreadable(BROKEN)
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise Unreadable(BROKEN)
        return self.stack[-1]

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise Unreadable(BROKEN)
        items = self.stack
        self.stack = self.marks.pop()
        self.spend(len(items))
        return items

    def spend(self, amount: int) -> None:
        self.work += amount
        if self.work > OPCODES:
            raise Unreadable("holds a pickle with more objects than edgevit reads")

    def charge(self, arguments: tuple[object, ...]) -> None:
        """Pay for what a call may copy, since the same argument can be passed again and again."""
        for value in arguments:
            if isinstance(value, str):
                self.text -= len(value)
                if self.text < 0:
                    raise Unreadable("holds a pickle that builds more than it stores")
            elif isinstance(value, list | tuple | dict):
                self.spend(len(value))


def read_pickle(
    stream: BinaryIO, size: int, allowance: int, load: PersistentLoad | None = None
) -> object:
    """The object that the pickle at the stream's position describes; leaves the stream behind it.

    size: bytes the stream holds from its position on; allowance: bytes the pickle may take; load:
    makes a storage of a persistent id. Raises `Unreadable`, and nothing else, on any content;
    foreign names are listed all together.
    """
    machine = _Machine(stream, size, allowance, load, text=2 * min(size, allowance) + MIB)
    try:
        return _run(machine)
    except Unreadable:
        if machine.refused:
            raise _refusal(machine) from None
        raise
    except (UnicodeDecodeError, struct.error):
        raise Unreadable(BROKEN) from None


def _run(machine: _Machine) -> object:
    while (code := machine.take(1)[0]) != STOP:
        machine.spend(1)
        operation = OPERATIONS.get(code)
        if operation is None and not machine.version:
            raise Unreadable("is a pickle of protocol 0 or 1; write it again with protocol 2")
        if operation is None:
            raise Unreadable(f"uses the pickle opcode 0x{code:02x}, which edgevit does not read")
        operation(machine)
    if machine.refused:
        raise _refusal(machine)
    if machine.marks or len(machine.stack) != 1:
        raise Unreadable(BROKEN)
    return machine.stack[0]


def _refusal(machine: _Machine) -> Unreadable:
    names = listed(list(machine.refused))
    rule = "a checkpoint must hold tensors and plain values alone"
    return Unreadable(f"names {names}, which edgevit does not run: {rule}", next=TENSORS_ALONE)


def _resolve(machine: _Machine, module: object, name: object) -> None:
    """Push what a name stands for; foreign ones get a placeholder, so that all can be listed."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise Unreadable(BROKEN)
    if module == "__builtin__":  # Python 2's name, which protocol 2 writes
        module = "builtins"
    full = f"{module}.{name}"[: 2 * NAME_BYTES]
    symbol = SYMBOLS.get(full)
    if symbol is None:
        if len(machine.refused) < 32:
            machine.refused[full] = None
        symbol = Symbol(full, lambda *_: Inert(shown(full)))
    machine.push(symbol)


def _call(machine: _Machine, function: object, arguments: object) -> None:
    if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
        what = function.name if isinstance(function, Marker) else "something that is no name"
        raise Unreadable(f"calls {what}, which edgevit does not run")
    machine.charge(arguments)
    try:
        machine.push(function.build(*arguments))
    except TypeError:  # the number of arguments: all our builders take `object`
        raise Unreadable(f"calls {function.name} in a way that edgevit does not read") from None


def _reduce(machine: _Machine) -> None:
    arguments = machine.pop()
    _call(machine, machine.pop(), arguments)


def _new_with_keywords(machine: _Machine) -> None:
    if machine.pop() != {}:
        raise Unreadable("calls a class with keywords, which edgevit does not run")
    _reduce(machine)


def _instance(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    arguments = tuple(machine.pop_to_mark())
    _resolve(machine, module, name)
    _call(machine, machine.pop(), arguments)


def _build(machine: _Machine) -> None:
    state, target = machine.pop(), machine.top()
    match target:
        case dict():  # an OrderedDict's attributes, such as a state dict's _metadata
            return
        case Inert():
            if isinstance(state, dict):
                machine.spend(len(state))
                target.fields.update({k: v for k, v in state.items() if isinstance(k, str)})
        case ArrayType():
            _check_type_state(target, state)
        case PickledArray():
            if not isinstance(state, tuple) or len(state) != 5:
                raise Unreadable("holds a numpy array in a form that edgevit does not read")
            machine.charge(state)
            _, shape, kind, fortran, data = state
            fill_array(target, kind, shape, fortran, data)
        case _:
            raise Unreadable("sets attributes of something that has none here")


def _check_type_state(target: ArrayType, state: object) -> None:
    """(version, byte order, subarray, names, fields, item bytes, alignment, flags[, metadata])."""
    if (
        not isinstance(state, tuple)
        or len(state) < 6
        or any(part is not None for part in state[2:5])
    ):
        raise Unreadable("holds a numpy array of structures, which edgevit does not read")
    if state[1] not in ("<", "|", "="):
        raise Unreadable("holds a big-endian numpy array, which edgevit does not read")


def _append(machine: _Machine, values: list[object]) -> None:
    target = machine.top()
    if not isinstance(target, list):
        raise Unreadable(BROKEN)
    target.extend(values)


def _set_items(machine: _Machine, pairs: list[object]) -> None:
    target = machine.top()
    if not isinstance(target, dict) or len(pairs) % 2:
        raise Unreadable(BROKEN)
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        check_key(key)
        target[key] = value


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _append_one(machine: _Machine) -> None:
    value = machine.pop()
    _append(machine, [value])


def _add_items(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    target = machine.top()
    if not isinstance(target, set):
        raise Unreadable(BROKEN)
    for value in values:
        check_key(value)
        target.add(value)


def _frozen_set(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    for value in values:
        check_key(value)
    machine.push(frozenset(values))


def _tuple(machine: _Machine, count: int) -> None:
    if len(machine.stack) < count:
        raise Unreadable(BROKEN)
    machine.stack[-count:] = [tuple(machine.stack[-count:])]


def _mark(machine: _Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _memoize(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.top()


def _recall(machine: _Machine, index: int) -> None:
    if index not in machine.memo:
        raise Unreadable(BROKEN)
    machine.push(machine.memo[index])


def _long(machine: _Machine, width: int) -> None:
    count = machine.number(width)
    if count > INTEGER_BYTES:
        raise Unreadable("holds an integer larger than edgevit reads")
    machine.push(int.from_bytes(machine.take(count), "little", signed=True))


def _persistent(machine: _Machine) -> None:
    if machine.load is None:
        raise Unreadable("points to data outside its pickle, which only a torch file can hold")
    machine.push(machine.load(machine.pop()))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    _resolve(machine, module, name)


def _protocol(machine: _Machine) -> None:
    machine.version = machine.number(1)
    if machine.version > 5:
        raise Unreadable(f"is a pickle of protocol {machine.version}, newer than edgevit reads")


Operation = Callable[[_Machine], None]


def _text(width: int) -> Operation:
    # surrogates as pickle writes them: a lone one is legal in a Python str
    return lambda m: m.push(str(m.take(m.number(width)), "utf-8", "surrogatepass"))


def _bytes(width: int) -> Operation:
    return lambda m: m.push(m.take(m.number(width)))


def _old_text(width: int) -> Operation:
    # Python 2's str is text or bytes, nobody knows which: latin-1 loses neither
    return lambda m: m.push(m.take(m.number(width)).decode("latin-1"))


OPERATIONS: dict[int, Operation] = {
    name[0]: operation
    for name, operation in {
        b"\x80": _protocol,
        b"\x95": lambda m: _ignore(m.take(8)),  # a frame's length only helps to read ahead
        b"(": _mark,
        b"0": lambda m: _ignore(m.pop()),
        b"1": lambda m: _ignore(m.pop_to_mark()),
        b"2": lambda m: m.push(m.top()),
        b"N": lambda m: m.push(None),
        b"\x88": lambda m: m.push(True),
        b"\x89": lambda m: m.push(False),
        b"J": lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
        b"K": lambda m: m.push(m.number(1)),
        b"M": lambda m: m.push(m.number(2)),
        b"\x8a": lambda m: _long(m, 1),
        b"\x8b": lambda m: _long(m, 4),
        b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        b"U": _old_text(1),
        b"T": _old_text(4),
        b"\x8c": _text(1),
        b"X": _text(4),
        b"\x8d": _text(8),
        b"C": _bytes(1),
        b"B": _bytes(4),
        b"\x8e": _bytes(8),
        b"\x96": _bytes(8),  # a bytearray, which nothing here changes
        b"}": lambda m: m.push({}),
        b"]": lambda m: m.push([]),
        b")": lambda m: m.push(()),
        b"\x8f": lambda m: m.push(set()),
        b"a": _append_one,
        b"e": lambda m: _append(m, m.pop_to_mark()),
        b"s": _set_item,
        b"u": lambda m: _set_items(m, m.pop_to_mark()),
        b"\x90": _add_items,
        b"\x91": _frozen_set,
        b"t": lambda m: m.push(tuple(m.pop_to_mark())),
        b"\x85": lambda m: _tuple(m, 1),
        b"\x86": lambda m: _tuple(m, 2),
        b"\x87": lambda m: _tuple(m, 3),
        b"q": lambda m: _memoize(m, m.number(1)),
        b"r": lambda m: _memoize(m, m.number(4)),
        b"\x94": lambda m: _memoize(m, len(m.memo)),
        b"h": lambda m: _recall(m, m.number(1)),
        b"j": lambda m: _recall(m, m.number(4)),
        b"c": lambda m: _resolve(m, m.line(), m.line()),
        b"\x93": _stack_global,
        b"i": _instance,
        b"R": _reduce,
        b"\x81": _reduce,
        b"\x92": _new_with_keywords,
        b"b": _build,
        b"Q": _persistent,
    }.items()
}


def _ignore(value: object) -> None:
    """Drop what an opcode read."""
