""".mlpackage directories through Core ML, which exists on macOS only."""

import platform
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from edgevit_runtimes.errors import DeviceFailed, RunFailed
from edgevit_runtimes.quiet import quiet
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions.opened import OpenFile, fixed_port, opening

ENGINE = "coreml"

# ArrayFeatureType.ArrayDataType of coremltools' FeatureTypes.proto: 0x10000 for floats, 0x20000 for
# integers, plus the bits of an element.
DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32"}


def load_runtime() -> Any:
    """Import coremltools quietly; raises `DeviceFailed` anywhere but on macOS."""
    if platform.system() != "Darwin":
        raise DeviceFailed(
            "Core ML runs on macOS only.",
            next="edgevit verify BUNDLE, on a Mac with macOS 13 or newer",
        )
    with quiet(), warnings.catch_warnings():
        # It imports torch and executorch where they are installed, which use deprecated names.
        warnings.simplefilter("ignore", DeprecationWarning)
        import coremltools
    return coremltools


def open_(path: Path, threads: int) -> Session:
    """Compile and load a package for all compute units, as an app would.

    Core ML chooses its own threads: `threads` is accepted, and has no effect.
    """
    runtime = load_runtime()
    with opening(path, ENGINE):
        model = runtime.models.MLModel(str(path), compute_units=runtime.ComputeUnit.ALL)
        description = model.get_spec().description
        inputs = tuple(_port(feature, path.name) for feature in description.input)
        outputs = tuple(_port(feature, path.name) for feature in description.output)
    names = [port.name for port in inputs]

    def call(arrays: tuple[Array, ...]) -> list[Array]:
        results = model.predict(dict(zip(names, arrays, strict=True)))
        return [np.asarray(results[port.name]) for port in outputs]

    return OpenFile(ENGINE, path.name, inputs, outputs, call)


def _port(feature: Any, file: str) -> Port:
    kind = feature.type.WhichOneof("Type")
    if kind != "multiArrayType":
        raise RunFailed(f"{feature.name!r} of {file} is no array but {kind}.")
    array = feature.type.multiArrayType
    return fixed_port(feature.name, list(array.shape), DTYPES.get(array.dataType), file)
