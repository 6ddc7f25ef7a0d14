"""Blocks, what each loses, and which mixtures are worth their cost."""

import pytest
import torch
from torch import nn

from edgevit.errors import UsageError
from edgevit.networks.parts.layers import Network
from edgevit.quantize.blocks import block_of, blocks_of
from edgevit.quantize.calibration import SCENES, calibration
from edgevit.quantize.mixtures import choose_mixture
from edgevit.quantize.sensitivity import Point, measure_sensitivity, pareto
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.task import Subject
from edgevit_export.scheme import Scheme

SPEC = Preprocessing((64, 64), (120.0, 110.0, 100.0), (58.0, 57.0, 56.0))
SUBJECT = Subject("features", (), SPEC)


@pytest.mark.parametrize(
    ("path", "block"),
    [
        ("blocks.3.mlp.fc1", "blocks.3.mlp"),
        ("blocks.11.attn.qkv.q", "blocks.11.attn"),
        ("backbone.tpm.layer2.conv.0.c", "backbone.tpm.layer2"),
        ("backbone.SIM.1.global_act.conv", "backbone.SIM.1"),
        ("decode_head.conv_seg", "decode_head.conv_seg"),
        ("head", "head"),
    ],
)
def test_a_block_is_the_path_up_to_its_first_number(path, block):
    assert block_of(path) == block


class Uneven(Network):
    """A good block, and one whose channels differ a thousandfold before they are added up."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.good1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bad2 = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
        with torch.no_grad():
            self.bad2[0].weight[0] *= 1000
            self.bad2[2].weight[:, 0] /= 1000
        self.last3 = nn.Conv2d(4, 4, 1)
        self.input_shape, self.output_names = (1, 3, 64, 64), ("map",)

    def forward(self, x):
        return self.last3(self.bad2(self.good1(x)))


@pytest.fixture(scope="module")
def found():
    network = Uneven().eval()
    samples = calibration(SCENES, 4, SUBJECT)
    return measure_sensitivity(network, network, SUBJECT, samples, None, Scheme("mixed"))


def test_the_block_that_loses_is_found(found):
    rows = {row.block.name: row for row in found.rows}
    assert set(rows) == {"good1", "bad2", "last3"}
    assert rows["bad2"].sqnr < rows["good1"].sqnr - 10
    assert rows["bad2"].sqnr < rows["last3"].sqnr - 10


def test_macs_are_those_of_the_layers(found):
    assert {row.block.name: row.block.macs for row in found.rows} == {
        "good1": 64 * 64 * 8 * 27,
        "bad2": 64 * 64 * (8 * 8 + 4 * 8),
        "last3": 64 * 64 * 4 * 4,
    }


def test_mixtures_go_from_all_integer_to_all_float(found):
    assert [len(point.floats) for point in found.points] == [0, 1, 2, 3]
    assert found.points[0].cost < found.points[-1].cost == pytest.approx(1)
    assert found.points[-1].sqnr > 100
    assert found.points[1].floats in {("bad2",), ("last3",)}
    assert found.patterns(found.points[-1]).count("bad2") == 1


def chosen(keeps):
    network = Uneven().eval()
    samples = calibration(SCENES, 4, SUBJECT)
    return choose_mixture(network, network, SUBJECT, samples, None, Scheme("mixed"), keeps)


def test_the_fewest_float_blocks_that_keep_what_is_asked(found):
    by_count = {len(point.floats): point for point in found.points}
    for count in (1, 2):
        bound = by_count[count].sqnr - 0.01
        mixture = chosen(lambda sqnr, _, bound=bound: sqnr >= bound)
        fewest = min(n for n in (1, 2) if by_count[n].sqnr >= bound)
        assert mixture.floats == by_count[fewest].floats
        assert mixture.sqnr == pytest.approx(by_count[fewest].sqnr)
        assert mixture.patterns == tuple(
            pattern
            for row in found.rows
            if row.block.name in mixture.floats
            for pattern in row.block.patterns
        )
    assert chosen(lambda sqnr, _: sqnr > 1000) is None


def test_points_that_another_beats_are_not_of_the_pareto_set():
    points = [
        Point((), 0.4, 20.0, 0.9),
        Point(("a",), 0.5, 19.0, 0.8),  # costs more and is worse
        Point(("a", "b"), 0.6, 30.0, 0.95),
        Point(("a", "b", "c"), 1.0, 30.0, 0.95),  # costs more and is no better
    ]
    assert [point.best for point in pareto(points)] == [True, False, True, False]


def test_measured_costs_take_the_place_of_macs():
    network = Uneven().eval()
    samples = calibration(SCENES, 2, SUBJECT)
    costs = {"good1": 1.0, "bad2": 3.0}
    found = measure_sensitivity(network, network, SUBJECT, samples, None, Scheme("mixed"), costs)
    assert found.measured_costs
    only = next(point for point in found.points if len(point.floats) == 1)
    share = {"good1": 0.25, "bad2": 0.75, "last3": 0.0}[only.floats[0]]
    assert only.cost == pytest.approx(1 - (1 - share) * 0.55)
    with pytest.raises(UsageError, match="'nowhere' is no block of this network"):
        measure_sensitivity(
            network, network, SUBJECT, samples, None, Scheme("mixed"), {"nowhere": 1.0}
        )


def test_layers_used_twice_count_twice():
    class Layer:
        def __init__(self, path, macs):
            self.path, self.macs, self.switches = path, macs, ()

    (block,) = blocks_of([Layer("head", 5), Layer("head", 5)])
    assert (block.layers, block.macs) == (("head",), 10)
