"""Pickles that try to run something, and pickles that try to exhaust something."""

import argparse
import collections
import functools
import io
import os
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from edgevit.checkpoints import read_checkpoint
from edgevit.checkpoints.bounds import MIB, PICKLE_BYTES, Unreadable
from edgevit.checkpoints.pickles import read_pickle
from edgevit.checkpoints.values import PickledArray
from edgevit.errors import CheckpointError


class Call:
    """Pickles as a call, which any unpickler that is not ours would make."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


class Refilled:
    """Pickles as a call whose result is then given list items, dict items and a state."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return (*self.call, {"x": Call(os.system, "true")})


def calls(flag: object) -> dict[str, tuple[object, str]]:
    """Name -> (what is saved in place of a state dict, the name that must be refused)."""
    touch = f"touch {flag}"
    system = f"{os.system.__module__}.system"
    tensor = torch.ones(2)
    return {
        "system": ({"w": tensor, "x": Call(os.system, touch)}, system),
        "eval": ({"x": Call(eval, f"open({str(flag)!r}, 'w')")}, "builtins.eval"),
        "exec": ({"x": Call(exec, f"open({str(flag)!r}, 'w')")}, "builtins.exec"),
        "getattr": ({"x": Call(getattr, "", "join")}, "builtins.getattr"),
        "import": ({"x": Call(__import__, "os")}, "builtins.__import__"),
        "open": ({"x": Call(open, str(flag), "w")}, "open"),
        "popen": (
            {"x": Call(subprocess.Popen, ["touch", str(flag)])},
            ".Popen",
        ),  # protocol 2 gives it the name of Python 2
        "partial": ({"x": functools.partial(os.system, touch)}, "functools.partial"),
        "hub": ({"x": Call(torch.hub.load, "a/b", "c")}, "torch.hub.load"),
        "torch load": ({"x": Call(torch.load, "x")}, "torch.serialization.load"),
        "from bytes": ({"x": Call(torch.storage._load_from_bytes, b"")}, "_load_from_bytes"),
        "loads": ({"x": Call(pickle.loads, pickle.dumps(Call(os.system, touch)))}, "pickle.loads"),
        "module": ({"model": torch.nn.Linear(1, 1)}, "torch.nn.modules.linear.Linear"),
        "path": ({"x": Call(os.path.join, "a")}, "posixpath.join"),
        "in a key": ({Call(os.system, touch): 1}, system),
        "in the optimizer": (
            {"model": {"w": tensor}, "optimizer": [Call(os.system, touch)]},
            system,
        ),
        "in a namespace": ({"args": argparse.Namespace(f=Call(os.system, touch))}, system),
        "in a tensor": (
            {"w": Call(torch._utils._rebuild_tensor_v2, Call(os.system, touch), 0, (1,), (1,))},
            system,
        ),
        "in a shape": ({"w": Call(torch.Size, (Call(os.system, touch),))}, system),
        "as a factory": (
            {"x": collections.defaultdict(functools.partial(os.system, touch))},
            "partial",
        ),
        "in an array": ({"w": np.array([Call(os.system, touch)], dtype=object)}, "Python objects"),
        "in a state": ({"x": Refilled(collections.OrderedDict)}, system),
        "in hooks": (
            {"w": Call(torch._utils._rebuild_parameter, tensor, True, Call(os.system, touch))},
            system,
        ),
    }


@pytest.mark.parametrize("kind", ["torch-zip", "torch-legacy", "pickle"])
@pytest.mark.parametrize("name", calls(""))
def test_nothing_is_run_and_all_is_named(tmp_path, name, kind):
    flag, path = tmp_path / "flag", tmp_path / "x.pth"
    content, wanted = calls(flag)[name]
    with path.open("wb") as stream:
        if kind == "pickle":
            pickle.dump(content, stream)
        else:
            torch.save(content, stream, _use_new_zipfile_serialization=kind == "torch-zip")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert not flag.exists()
    if kind == "pickle" and "torch.storage._load_from_bytes" in caught.value.message:
        wanted = "torch.storage._load_from_bytes"  # how pickle alone writes a tensor
    assert wanted in caught.value.message


