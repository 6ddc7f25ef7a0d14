"""The README inside a bundle: how to load each of its files."""

from collections.abc import Sequence

from edgevit.manifest import FileEntry
from edgevit.spec import DeploySpec

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
picture = numpy.load("golden/input.npy").transpose(0, 2, 3, 1)  # NCHW to the file's NHWC
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


def bundle_readme(spec: DeploySpec, files: Sequence[FileEntry]) -> str:
    """Markdown for the people who get the bundle."""
    lines = [
        f"# {spec.model}",
        "",
        f"Written by edgevit for {spec.target}. `manifest.json` has every number;"
        " `edgevit verify .` checks all of it.",
        "",
        "The input is RGB, float32, `(value - mean) / std` on 0..255 with the manifest's numbers."
        " `golden/` holds one picture, its input and the training-time network's outputs (NCHW).",
        "",
    ]
    for file in files:
        first = file.inputs[0]
        shape = "x".join(map(str, first.shape))
        status = file.verification
        if status.status == "executed":
            runtime = " ".join(f"{name} {version}" for name, version in status.runtime)
            known = f"executed with {runtime} and compared with the training-time network"
        else:
            known = f"{status.status}: {status.reason}"
        lines += [
            f"## {file.path}",
            "",
            f"Input `{first.name}` {shape} ({first.layout}, {first.dtype}). State: {known}.",
            "",
            LOADING[file.format].format(path=file.path, input=first.name),
            "",
        ]
    return "\n".join(lines)
