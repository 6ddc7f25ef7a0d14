"""The runtimes that open exported files, and the one lazy door to each."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType, ModuleType

from edgevit_runtimes.device import check_threads
from edgevit_runtimes.errors import MissingRuntime, UnknownEngine, reason
from edgevit_runtimes.session import Session
from edgevit_runtimes.sessions.opened import check_file
from edgevit_runtimes.setup.tflite import PACKAGES, require_tflite


@dataclass(frozen=True, slots=True)
class Engine:
    """One runtime: the files it opens, and the packages it consists of."""

    name: str
    suffixes: tuple[str, ...]
    extra: str | None  # the extra of edgevit that brings `packages`; None: a side environment
    packages: tuple[str, ...]  # as pip names them; the runtime itself first
    aliases: tuple[str, ...] = ()

    @property
    def install(self) -> str:
        """The command that installs what this engine needs."""
        if self.extra is None:
            return f"edgevit device setup {self.name}"
        return f"pip install 'edgevit[{self.extra}]'"


# The first engine of a suffix is the one that opens it where none is named.
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
        ),
        "coreml": Engine(
            name="coreml",
            suffixes=(".mlpackage",),
            extra="coreml",
            packages=("coremltools",),
        ),
        "tflite": Engine(
            name="tflite",
            suffixes=(".tflite",),
            extra=None,
            packages=("tflite-runtime", "numpy"),
            aliases=("tflite-runtime",),
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
    """The engine that opens a file by its suffix; raises `UnknownEngine`."""
    for engine in ENGINES.values():
        if path.suffix in engine.suffixes:
            return engine
    suffixes = ", ".join(dict.fromkeys(s for engine in ENGINES.values() for s in engine.suffixes))
    raise UnknownEngine(f"{path.name} has none of the suffixes that a runtime opens ({suffixes}).")


def chosen(path: Path, engine: str | None) -> Engine:
    """The engine of a name or alias; without a name, the file's default.

    Raises `UnknownEngine`, also for an engine that does not open such files.
    """
    own = engine_of(path)
    named = own if engine is None else engine_named(engine)
    if path.suffix not in named.suffixes:
        raise UnknownEngine(f"{path.name} is opened by {own.name}, not by {engine}.")
    return named


def versions(engine: Engine | str) -> dict[str, str]:
    """Installed version of each package; raises `MissingRuntime` with the install line."""
    entry = engine if isinstance(engine, Engine) else engine_named(engine)
    if entry.extra is None:
        require_tflite()
        return dict(PACKAGES)
    installed = {}
    for package in entry.packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            raise MissingRuntime(
                f"Running {entry.suffixes[0]} files needs {package}, which is not installed.",
                next=entry.install,
            ) from None
    return installed


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


def open_session(
    path: Path,
    engine: str | None = None,
    threads: int = 1,
    settings: Mapping[str, str] | None = None,
) -> Session:
    """Load an exported file; the caller has checked its hash.

    `engine` is a name or alias, by default the one of the suffix. `settings` are the runtime's own,
    where it has some (`profiles.settings_of`). Raises `UnknownEngine`,
    `BadSetting` (threads), `MissingRuntime`, `DeviceFailed` or `RunFailed`.
    """
    entry = chosen(path, engine)
    check_threads(threads)
    prepare(entry)
    return open_prepared(path, entry, threads, settings)


def open_prepared(
    path: Path, engine: Engine, threads: int, settings: Mapping[str, str] | None = None
) -> Session:
    """Load a file after `prepare(engine)`: `open_session` without the imports."""
    check_threads(threads)
    check_file(path)
    more = (settings,) if settings else ()
    session: Session = _door(engine).open_(path, threads, *more)
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
        case "tflite":
            from edgevit_runtimes.sessions import tflite

            return tflite
        case _:
            raise UnknownEngine(f"There is no session for {engine.name!r}.")
