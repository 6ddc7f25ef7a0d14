"""Change one thing at a time in a module, and see whether its tests notice.

python scripts/mutants.py              every module of the table
python scripts/mutants.py parity line  these

A mutant that no test notices is a line that could be wrong. It is killed by a new test, or named in
tests/mutants.toml with the reason why it cannot matter. The mutants are the same each time; a run
goes on where it was stopped, as long as the module and its tests stay as they were.

mutmut leaves tables and constants alone, which is where gates and bounds stand; cosmic-ray writes
into the working tree and loads torch anew for each mutant. Here each one is a forked process.
"""

import argparse
import ast
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator
from copy import copy
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, NAMED = ROOT / "build" / "mutants", ROOT / "tests" / "mutants.toml"

# A mutant's run ends at the first test that notices it.
QUICK_FIRST = "bounds archives torch_files tensors reader containers strict pickles damage"
READER = [f"checkpoints/test_{word}" for word in QUICK_FIRST.split()]
# A module below edgevit/, and the files below tests/edgevit/ that must notice.
MODULES = {
    "bundle/parity": ["bundle/test_parity"],
    "evaluation/gates": ["evaluation/test_gates"],
    "bundle/sealing": ["bundle/test_sealing"],
    "bundle/manifest": ["bundle/test_manifest", "bundle/test_opened"],
    "difference": ["bundle/test_parity"],
    "networks/line": ["networks/test_line"],
    "checkpoints/archives": READER,
    "checkpoints/bounds": READER,
    "checkpoints/pickles": READER,
    "checkpoints/reader": READER,
    "checkpoints/tensors": READER,
    "checkpoints/torch_files": READER,
    "checkpoints/values": READER,
}
BY_NAME = {module.rpartition("/")[2]: module for module in MODULES}
# Loaded once, before the forks; nothing of edgevit, which must load the mutant.
PRELOADED = ("torch", "numpy", "pytest", "onnx", "onnxruntime", "PIL.Image", "typer")
JOBS = 2
LEAST_SECS, TIMES = 30.0, 5.0  # that a mutant may take; the latter of the time without one
MEMORY_BYTES = 8 << 30
BROKEN = 70  # exit code of a process that did not come to run tests

SWAPS: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div,
    ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
WORDS = {"min": "max", "max": "min", "any": "all", "all": "any"}
UNSEEN = ("annotation", "returns", "decorator_list")


def with_(node: Any, **changes: object) -> Any:
    """A copy of a node with other fields."""
    made = copy(node)
    vars(made).update(changes)
    return made


