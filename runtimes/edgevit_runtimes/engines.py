"""The runtimes that open exported files, and the one lazy door to each."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType, ModuleType

from edgevit_runtimes.errors import BadSetting, MissingRuntime, UnknownEngine, reason
from edgevit_runtimes.session import Session
from edgevit_runtimes.sessions.opened import check_file


@dataclass(frozen=True, slots=True)
class Engine:
    """One runtime: the files it opens, and the packages it consists of."""

    name: str
    suffixes: tuple[str, ...]
    extra: str  # the extra of edgevit that brings `packages`
    packages: tuple[str, ...]  # as pip names them; the runtime itself first
    aliases: tuple[str, ...] = ()

    @property
    def install(self) -> str:
        """The command that installs what this engine needs."""
        return f"pip install 'edgevit[{self.extra}]'"


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "onnxruntime": Engine(
            name="onnxruntime",
            suffixes=(".onnx",),
            extra="onnx",
            packages=("onnxruntime",),
            aliases=("onnx",),
        ),
        "executorch": Engine(
            name="executorch",
            suffixes=(".pte",),
            extra="executorch",
            packages=("executorch", "torch"),
        ),
        "litert": Engine(
            name="litert",
            suffixes=(".tflite",),
            extra="litert",
            packages=("ai-edge-litert",),
            aliases=("tflite",),
        ),
        "coreml": Engine(
            name="coreml",
            suffixes=(".mlpackage",),
            extra="coreml",
            packages=("coremltools",),
        ),
    }
)


def engine_named(name: str) -> Engine:
    """The engine of this name or alias; raises `UnknownEngine` that lists what exists."""
    for engine in ENGINES.values():
        if name == engine.name or name in engine.aliases:
            return engine
    raise UnknownEngine(f"There is no runtime {name!r}; there are {', '.join(ENGINES)}.")


def engine_of(path: Path) -> Engine:
    """The engine that a file's suffix names; raises `UnknownEngine`."""
    for engine in ENGINES.values():
        if path.suffix in engine.suffixes:
            return engine
    suffixes = ", ".join(suffix for engine in ENGINES.values() for suffix in engine.suffixes)
    raise UnknownEngine(f"{path.name} has none of the suffixes that a runtime opens ({suffixes}).")


def versions(engine: Engine | str) -> dict[str, str]:
    """Installed version of each package; raises `MissingRuntime` with the install line."""
    entry = engine if isinstance(engine, Engine) else engine_named(engine)
    found = {}
    for package in entry.packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            raise MissingRuntime(
                f"Running {entry.suffixes[0]} files needs {package}, which is not installed.",
                next=entry.install,
            ) from None
    return found


def prepare(engine: Engine) -> None:
    """Import an engine's packages, so that a load can be timed without them.

    Raises `MissingRuntime` where they are absent or broken, `DeviceFailed` where this operating
    system has no such runtime.
    """
    try:
        _door(engine).load_runtime()
    except ImportError as error:
        versions(engine)
        raise MissingRuntime(
            f"{engine.packages[0]} is installed but cannot be imported: {reason(error)}.",
            next=engine.install,
        ) from error


def open_session(path: Path, engine: str | None = None, threads: int = 1) -> Session:
    """Load an exported file; the caller has checked its hash.

    `engine` is a name or alias, by default the one of the suffix. Raises `UnknownEngine`,
    `BadSetting` (threads), `MissingRuntime`, `DeviceFailed` or `RunFailed`.
    """
    entry = engine_of(path)
    if engine is not None and engine_named(engine) != entry:
        raise UnknownEngine(f"{path.name} is opened by {entry.name}, not by {engine}.")
    if threads < 1:
        raise BadSetting(f"A file runs on at least 1 thread, not {threads}.")
    prepare(entry)
    return open_prepared(path, entry, threads)


def open_prepared(path: Path, engine: Engine, threads: int) -> Session:
    """Load a file after `prepare(engine)`: `open_session` without the imports."""
    check_file(path)
    session: Session = _door(engine).open_(path, threads)
    return session


def _door(engine: Engine) -> ModuleType:
    match engine.name:
        case "onnxruntime":
            from edgevit_runtimes.sessions import onnxruntime

            return onnxruntime
        case "executorch":
            from edgevit_runtimes.sessions import executorch

            return executorch
        case "litert":
            from edgevit_runtimes.sessions import litert

            return litert
        case "coreml":
            from edgevit_runtimes.sessions import coreml

            return coreml
        case _:
            raise UnknownEngine(f"There is no session for {engine.name!r}.")