NAMES = (
    ("os", "system"),
    ("nt", "system"),
    ("builtins", "compile"),
    ("builtins", "type"),
    ("builtins", "dict.fromkeys"),
    ("operator", "attrgetter"),
    ("importlib", "import_module"),
    ("runpy", "_run_code"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "__newobj__"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.core.multiarray", "fromfile"),
    ("torch", "load"),
    ("torch", "nn.Module"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("torch.jit", "load"),
    ("collections", "OrderedDict.__init__"),
    ("collections", "namedtuple"),
    ("argparse", "ArgumentParser"),
    ("_codecs", "decode"),
    ("webbrowser", "open"),
    ("pty", "spawn"),
    ("edgevit.checkpoints.symbols", "Symbol"),
    ("__main__", "x"),
)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=".".join)
def test_a_name_is_refused_however_it_is_written(module, name):
    short = lambda text: b"\x8c" + bytes([len(text)]) + text.encode()  # noqa: E731
    line = f"{module}\n{name}\n".encode()
    for program in (
        b"\x80\x02c" + line + b".",
        b"\x80\x02c" + line + b")R.",
        b"\x80\x02c" + line + b")\x81.",
        b"\x80\x02c" + line + b"}b.",
        b"\x80\x02(i" + line + b".",
        b"\x80\x04" + short(module) + short(name) + b"\x93.",
        b"\x80\x04" + short(module) + short(name) + b"\x93)}\x92.",
        b"c" + line + b"(S'x'\ntR.",
    ):
        with pytest.raises(Unreadable, match=f"names {module}.{name}, which edgevit does not run"):
            read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)


def test_all_refused_names_are_listed():
    program = pickle.dumps([subprocess.Popen, os.getcwd, functools.partial, eval, exec, open, iter])
    with pytest.raises(Unreadable, match=r"subprocess.Popen, posix.getcwd, .* and 2 more, which"):
        read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)


def test_nothing_is_imported(tmp_path, monkeypatch):
    flag = tmp_path / "flag"
    (tmp_path / "edgevit_evil.py").write_text(f"open({str(flag)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02cedgevit_evil\nf\n)R.")
    with pytest.raises(CheckpointError, match=r"edgevit_evil\.f"):
        read_checkpoint(path)
    assert "edgevit_evil" not in sys.modules
    assert not flag.exists()


