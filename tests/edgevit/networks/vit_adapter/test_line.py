"""The line on every kind of ViT-Adapter: exact, in few pieces on XNNPACK, the same in every format.

`make test-all` takes the micro configuration through every format in tests/e2e/test_matrix.py; here
are windows and gathered samplings, which it does not have.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.bundle.parity import Bounds, Case, check_parity
from edgevit.difference import difference
from edgevit.networks.line import TOLERANCE, run_line
from edgevit.networks.parts.transformer import Attend, Thirds
from edgevit.networks.seeded import fill_seeded
from edgevit.networks.system import ALL_FORMATS
from edgevit.networks.vit_adapter import dense_sampling
from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.dense_sampling import DenseAttention
from edgevit.networks.vit_adapter.gather_sampling import GatheredAttention
from edgevit.networks.vit_adapter.network import (
    SCALES,
    Config,
    Extractor,
    ViTAdapter,
    ViTAdapterUperNet,
    WindowAttend,
    light,
    with_windows,
)
from edgevit_export.formats import FORMATS, reader
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import FP32

TINY = Config(
    dim=24,
    depth=4,
    heads=3,
    deform_heads=2,
    deform_ratio=0.5,
    grid=(3, 3),
    input_size=(64, 96),
    conv_inplane=4,
    window=3,
    num_classes=5,
    head_channels=6,
    aux_channels=4,
)
# One interaction whose first block sees windows and whose second sees all.
ONE = replace(
    TINY, depth=2, interactions=1, extra_extractors=0, global_every=2, vit_features="last"
)
NETWORKS = {
    "features": (ViTAdapter, TINY),
    "det": (ViTAdapter, with_windows(replace(TINY, vit_features="last"))),
    "light": (ViTAdapter, light(TINY)),
    "upernet": (ViTAdapterUperNet, TINY),
    "one interaction": (ViTAdapter, ONE),
}
# The last is of the extractor in `LOWERED`: one head, 8 x 12 + 4 x 6 + 2 x 3 queries, 4 x 6 pixels.
SAMPLINGS = {"products": dense_sampling.SMALL, "rows": 0, "rows and products": 126 * 24}
# Lowering takes seconds a block: the one here sees windows. What sees all is a plain block.
LOWERED = replace(ONE, depth=1)


def make(name):
    kind, config = NETWORKS[name]
    return filled(kind(config))


def make_to_lower():
    """One interaction whose extractor's sampling is half as large as its injector's."""
    network = ViTAdapter(LOWERED)
    (interaction,) = network.backbone.interactions
    interaction.extractor = Extractor(replace(LOWERED, deform_heads=1))
    return filled(network)


def filled(network):
    fill_seeded(network, 3)
    network.input_shape = (1, 3, *network.config.input_size)
    network.output_names = ("logits",) if isinstance(network, ViTAdapterUperNet) else SCALES
    return network.eval()


def picture(network):
    return torch.randn(network.input_shape, generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def answers(network, x):
    out = network(x)
    return [one.numpy() for one in (out if isinstance(out, tuple) else (out,))]


def rewritten(network, name):
    return run_line(run_line(network, "common"), "format", name)


@pytest.mark.parametrize(
    ("name", "sampling", "formats"),
    [
        ("features", "rows", ("executorch",)),
        ("det", "products", ("onnx", "executorch")),
        ("light", "products", ("onnx", "executorch")),
        ("upernet", "products", ("onnx", "executorch")),
        ("one interaction", "products", ALL_FORMATS),
        ("one interaction", "rows", ("executorch", "litert")),
    ],
)
def test_the_line_is_exact(name, sampling, formats, monkeypatch):
    monkeypatch.setattr(dense_sampling, "SMALL", SAMPLINGS[sampling])
    network = make(name).double()
    x = picture(network).double()
    wanted = answers(network, x)
    common = run_line(network, "common")
    for format_name in formats:
        made = run_line(common, "format", format_name)
        for got, want in zip(answers(made, x), wanted, strict=True):
            assert difference(got, want) <= TOLERANCE
        left = {type(module) for module in made.modules()}
        assert not left & {WindowAttend, DeformableAttention, nn.AdaptiveAvgPool2d}
        assert Attend not in left or format_name == "executorch"  # spelled in the program
        if format_name == "executorch":
            assert Thirds not in left
            # Every norm's scale and shift is in the layer that reads it.
            assert not [key for key in made.state_dict() if "_norm." in key]


def test_running_the_line_again_changes_nothing():
    network = rewritten(make("det"), "executorch")
    reports = []
    again = run_line(network, "common", report=reports.append)
    run_line(again, "format", "executorch", report=reports.append)
    assert reports == []


# ONNX and Core ML have a sampling of their own. In the others one network has both forms, rows of
# three levels and products of one; it stands for those of one form, which take long.
@pytest.mark.parametrize(
    ("format_name", "sampling"),
    [
        *((name, "rows and products") for name in FORMATS),
        *(
            pytest.param(name, sampling, marks=pytest.mark.full)
            for name in ("executorch", "litert")
            for sampling in ("products", "rows")
        ),
    ],
)
def test_every_format(format_name, sampling, tmp_path, monkeypatch):
    monkeypatch.setattr(dense_sampling, "SMALL", SAMPLINGS[sampling])
    network = make_to_lower() if sampling == "rows and products" else make("one interaction")
    x = picture(network)
    path = tmp_path / f"model{FORMATS[format_name].suffix}"
    names = Names(("image",), network.output_names)
    lean = rewritten(network, format_name)
    kinds = [type(module) for module in lean.modules()]
    gathered, products = kinds.count(GatheredAttention), kinds.count(DenseAttention)
    if format_name in ("executorch", "litert"):
        both = {"rows": (2, 0), "products": (0, 2), "rows and products": (1, 1)}
        assert (gathered, products) == both[sampling]
    artifact = lower(lean, (x,), format_name, FP32, path, names)
    case = Case("random", (x.numpy(),), tuple(answers(network, x)))
    found = check_parity(artifact, [case], Bounds.of("fp32", False, None, None))
    assert found.status == ("not verified" if format_name == "coreml" else "executed")
    report = reader(FORMATS[format_name]).read(path)
    if format_name == "executorch":
        # A gathering cuts the graph in two; all that is not gathering is in the delegate.
        assert report.delegated_subgraphs == 1 + gathered
        left = {entry.op for entry in report.left_out}
        outside = {"aten::embedding.out", "dim_order_ops::_to_dim_order_copy.out"}
        assert left == (outside if gathered else set())
        assert all(entry.reason for entry in report.left_out)
    if format_name == "coreml":
        assert int(report.facts["highest rank"]) <= 5
