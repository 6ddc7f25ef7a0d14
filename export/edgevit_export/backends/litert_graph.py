"""Edits of a .tflite file in memory: operations put in, tensors added, metadata written.

Source: the TensorFlow Lite schema, as ai-edge-litert ships it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

IDENTIFIER = b"TFL3"
BYTES_MORE = 1 << 16  # the builder's first guess; it grows


class Graph:
    """The one subgraph of a .tflite file's content, as the schema's objects.

    `tensors` and `operators` are those objects, and may be changed in place.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self._size = len(content)
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
        self.tensors: list[Any] = self.model.subgraphs[0].tensors
        self.operators: list[Any] = self.model.subgraphs[0].operators
        for buffer in self.model.buffers:
            if buffer.offset:  # ai-edge-quantizer's lie behind the model; all of them move in
                data = content[buffer.offset : buffer.offset + buffer.size]
                buffer.data, buffer.offset, buffer.size = np.frombuffer(data, np.uint8), 0, 0

    def kind(self, operator: Any) -> int:
        """The operation's number among the schema's `BuiltinOperator`."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))

    def of_kind(self, name: str) -> list[Any]:
        """The operations with this name in the schema, in order."""
        number = getattr(self.schema.BuiltinOperator, name)
        return [operator for operator in self.operators if self.kind(operator) == number]

    def shape(self, tensor: int) -> list[int]:
        """Of a tensor, by its number."""
        return [int(side) for side in self.tensors[tensor].shape]

    def value(self, tensor: int) -> NDArray[Any] | None:
        """The numbers of a constant float32 or int32 tensor; None of anything else."""
        entry = self.tensors[tensor]
        data = self.model.buffers[entry.buffer].data
        types = {self.schema.TensorType.FLOAT32: np.float32, self.schema.TensorType.INT32: np.int32}
        if data is None or entry.type not in types:
            return None
        return np.frombuffer(bytes(data), types[entry.type]).reshape(self.shape(tensor))

    def constant(self, array: NDArray[Any]) -> int:
        """A new constant tensor, float32 or int32; returns its number."""
        types = {"float32": self.schema.TensorType.FLOAT32, "int32": self.schema.TensorType.INT32}
        tensor = self._tensor(list(array.shape), types[str(array.dtype)])
        tensor.buffer = self._buffer(np.ascontiguousarray(array).tobytes())
        return len(self.tensors) - 1

    def computed(self, like: int, shape: list[int]) -> int:
        """A new tensor for an operation's result, of the type and scale of another one."""
        tensor = self._tensor(shape, self.tensors[like].type)
        tensor.quantization = self.tensors[like].quantization
        return len(self.tensors) - 1

    def insert(
        self, name: str, inputs: list[int], outputs: list[int], place: int, options: Any = None
    ) -> None:
        """Put an operation of one of the schema's kinds in at a place among `operators`."""
        step = self.schema.OperatorT()
        step.opcodeIndex = self._code(getattr(self.schema.BuiltinOperator, name))
        step.inputs, step.outputs = ints(*inputs), ints(*outputs)
        if options is not None:
            step.builtinOptions = options
            word = type(options).__name__.removesuffix("T")
            step.builtinOptionsType = getattr(self.schema.BuiltinOptions, word)
        self.operators.insert(place, step)

    def tell(self, name: str, value: bytes) -> None:
        """Write an entry of the model's metadata."""
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name, self._buffer(value)
        self.model.metadata = [*(self.model.metadata or []), entry]

    def packed(self) -> bytes:
        """The file's content."""
        import flatbuffers  # type: ignore[import-untyped]  # it ships no types

        builder = flatbuffers.Builder(self._size + BYTES_MORE)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, shape: list[int], kind: int) -> Any:
        tensor = self.schema.TensorT()
        tensor.shape, tensor.type, tensor.hasRank = ints(*shape), kind, True
        tensor.buffer = 0  # holds nothing, as the schema wants of what is computed
        tensor.name = f"edgevit/{len(self.tensors)}"
        self.tensors.append(tensor)
        return tensor

    def _buffer(self, data: bytes) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _code(self, builtin: int) -> int:
        for index, known in enumerate(self.model.operatorCodes):
            if max(known.builtinCode, known.deprecatedBuiltinCode) == builtin:
                return index
        entry = self.schema.OperatorCodeT()
        entry.builtinCode = builtin
        entry.deprecatedBuiltinCode = min(builtin, 127)  # readers from before 2020 look here
        entry.version = 1
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1


def ints(*values: int) -> NDArray[np.int32]:
    """Numbers as the schema holds them."""
    return np.array(values, np.int32)