def global_(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def array(code: bytes = b"f4", state: bytes = b"K\x03U\x01<NNNK\x00K\x00K\x00") -> bytes:
    return global_("numpy.dtype") + b"U" + bytes([len(code)]) + code + b"\x85R(" + state + b"tb"


FILLED = global_("numpy.core.multiarray._reconstruct") + global_("numpy.ndarray") + b")U\x01b\x87R"
MALFORMED = {
    "objects": (array(b"O8"), "Python objects"),
    "void": (array(b"V8"), "does not read"),
    "date": (array(b"M8"), "does not read"),
    "long double": (array(b"f16"), "does not read"),
    "list of types": (global_("numpy.dtype") + b"]\x85R", "does not read"),
    "big endian": (array(state=b"K\x03U\x01>NNNK\x00K\x00K\x00"), "big-endian"),
    "fields": (array(state=b"K\x03U\x01|N)}K\x08K\x01K\x10"), "structures"),
    "short state": (array(state=b"K\x03"), "structures"),
    "state of five": (array(state=b"K\x03U\x01<NNN"), "structures"),
    "state that is a list": (global_("numpy.dtype") + b"U\x02f4\x85R]b", "structures"),
    "subarray": (array(state=b"K\x03U\x01|)NNK\x08K\x01K\x10"), "structures"),
    "array of a list": (FILLED + b"(K\x01K\x01\x85" + array() + b"\x89]tb", "Python objects"),
    "array of less": (FILLED + b"(K\x01K\x02\x85" + array() + b"\x89U\x04abcdtb", "4 bytes"),
    "array of minus": (FILLED + b"(K\x01J\xff\xff\xff\xff\x85" + array() + b"\x89U\x00tb", "shape"),
    "array of true": (FILLED + b"(K\x01\x88\x85" + array() + b"\x89U\x04abcdtb", "shape"),
    "huge and empty": (
        FILLED
        + b"(K\x01"
        + b"K\x00"
        + b"\x8a\x05\0\0\0\0\x40" * 2
        + b"\x87"
        + array()
        + b"\x89U\x00tb",
        "shape",
    ),
    "array of no type": (FILLED + b"(K\x01K\x01\x85N\x89U\x04abcdtb", "without a type"),
    "array of a short state": (FILLED + b"(K\x01tb", "in a form"),
    "array of no state": (FILLED + b"Nb", "in a form"),
    "array of another class": (
        global_("numpy.core.multiarray._reconstruct") + global_("builtins.dict") + b")U\x01b\x87R",
        "class",
    ),
    "call of a number": (b"K\x01)R", "calls something"),
    "call of a marker": (global_("torch.float32") + b")R", "calls torch.float32"),
    "call with a list": (global_("torch.Size") + b"]R", "calls something"),
    "too many arguments": (global_("torch.device") + b"(K\x01K\x01K\x01tR", "calls torch.device"),
    "keywords": (global_("argparse.Namespace") + b")}K\x01K\x01s\x92", "keywords"),
    "state of a list": (b"]}b", "attributes"),
    "state of a name": (global_("torch.device") + b"}b", "attributes"),
    "list as key": (b"}]K\x01s", "dictionary's key"),
    "deep tuple as key": (b"}" + b")" + b"\x85" * 9 + b"Ns", "dictionary's key"),
    "colliding integers": (b"}\x8a\x09" + bytes(8) + b"\x01Ns", "dictionary's key"),
    "set of lists": (b"\x8f(]\x90", "dictionary's key"),
    "frozen set of lists": (b"(]\x91", "dictionary's key"),
    "set of names": (global_("builtins.set") + b"](" + global_("torch.Size") + b"e\x85R", "key"),
    "other encoding": (global_("_codecs.encode") + b"U\x01aU\x05utf-8\x86R", "encodes text"),
    "broken latin-1": (global_("_codecs.encode") + b"X\x03\0\0\0\xe2\x82\xac\x85R", "latin-1"),
    "ordered pairs": (global_("collections.OrderedDict") + b"](K\x01e\x85R", "broken dictionary"),
    "factory": (global_("collections.defaultdict") + global_("torch.Size") + b"\x85R", "factory"),
    "storage outside": (b"K\x01Q", "outside its pickle"),
    "text storage": (b"P1\n", "opcode 0x50"),
    "extension": (b"\x82\x01", "opcode 0x82"),
    "buffer": (b"\x97", "opcode 0x97"),
    "future": (b"\x80\x06N", "protocol 6"),
    "underflow": (b"\x85", "not well formed"),
    "no mark": (b"t", "not well formed"),
    "no memo": (b"h\x01", "not well formed"),
    "two values": (b"NN", "not well formed"),
    "open mark": (b"N(", "not well formed"),
    "value behind a mark": (b"(N", "not well formed"),
    "append to none": (b"NNa", "not well formed"),
    "item of none": (b"NNNs", "not well formed"),
    "odd items": (b"}(Nu", "not well formed"),
    "add to none": (b"N(N\x90", "not well formed"),
    "name of numbers": (b"K\x01K\x02\x93", "not well formed"),
    "module of a number": (b"K\x01U\x01x\x93", "not well formed"),
    "name of a number": (b"U\x01xK\x01\x93", "not well formed"),
    "endless name": (b"c" + b"x" * 5000, "not well formed"),
    "not utf-8": (b"X\x01\0\0\0\xff", "not well formed"),
    "huge integer": (b"\x8b\x00\x00\x00\x01", "integer"),
    "huge text": (b"X\xff\xff\xff\x7f", "larger pickle"),
    "huge bytes": (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "larger pickle"),
    "huge frame of nothing": (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f" + b"K", "ends early"),
}


def test_the_shortest_state_of_a_type():
    """Of six parts; the last two, alignment and flags, are not looked at."""
    kind = array(state=b"K\x03U\x01<NNNK\x04")
    program = b"\x80\x02" + FILLED + b"(K\x01K\x01\x85" + kind + b"\x89U\x04\0\0\x80?tb."
    found = read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)
    assert found.array().tolist() == [1.0]


def test_an_array_without_contents_is_none(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}U\x01w" + FILLED + b"s.")
    with pytest.raises(CheckpointError, match="no tensors under"):
        read_checkpoint(path)
    with pytest.raises(Unreadable, match="without contents"):
        PickledArray().array()


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name):
    body, wanted = MALFORMED[name]
    program = b"\x80\x04" + body + (b"" if name.startswith("huge frame") else b".")
    with pytest.raises(Unreadable) as caught:
        read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)
    assert wanted in caught.value.why


