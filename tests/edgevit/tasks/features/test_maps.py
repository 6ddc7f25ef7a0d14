"""Feature maps: norms by hand, and principal components against numpy's SVD."""

import json

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.tasks.features.maps import GRAY, feature_map, pca_picture
from edgevit.tasks.features.task import Features


def test_shape_and_norm_by_hand() -> None:
    values = np.zeros((1, 2, 1, 2), np.float32)
    values[0, :, 0, 0] = (3, 4)  # of length 5; the other place has 0
    found = feature_map("p2", values)
    assert found.shape == (2, 1, 2)
    assert found.mean_norm == 2.5
    assert json.loads(json.dumps(found.to_json())) == {"shape": [2, 1, 2], "mean_norm": 2.5}


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 4, 4), (1, 3, 0, 4)])
def test_what_is_no_map_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="p2 is"):
        feature_map("p2", np.zeros(shape, np.float32))


def test_a_name_as_long_as_a_manifest_does_not_widen_the_drawing() -> None:
    seen = np.zeros((4, 4, 3), np.uint8)
    sizes = [
        Features(seen, (feature_map(name, np.ones((1, 1, 2, 2), np.float32)),))
        .drawings()["features"]
        .size
        for name in ("m" * 32, "m" * 100_000)
    ]
    assert sizes[1][0] <= sizes[0][0] + 16
    assert sizes[1][1] == sizes[0][1]


def test_components_are_those_of_the_svd() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([9, 5, 3, 1, 1, 1])[:, None, None]
    values = (rng.normal(0, 1, (6, 12, 10)) * scale).astype(np.float32)
    picture = pca_picture(values)
    assert picture.shape == (12, 10, 3)
    assert picture.dtype == np.uint8
    points = values.reshape(6, -1).T.astype(np.float64)
    points -= points.mean(0)
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    for channel in range(3):
        axis = axes[channel] * np.sign(axes[channel][np.abs(axes[channel]).argmax()])
        projected = points @ axis
        low, high = np.percentile(projected, (1, 99))
        want = np.rint(np.clip((projected - low) / (high - low), 0, 1) * 255)
        assert np.abs(picture[..., channel].ravel() - want).max() <= 1


def test_the_sign_does_not_depend_on_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(0, 1, (5, 8, 8)).astype(np.float32)
    usual = pca_picture(values)
    solve = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: (solve(a)[0], -solve(a)[1]))
    assert np.array_equal(pca_picture(values), usual)


def test_what_does_not_vary_is_gray() -> None:
    assert (pca_picture(np.full((4, 3, 3), 7.0, np.float32)) == GRAY).all()
    ramp = np.zeros((4, 1, 5), np.float32)
    ramp[2, 0] = range(5)
    picture = pca_picture(ramp)
    assert picture[0, :, 0].tolist() == sorted(picture[0, :, 0].tolist())
    assert (picture[..., 1:] == GRAY).all()


def test_fewer_channels_than_colors() -> None:
    picture = pca_picture(np.random.default_rng(0).normal(0, 1, (1, 4, 4)).astype(np.float32))
    assert np.ptp(picture[..., 0]) == 255
    assert (picture[..., 1:] == GRAY).all()
