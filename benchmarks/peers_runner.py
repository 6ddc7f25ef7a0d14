"""Runs a file of ncnn or MNN in the ARM Python of peers_on_arm.py: no package but theirs.

    python3.11 peers_runner.py PEER PRECISION MODEL INPUT OUTPUT C,H,W

Two runs, and a third between the marks of the counting plugin, on one thread.
"""

import ctypes
import sys
from pathlib import Path

MARK, BEGIN, END = 0x5EED, 1, 2
WARMUP = 2


class Ncnn:
    """ncnn's documented use, with half-precision arithmetic switched off for fp32."""

    def __init__(self, model: str, precision: str, given: memoryview) -> None:
        import ncnn.ncnn as library  # the package around it imports a zoo of models

        self.net = library.Net()
        self.net.opt.num_threads = 1
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(self.net.opt, name, precision == "fp16")
        if self.net.load_param(f"{model}.param") or self.net.load_model(f"{model}.bin"):
            raise SystemExit("ncnn does not take the file")
        self.taken = library.Mat(given)

    def run(self) -> None:
        """From the input in memory to the output in memory."""
        extractor = self.net.create_extractor()
        extractor.input("in0", self.taken)
        failed, self.out = extractor.extract("out0")
        if failed:
            raise SystemExit("ncnn did not run the file")

    def output(self) -> bytes:
        """Of the last run, float32."""
        return memoryview(self.out).tobytes()


class Mnn:
    """MNN's session interface; `low` computes in half precision, `high` in fp32."""

    def __init__(self, model: str, precision: str, given: memoryview) -> None:
        import _mnncengine as library  # the package around it imports more
        import numpy as np  # without it, MNN's tensors end the process

        self.net = library.Interpreter(f"{model}.mnn")
        config = {"numThread": 1, "precision": "low" if precision == "fp16" else "high"}
        self.session = self.net.createSession(config)
        self.into = self.net.getSessionInput(self.session)
        self.out = self.net.getSessionOutput(self.session)
        kind, order = library.Halide_Type_Float, library.Tensor_DimensionType_Caffe
        values, zeros = np.asarray(given)[None], np.zeros(self.out.getShape(), np.float32)
        self.taken = library.Tensor(values.shape, kind, values, order)
        self.back = library.Tensor(zeros.shape, kind, zeros, order)

    def run(self) -> None:
        """From the input in memory to the output in memory."""
        self.into.copyFrom(self.taken)
        self.net.runSession(self.session)
        self.out.copyToHostTensor(self.back)

    def output(self) -> bytes:
        """Of the last run, float32."""
        data: bytes = self.back.getNumpyData().tobytes()
        return data


def main() -> None:
    """Run, mark, write the output."""
    peer, precision, model, source, target, sides = sys.argv[1:]
    shape = [int(side) for side in sides.split(",")]
    given = memoryview(bytearray(Path(source).read_bytes())).cast("f", shape)
    network = {"ncnn": Ncnn, "mnn": Mnn}[peer](model, precision, given)
    call = ctypes.CDLL(None).syscall
    for _ in range(WARMUP):
        network.run()
    call(MARK, BEGIN)
    network.run()
    call(MARK, END)
    Path(target).write_bytes(network.output())


if __name__ == "__main__":
    main()
