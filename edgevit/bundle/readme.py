"""The README inside a bundle: how to load each of its files."""

from collections.abc import Sequence

from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.parity import HALF
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.table import TASKS
from edgevit_export.artifact import TensorSpec

LOADING = {
    "onnx": """```python
import numpy, onnxruntime
session = onnxruntime.InferenceSession("{path}", providers=["CPUExecutionProvider"])
outputs = session.run(None, {{"{input}": numpy.load("golden/input.npy")}})
```""",
    "executorch": """```python
import numpy, torch
from executorch.runtime import Runtime
method = Runtime.get().load_program("{path}").load_method("forward")
outputs = method.execute([torch.from_numpy(numpy.load("golden/input.npy"))])
```
On Android: `Module.load("{path}")` of org.pytorch.executorch, with XNNPACK linked in.""",
    "litert": """```python
import numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter("{path}")
interpreter.allocate_tensors()
picture = numpy.load("golden/input.npy"){turn}
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
interpreter.invoke()
output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
```""",
    "coreml": """```swift
let compiled = try await MLModel.compileModel(at: URL(fileURLWithPath: "{path}"))
let model = try MLModel(contentsOf: compiled)
```
Input `{input}`: an MLMultiArray of float32.""",
}


PREPARED = {
    "stretch": "A picture is resized to the input's height and width.",
    "pad": "A picture is resized, its proportions kept, and put at the top left of the input;"
    " the rest is zero after normalization.",
    "crop": "A picture is resized, its proportions kept, to cover the input's size divided by"
    " `crop`, and its middle cut out.",
    "box": "A person's box, widened or heightened to the input's proportions and enlarged by"
    " `padding`, is warped to the input.",
}


def bundle_readme(
    model: str,
    target: str,
    task: str,
    files: Sequence[FileEntry],
    preprocessing: Preprocessing,
) -> str:
    """Markdown for the people who get the bundle."""
    lines = [
        f"# {model}",
        "",
        f"Written by edgevit for {target}. `manifest.json` has every number;"
        " `edgevit verify .` checks all of it.",
        "",
        f"{PREPARED[preprocessing.fit]} Then it is RGB, float32, `(value - mean) / std` on 0..255"
        " with the manifest's numbers.",
        "",
        f"`golden/` holds {TASKS[task].golden}, the input made of it"
        " and the training-time network's outputs (NCHW).",
        "",
        TASKS[task].outputs,
        "",
    ]
    for file in files:
        first = file.inputs[0]
        shape = "x".join(map(str, first.shape))
        status = file.verification
        if status.status == "executed":
            runtime = " ".join(f"{name} {version}" for name, version in status.runtime)
            known = f"executed with {runtime} and compared with the training-time network"
            known += status.in_floats
            known += "".join(
                f"; also on {entry.device}{entry.verification.in_floats}"
                for entry in file.elsewhere
            )
            executed = {status.floats, *(entry.verification.floats for entry in file.elsewhere)}
            if status.floats and HALF not in executed:
                known += "; ARM cores compute its floats in float16, which was not executed"
        else:
            known = f"{status.status}: {status.reason}"
        lines += [
            f"## {file.path}",
            "",
            f"Input `{first.name}` {shape} ({first.layout}, {first.dtype}). State: {known}.",
            "",
            LOADING[file.format].format(path=file.path, input=first.name, turn=_turn(first)),
            "",
        ]
    return "\n".join(lines)


def _turn(spec: TensorSpec) -> str:
    """What brings a stored input, NCHW, to a file's layout, as Python."""
    if spec.layout == "NHWC" and len(spec.shape) == 4:
        return ".transpose(0, 2, 3, 1)  # NCHW to the file's NHWC"
    return ""
