""".onnx files through ONNX Runtime's CPU provider."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevit_runtimes.quiet import quiet
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions.opened import OpenFile, fixed_port, opening

ENGINE = "onnxruntime"
FATAL = 4  # ONNX Runtime's highest log severity: its errors reach us as exceptions anyway

# ONNX Runtime names an element type as `tensor(NAME)`; those that differ from numpy's name.
DTYPES = {"float": "float32", "double": "float64"}
SAME_NAME = (
    "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"
)  # fmt: skip


def load_runtime() -> Any:
    """Import onnxruntime without its telemetry thread and its warnings on the terminal."""
    # Its Linux wheels start the thread, and write to the user's cache, when they are imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with quiet():
        import onnxruntime
    return onnxruntime


def open_(
    path: Path,
    threads: int,
    settings: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> Session:
    """Load a file for `threads` threads inside an operator, one operator at a time.

    settings: session configuration entries. profile: how the file begins whose rest ONNX Runtime
    names, and which it writes when the session is closed.
    """
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    for name, value in (settings or {}).items():
        options.add_session_config_entry(name, value)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    with opening(path, ENGINE):
        session = runtime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        inputs = tuple(_port(port, path.name) for port in session.get_inputs())
        outputs = tuple(_port(port, path.name) for port in session.get_outputs())
    names = [port.name for port in inputs]

    def call(arrays: tuple[Array, ...]) -> list[Array]:
        results: list[Array] = session.run(None, dict(zip(names, arrays, strict=True)))
        return results

    release = session.end_profiling if profile is not None else None
    return OpenFile(ENGINE, path.name, inputs, outputs, call, release=release)


def _port(described: Any, file: str) -> Port:
    kind = described.type.removeprefix("tensor(").removesuffix(")")
    dtype = DTYPES.get(kind, kind if kind in SAME_NAME else None)
    return fixed_port(described.name, described.shape, dtype, file)
