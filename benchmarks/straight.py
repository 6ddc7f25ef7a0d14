"""STRAIGHT: a network to a file by each exporter's shortest documented way, and no more."""

import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevit_export.quiet import quiet

Writer = Callable[[nn.Module, Tensor, Path], None]


def straight_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    """torch's own exporter."""
    program = torch.onnx.export(network, (example,), dynamo=True)
    assert program is not None
    program.save(path)


def half_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    """The same of the network in half precision."""
    straight_onnx(network.half(), example.half(), path)


def int8_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    """ONNX Runtime's static quantization as its guide has it: QDQ, int8 weights a tensor."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.left = [{name: example.numpy()}]

        def get_next(self) -> dict[str, object] | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        straight_onnx(network, example, folder / "float.onnx")
        quant_pre_process(folder / "float.onnx", folder / "shaped.onnx", skip_symbolic_shape=True)
        import onnx

        (taken,) = onnx.load(folder / "shaped.onnx", load_external_data=False).graph.input
        quantize_static(
            folder / "shaped.onnx", path, Examples(taken.name), weight_type=QuantType.QInt8
        )


def straight_executorch(network: nn.Module, example: Tensor, path: Path) -> None:
    """ExecuTorch's documented XNNPACK recipe."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(network, (example,))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(edge.to_executorch().buffer)


def half_executorch(network: nn.Module, example: Tensor, path: Path) -> None:
    """The same of the network in half precision."""
    straight_executorch(network.half(), example.half(), path)


def int8_executorch(network: nn.Module, example: Tensor, path: Path) -> None:
    """ExecuTorch's documented static quantization for XNNPACK: int8, weights a channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    captured = torch.export.export(network, (example,)).module()
    observed = prepare_pt2e(captured, quantizer)
    observed(example)
    straight_executorch(convert_pt2e(observed), example, path)


def straight_litert(network: nn.Module, example: Tensor, path: Path) -> None:
    """litert_torch's documented recipe; channels first, as the network has them."""
    import litert_torch

    litert_torch.convert(network, (example,)).export(str(path))


def half_litert(network: nn.Module, example: Tensor, path: Path) -> None:
    """Its quantizer's half-precision weights; LiteRT's tools have no recipe for more."""
    from ai_edge_quantizer import qtyping, quantizer

    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "float.tflite"
        straight_litert(network, example, whole)
        made = quantizer.Quantizer(str(whole))
        made.add_weight_only_config(
            *(".*", qtyping.TFLOperationName.ALL_SUPPORTED, 16),
            *(qtyping.QuantGranularity.TENSORWISE, "float_casting"),
        )
        path.write_bytes(made.quantize(enable_progress_bar=False).quantized_model)


def int8_litert(network: nn.Module, example: Tensor, path: Path) -> None:
    """Its quantizer's static recipe: int8 weights a channel, int8 activations."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "float.tflite"
        straight_litert(network, example, whole)
        ((signature, ports),) = Interpreter(model_path=str(whole)).get_signature_list().items()
        made = quantizer.Quantizer(str(whole), recipe.static_wi8_ai8())
        found = made.calibrate({signature: [{ports["inputs"][0]: example.numpy()}]})
        path.write_bytes(made.quantize(found, enable_progress_bar=False).quantized_model)


@dataclass(frozen=True, slots=True)
class Scale:
    """How a port of a quantized .tflite file holds real numbers; `step` 0: as they are."""

    step: float
    zero: int

    def quantized(self, real: NDArray[np.generic]) -> NDArray[np.generic]:
        """Real numbers as the port's int8."""
        if not self.step:
            return real
        steps = np.round(real.astype(np.float64) / self.step) + self.zero
        return np.clip(steps, -128, 127).astype(np.int8)

    def real(self, held: NDArray[np.generic]) -> NDArray[np.generic]:
        """What the port's numbers stand for."""
        return (held.astype(np.float32) - self.zero) * self.step if self.step else held


def int8_ports(path: Path) -> list[Scale]:
    """The scales of a .tflite file's input and outputs, in the order of its signature."""
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(model_path=str(path))
    ((name, ports),) = opened.get_signature_list().items()
    runner = opened.get_signature_runner(name)
    taken, returned = runner.get_input_details(), runner.get_output_details()
    details = [taken[port] for port in ports["inputs"]]
    details += [returned[port] for port in ports["outputs"]]
    return [Scale(*port["quantization"]) for port in details]


# The formats that Linux runs.
STRAIGHT: Mapping[str, Writer] = MappingProxyType(
    {
        "onnx": straight_onnx,
        "executorch": straight_executorch,
        "litert": straight_litert,
    }
)
BY_PRECISION: Mapping[str, Mapping[str, Writer]] = MappingProxyType(
    {
        "fp32": STRAIGHT,
        "fp16": {"onnx": half_onnx, "executorch": half_executorch, "litert": half_litert},
        "w8a8": {"onnx": int8_onnx, "executorch": int8_executorch, "litert": int8_litert},
    }
)


def export_straight(
    name: str, network: nn.Module, example: Tensor, path: Path, precision: str = "fp32"
) -> None:
    """Write an eval-mode network to `path`; raises what the exporter raises.

    fp16 changes the network itself. w8a8 is calibrated on `example` alone: the cost of the file is
    that of any calibration, its accuracy is not.
    """
    with quiet(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporters' own deprecations
        BY_PRECISION[precision][name](network, example, path)