def replacements(node: Any) -> Iterator[ast.AST]:
    """What one node may become."""
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                yield with_(node, ops=[*ops[:index], SWAPS[type(op)](), *ops[index + 1 :]])
        case ast.BoolOp() | ast.BinOp() | ast.AugAssign() if type(node.op) in SWAPS:
            yield with_(node, op=SWAPS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 1.01 if value else 1.0)
        case ast.If(test=test) | ast.IfExp(test=test):
            plain = not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp)
            if plain and ast.unparse(test) != "TYPE_CHECKING":
                yield with_(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Return(value=ast.AST() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.Name(id=word) if word in WORDS:
            yield with_(node, id=WORDS[word])
        case ast.Attribute(attr=word) if word in WORDS:
            yield with_(node, attr=WORDS[word])


def places(node: ast.AST) -> Iterator[tuple[Any, Any, Any]]:
    """Where each node of the code stands, outermost first; no annotation, docstring or message."""
    for field, value in ast.iter_fields(node):
        holder, keys = (
            (value, range(len(value))) if isinstance(value, list) else (vars(node), [field])
        )
        for key in keys if field not in UNSEEN else ():
            child = holder[key]
            text = (
                isinstance(getattr(child, "value", None), ast.Constant) and type(child) is ast.Expr
            )
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr) and not text:
                yield holder, key, child
                yield from places(child)


def mutants(path: Path) -> Iterator[tuple[str, CodeType]]:
    """Name and code of each; a name is the line's text and the change, wherever the line stands."""
    source = path.read_text("utf-8")
    tree, lines, seen = ast.parse(source), source.splitlines(), Counter[str]()
    for holder, key, child in list(places(tree)):
        for new in replacements(child):
            ast.fix_missing_locations(ast.copy_location(new, child))
            old, change = (ast.unparse(each).partition("\n")[0] for each in (child, new))
            name = f"{lines[child.lineno - 1].strip()} | {old} -> {change}"
            seen[name] += 1
            holder[key] = new
            yield f"{name} ({seen[name]})" if seen[name] > 1 else name, compile(tree, path, "exec")
            holder[key] = child


class Mutated(importlib.abc.MetaPathFinder, SourceFileLoader):
    """Imports one module with other code."""

    def __init__(self, path: Path, code: CodeType) -> None:
        super().__init__(".".join(path.relative_to(ROOT).with_suffix("").parts), str(path))
        self.code = code

    def find_spec(self, name: str, *_: object) -> Any:  # noqa: D102 - the protocol's
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:  # noqa: D102 - the protocol's
        return self.code


class AnyExample:
    """A plugin of pytest: hypothesis stops at the first failing example; shrinking takes long."""

    @staticmethod
    def pytest_sessionstart() -> None:  # noqa: D102 - the protocol's
        from hypothesis import Phase, settings

        phases = set(Phase) - {Phase.shrink, Phase.explain}
        settings.register_profile("mutants", phases=phases)
        settings.load_profile("mutants")


class Run:
    """A process that runs a module's tests with a mutant in its place, or without one."""

    def __init__(self, path: Path, tests: list[str], code: CodeType | None, work: Path) -> None:
        self.begun, self.place = time.monotonic(), Path(tempfile.mkdtemp(dir=work))
        self.pid = os.fork()
        if not self.pid:
            try:
                os._exit(self.test(path, tests, code))
            except BaseException:
                traceback.print_exc()
            os._exit(BROKEN)

    def test(self, path: Path, tests: list[str], code: CodeType | None) -> int:
        """pytest's exit code, in the forked process."""
        import pytest

        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(self.place / "hypothesis")
        out = os.open(self.place / "out", os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if code is not None:
            sys.meta_path.insert(0, Mutated(path, code))
        words = ["-x", "-q", "-m", "not full", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        files = [f"tests/edgevit/{test}.py" for test in tests]
        return pytest.main([*words, f"--basetemp={self.place / 'tmp'}", *files], [AnyExample])

    def ended(self, limit: float) -> str | None:
        """`killed`, `survived` or `timeout`, once it is known."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid and time.monotonic() - self.begun < limit:
            return None
        if not pid:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        elif os.waitstatus_to_exitcode(status) == BROKEN:
            raise SystemExit((self.place / "out").read_text())
        shutil.rmtree(self.place, ignore_errors=True)
        return ("killed" if status else "survived") if pid else "timeout"


def whole(path: Path, tests: list[str], work: Path) -> float:
    """Seconds of the tests on the module as it is, which must pass."""
    run = Run(path, tests, None, work)
    while (end := run.ended(3600)) is None:
        time.sleep(0.1)
    if end != "survived":
        raise SystemExit(f"the tests of {path.relative_to(ROOT)} fail without any mutant")
    return time.monotonic() - run.begun


def try_module(module: str, work: Path) -> dict[str, str]:
    """What became of every mutant; the file of results is written after each."""
    path, tests = ROOT / "edgevit" / f"{module}.py", MODULES[module]
    digest = hashlib.sha256(path.read_bytes())
    for test in tests:
        digest.update((ROOT / "tests" / "edgevit" / f"{test}.py").read_bytes())
    result, state = RESULTS / f"{path.stem}.json", digest.hexdigest()
    kept = json.loads(result.read_text()) if result.is_file() else {}
    found: dict[str, str] = kept["mutants"] if kept.get("state") == state else {}
    every = [mutant for mutant, _ in mutants(path)]
    todo = [each for each in mutants(path) if each[0] not in found]
    limit = max(LEAST_SECS, TIMES * whole(path, tests, work)) if todo else 0.0
    running: dict[str, Run] = {}
    while running or todo:
        while todo and len(running) < JOBS:
            mutant, code = todo.pop(0)
            running[mutant] = Run(path, tests, code, work)
        for mutant, run in list(running.items()):
            if (end := run.ended(limit)) is not None:
                del running[mutant]
                found[mutant] = end
                result.parent.mkdir(parents=True, exist_ok=True)
                result.write_text(json.dumps({"state": state, "mutants": found}, indent=1))
        time.sleep(0.02)
    if limit:
        whole(path, tests, work)  # no mutant broke what the others read
    return {mutant: found[mutant] for mutant in every}


def main() -> int:
    """Print a row a module, and every survivor that is not named; 1 where there is one."""
    parser = argparse.ArgumentParser(description="Mutation testing.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(BY_NAME))
    asked = parser.parse_args().modules
    if unknown := set(asked) - set(BY_NAME):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    chosen = [BY_NAME[name] for name in asked] or list(MODULES)
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "export"), str(ROOT / "runtimes")]
    os.environ |= {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    for package in PRELOADED:
        importlib.import_module(package)
    reasons = tomllib.loads(NAMED.read_text("utf-8"))
    wrong: list[str] = []
    print("module\tmutants\tkilled\ttimed out\tsurvived\tof them named")
    with tempfile.TemporaryDirectory(prefix="mutants-") as work:
        os.environ["EDGEVIT_TESTS_SHARE"] = f"{work}/shared"
        for module in chosen:
            found = try_module(module, Path(work))
            ends, known = Counter(found.values()), set(reasons.get(module, {}))
            alive = {mutant for mutant, end in found.items() if end == "survived"}
            counts = (len(found), ends["killed"], ends["timeout"], len(alive), len(alive & known))
            print(module, *counts, sep="\t", flush=True)
            wrong += [f"{module}: survives: {mutant}" for mutant in sorted(alive - known)]
            wrong += [f"{module}: named, but killed: {mutant}" for mutant in sorted(known - alive)]
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
