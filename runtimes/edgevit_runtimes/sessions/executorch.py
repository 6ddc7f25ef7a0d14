""".pte files through ExecuTorch's Python runtime.

ExecuTorch has one thread pool for the whole process, and an XNNPACK program keeps a pointer to the
pool it was loaded with: changing the pool under a loaded program is a use after free (1.5.1 ends in
a segmentation fault). So a change of the thread count starts a new generation of the pool, and a
session of an older generation loads its file again before it runs. Sessions of the same thread
count share the pool and never reload. Programs that other code loaded are not protected: run them
before the first session here, or not at all. Not safe from several threads at once.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.quiet import quiet
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions.opened import OpenFile, check_magic, fixed_port, opening

ENGINE = "executorch"

# ScalarType's values with a numpy counterpart (runtime/core/portable_type/scalar_type.h).
DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 11: "bool", 27: "uint16", 28: "uint32", 29: "uint64",
}  # fmt: skip


@dataclass(slots=True)
class Pool:
    """The process's thread pool as this module left it."""

    generation: int = 0


POOL = Pool()


def load_runtime() -> Any:
    """Import executorch's runtime (and torch) quietly; about five seconds the first time."""
    with quiet(), warnings.catch_warnings():
        # It says at import that its Python face is experimental, and calls deprecated importlib and
        # torch.jit names on the way.
        warnings.simplefilter("ignore", DeprecationWarning)
        import executorch.runtime as runtime
    return runtime


def open_(path: Path, threads: int) -> Session:
    """Load a file's `forward` (or its only method) for `threads` threads of the shared pool."""
    runtime = load_runtime()
    import torch

    with opening(path, ENGINE):
        check_magic(path, b"ET", "an ExecuTorch program")
        _set_threads(threads)
        program, method = _load(runtime, path)
        about = method.metadata
        inputs = tuple(
            _port(f"input_{i}", about.input_tensor_meta(i), path.name)
            for i in range(about.num_inputs())
        )
        outputs = tuple(
            _port(f"output_{i}", about.output_tensor_meta(i), path.name)
            for i in range(about.num_outputs())
        )
    generation = POOL.generation

    def call(arrays: tuple[Array, ...]) -> list[Array]:
        nonlocal program, method, generation
        if POOL.generation != generation or _thread_count() != threads:
            with opening(path, ENGINE):
                _set_threads(threads)
                method = program = None
                program, method = _load(runtime, path)
            generation = POOL.generation
        # torch warns about memory it may not write to, although the runtime only reads it.
        tensors = [torch.from_numpy(a if a.flags.writeable else a.copy()) for a in arrays]
        return [tensor.numpy() for tensor in method.execute(tensors)]  # execute returns copies

    return OpenFile(ENGINE, path.name, inputs, outputs, call)


def _load(runtime: Any, path: Path) -> tuple[Any, Any]:
    # The program owns the file's bytes, so it must live as long as its method.
    program = runtime.Runtime.get().load_program(path)
    names = program.method_names
    if "forward" not in names and len(names) != 1:
        raise RunFailed(
            f"{path.name} has no method 'forward' but {', '.join(sorted(names)) or 'none'}."
        )
    return program, program.load_method("forward" if "forward" in names else next(iter(names)))


def _port(name: str, described: Any, file: str) -> Port:
    return fixed_port(name, described.sizes(), DTYPES.get(described.dtype()), file)


def _thread_count() -> int:
    from executorch.extension.pybindings import portable_lib

    count: int = portable_lib._threadpool_get_thread_count()
    return count


def _set_threads(threads: int) -> None:
    from executorch.extension.pybindings import portable_lib

    if _thread_count() != threads:
        portable_lib._unsafe_reset_threadpool(threads)
        POOL.generation += 1