TEXT = b"X" + struct.pack("<I", MIB) + b"a" * MIB
BOMBS = {
    "memo index": (b"Nr\xff\xff\xff\xff.", None),
    "same bytes again": (
        global_("_codecs.encode")
        + b"q\x00"
        + TEXT
        + b"\x85q\x01R0]("
        + b"h\x00h\x01R" * 2000
        + b"e.",
        "builds more than it stores",
    ),
    "same dictionary again": (
        b"](" + b"K\x01" * 20_000 + b"eq\x00\x85q\x01" + global_("builtins.set") + b"q\x02h\x01R"
        b"0](" + b"h\x02h\x01R" * 2000 + b"e.",
        "more objects",
    ),
    "same array again": (
        FILLED
        + b"q\x00(K\x01J\x00\x00\x10\x00\x85"
        + array(b"u1")
        + b"\x89"
        + TEXT
        + b"tq\x01b]("
        + b"h\x00h\x01b" * 500
        + b"e.",
        "builds more than it stores",
    ),
    "same attributes again": (
        global_("argparse.Namespace")
        + b")Rq\x00}("
        + b"".join(b"U\x05%05dN" % number for number in range(20_000))
        + b"uq\x01b"
        + b"h\x01b" * 200
        + b".",
        "more objects",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_stays_in_proportion(name):
    body, why = BOMBS[name]
    program = b"\x80\x02" + body
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match=why) if why else nullcontext():
            read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB


def repeated_text(length):
    """A pickle that makes three times so many new bytes of a text."""
    again = b"0h\x00h\x01R" * 2
    text = b"X" + struct.pack("<I", length) + b"a" * length
    return b"\x80\x02" + global_("_codecs.encode") + b"q\x00" + text + b"\x85q\x01R" + again + b"."


def test_what_calls_may_build():
    """Twice the file and a MiB."""
    most = MIB + 2 * len(repeated_text(0))
    for length, fine in ((most, True), (most + 1, False)):
        program = repeated_text(length)
        with nullcontext() if fine else pytest.raises(Unreadable, match="more than it stores"):
            read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)


@pytest.mark.parametrize("body", [b"U\x03abc", global_("torch.Size"), b"T\3\0\0\0abc", b"N"])
def test_what_a_pickle_may_take(body):
    """All its bytes, and not one fewer."""
    program = b"\x80\x02" + body + b"."
    read_pickle(io.BytesIO(program), len(program), len(program))
    with pytest.raises(Unreadable, match="larger pickle"):
        read_pickle(io.BytesIO(program), len(program), len(program) - 1)


@pytest.mark.parametrize("body", [b"U\x03abc", global_("torch.Size"), b""])
def test_no_more_is_asked_for_than_is_left(forge, body):
    program = b"\x80\x02" + body + b"U\x0aabc."
    with pytest.raises(Unreadable, match="ends early"):
        read_pickle(forge.measured(program), len(program), PICKLE_BYTES)


OPCODES = {
    b"T\3\0\0\0ab\xe4": "abä",
    b"\x8d\4\0\0\0\0\0\0\0ab\xc3\xa4": "abä",
    b"\x8e\2\0\0\0\0\0\0\0ab": b"ab",
    b"U\1aq\1r\2\1\0\0N0h\1\x86": ("a", "a"),
    b"U\1ar\2\1\0\0U\1bq\2j\2\1\0\0\x87": ("a", "b", "a"),
    b"(U\1a1U\1b": "b",
    b"U\1a2\x86": ("a", "a"),
    global_("torch.Size") + b"K\1K\2\x86\x85}\x92": (1, 2),
    b"(K\1K\2\x86itorch\nSize\n": (1, 2),
}


@pytest.mark.parametrize("body", OPCODES)
def test_opcodes_that_pickle_rarely_writes(body):
    program = b"\x80\x02" + body + b"."
    found = read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)
    assert found == OPCODES[body]


def test_deep_nesting_neither_recurses_nor_crashes(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}U\x01w)" + b"\x85" * 500_000 + b"s.")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_checkpoint(path)


def test_reads_what_pickle_writes():
    value = {
        "a": [1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**200), 0.5, None, True, False],
        "b": ("x", "é", "\udc80", "\U0001f600", b"", b"x" * 300, "y" * 300),
        "c": {1, 2},
        "d": frozenset({("a", 1)}),
        "e": {"k": [[], {}, (), ((),)]},
        "f": collections.OrderedDict([("x", 1)]),
        "g": collections.Counter("aab"),
        "h": collections.defaultdict(list, {"x": [1]}),
    }
    value["self"] = value["a"]
    for protocol in (2, 3, 4, 5):
        stream = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
        found = read_pickle(stream, len(stream.getvalue()), PICKLE_BYTES)
        assert found == value
        assert found["self"] is found["a"]
        assert stream.read() == b"rest"
    program = pickle.dumps(bytearray(b"z"), 5)
    assert read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES) == b"z"


def test_random_programs_only_ever_raise_unreadable():
    generator = random.Random(5)
    seeds = [b"\x80\x04" + body + b"." for body, _ in MALFORMED.values()]
    read = refused = 0
    for _ in range(4000):
        program = bytearray(generator.choice(seeds))
        for _ in range(generator.randint(1, 4)):
            program[generator.randrange(len(program))] = generator.randrange(256)
        try:
            read_pickle(io.BytesIO(bytes(program)), len(program), PICKLE_BYTES)
            read += 1
        except Unreadable:
            refused += 1
    assert read + refused == 4000
    assert refused > 2000
