"""`edgevit quantize`: measurement files, and the plot of one small network."""

import numpy as np
import pytest

from edgevit.deployment.sensitivity import read_costs, sensitivity_of
from edgevit.errors import UsageError
from edgevit.networks.parts.layers import Network
from edgevit.quantize.blocks import Block
from edgevit.quantize.plot import FLOAT_SQNR, SIZE, plot
from edgevit.quantize.sensitivity import Point, Row, Sensitivity
from edgevit.request.spec import DeploySpec, Evaluate, Quantize

FOUND = Sensitivity(
    "top-1",
    0.8,
    (
        Row(Block("head", ("head",), 10), 31.0, 0.7),
        Row(Block("blocks.0", ("blocks.0.fc1", "blocks.0.fc2"), 90), 25.0, 0.6),
    ),
    (
        Point((), 0.45, 24.0, 0.6, True),
        Point(("blocks.0",), 0.945, 31.0, 0.7, True),
        Point(("blocks.0", "head"), 1.0, 130.0, 0.8, False),
    ),
    measured_costs=False,
)


def test_the_plot_shows_the_mixtures_and_leaves_the_float_network_out():
    drawn = plot(FOUND, "a network")
    assert drawn.size == SIZE
    pixels = np.asarray(drawn)
    blue = (pixels == np.array([52, 120, 246])).all(-1)
    assert blue.sum() > 100
    assert FOUND.points[-1].sqnr > FLOAT_SQNR
    # Without the last point the first two span the axes: one dot at the left, one at the right.
    columns = np.flatnonzero(blue.any(axis=0))
    assert columns.min() < SIZE[0] * 0.2
    assert columns.max() > SIZE[0] * 0.8


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "does not hold milliseconds by block"),
        ('{"a": "1"}', "does not hold milliseconds by block"),
        ('{"a": true}', "does not hold milliseconds by block"),
        ('{"a": -1}', "does not hold milliseconds by block"),
        ('{"a": NaN}', "does not hold milliseconds by block"),
        (" " * (1 << 20) + "{}", "is larger than"),
    ],
    ids=["empty", "deep", "list", "text", "bool", "negative", "nan", "large"],
)
def test_a_measurement_file_that_is_none_is_refused(content, sentence, tmp_path):
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=sentence):
        read_costs(path)


def test_a_measurement_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        read_costs(tmp_path / "none.json")


def test_a_network_is_studied_as_deploy_would_make_it(tmp_path, monkeypatch):
    """The edited network after the common passes is what is made integer; nothing is written."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def study(network, common, subject, samples, data, scheme, saved, progress):
        assert isinstance(network, Network)
        seen.append((len(samples), len(data), subject.task, saved, scheme.floats))
        return FOUND

    monkeypatch.setattr("edgevit.deployment.sensitivity.measure_sensitivity", study)
    (tmp_path / "costs.json").write_text('{"head": 1.5}')
    spec = DeploySpec(
        "vit-micro",
        tmp_path,
        precision="w8a8",
        quantize=Quantize(samples=2),
        evaluate=Evaluate(samples=3),
    )
    assert sensitivity_of(spec, tmp_path / "costs.json") is FOUND
    ((samples, data, task, saved, floats),) = seen
    assert (samples, data, task, saved) == (2, 3, "classification", {"head": 1.5})
    assert "*patch_embed*" in floats
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]
