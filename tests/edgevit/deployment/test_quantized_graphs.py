"""Int8 files lose what their quantized graph loses in torch: no converter puts steps of its own."""

import numpy as np
import pytest
import torch

from edgevit.bundle.ports import from_file, to_file
from edgevit.data.natural import natural_input
from edgevit.deployment.files import lower_file, scheme_for
from edgevit.deployment.prepare import edit, prepare, rewrite
from edgevit.difference import sqnr
from edgevit.evaluation.subject import network_run
from edgevit.request.spec import DeploySpec, Quantize
from edgevit.steps import silent
from edgevit_export.quantization.styles import STYLES
from edgevit_runtimes.engines import open_session

pytestmark = pytest.mark.full  # two minutes of a core each
RUN = ("onnx", "executorch", "litert")
NAMES = (
    "topformer-t",
    "vit-micro",
    "vitpose-micro",
    "t2t-vit-micro",
    "mvitv2-micro",
    "mvitv2-micro-video",
    "vit-adapter-micro-upernet",
)
INPUTS = range(8)
APART = 3.0  # dB, of the mean; measured are at most 2.2 (mvitv2-micro in LiteRT)


@pytest.mark.parametrize("format_", RUN)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_loses_what_its_graph_loses(name, format_, tmp_path):
    from edgevit_export.quantization.graph import quantize

    spec = DeploySpec(
        name,
        tmp_path / "out",
        only_formats=(format_,),
        precision="w8a8",
        quantize=Quantize(samples=16),
    )
    prepared = prepare(spec, silent)
    network, samples = prepared.network, prepared.calibration
    shaped, _ = rewrite(
        edit(prepared, silent).network, "format", format_, spec, silent, integer=True
    )
    scheme, example = scheme_for(spec, "w8a8"), (torch.zeros(network.input_shape),)
    graph = quantize(shaped, example, scheme, STYLES[format_], ((one,) for one in samples))
    file = lower_file(prepared, shaped, format_, scheme, tmp_path, silent)
    lost = {"graph": [], "file": []}
    with open_session(file.path) as session:
        for seed in INPUTS:
            tensor = natural_input(network.input_shape, seed)
            wanted = network_run(network)(tensor)
            outputs = session.run(to_file(tensor, file.inputs[0]))
            got = [from_file(a, port) for a, port in zip(outputs, file.outputs, strict=True)]
            simulated = network_run(graph)(tensor)
            for who, values in (("file", got), ("graph", simulated)):
                lost[who].append(min(sqnr(a, b) for a, b in zip(values, wanted, strict=True)))
    assert np.mean(lost["graph"]) > 20
    assert np.mean(lost["file"]) > np.mean(lost["graph"]) - APART, lost
