""".tflite files through LiteRT's interpreter, with its built-in XNNPACK delegate."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.quiet import quiet
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions.opened import OpenFile, check_magic, fixed_port, opening

ENGINE = "litert"
NUMBERED = re.compile(r"(args|output)_\d+")


def load_runtime() -> Any:
    """Import LiteRT's interpreter quietly."""
    with quiet():
        from ai_edge_litert import interpreter
    return interpreter


def open_(path: Path, threads: int) -> Session:
    """Load a file for `threads` threads.

    Ports are in the order of the signature's numbered names (`args_0`, `output_0`, as litert_torch
    writes them), otherwise in that of the file's main graph.
    """
    runtime = load_runtime()
    with opening(path, ENGINE):
        check_magic(path, b"TFL3", "a LiteRT (TensorFlow Lite) file")
        interpreter = runtime.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        runners = [
            interpreter.get_signature_runner(key) for key in interpreter.get_signature_list()
        ]
        taken, returned = tensors(
            interpreter.get_input_details(),
            interpreter.get_output_details(),
            [(runner.get_input_details(), runner.get_output_details()) for runner in runners],
            path.name,
        )
        inputs = tuple(port(name, detail, path.name) for name, detail in taken)
        outputs = tuple(port(name, detail, path.name) for name, detail in returned)
    into = [detail["index"] for _, detail in taken]
    out_of = [detail["index"] for _, detail in returned]

    def call(arrays: tuple[Array, ...]) -> list[Array]:
        for index, array in zip(into, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in out_of]  # get_tensor copies

    return OpenFile(ENGINE, path.name, inputs, outputs, call)


Detail = Mapping[str, Any]  # a tensor, as an interpreter describes it
Signature = tuple[Mapping[str, Detail], Mapping[str, Detail]]
Named = list[tuple[str, Detail]]


def tensors(
    in_graph: Sequence[Detail],
    out_of_graph: Sequence[Detail],
    signatures: Sequence[Signature],
    file: str,
) -> tuple[Named, Named]:
    """Name and detail of each input and output, in the order in which the network had them.

    Raises `RunFailed` for a file with several signatures.
    """
    inputs: Named = [(detail["name"], detail) for detail in in_graph]
    outputs: Named = [(detail["name"], detail) for detail in out_of_graph]
    if not signatures:
        return inputs, outputs
    if len(signatures) > 1:
        raise RunFailed(f"{file} has {len(signatures)} signatures, and one is run; split the file.")
    taken, returned = signatures[0]
    return _in_order(taken.items(), inputs), _in_order(returned.items(), outputs)


def _in_order(named: Iterable[tuple[str, Detail]], in_graph: Named) -> Named:
    # A signature is a map sorted by name: output_10 comes before output_2.
    entries = list(named)
    if all(NUMBERED.fullmatch(name) for name, _ in entries):
        return sorted(entries, key=lambda entry: int(entry[0].rpartition("_")[2]))
    place = {detail["index"]: position for position, (_, detail) in enumerate(in_graph)}
    return sorted(entries, key=lambda entry: place[entry[1]["index"]])


def port(name: str, detail: Detail, file: str) -> Port:
    """A tensor as a port; raises `RunFailed` as `fixed_port` does."""
    signature = detail.get("shape_signature")
    shape = detail["shape"] if signature is None or not len(signature) else signature
    dtype = np.dtype(detail["dtype"])
    return fixed_port(name, list(shape), dtype.name if dtype.kind in "fiub" else None, file)
