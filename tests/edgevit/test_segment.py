"""run: overlay, mask and shares beside each other, or nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from edgevit.data import scenes
from edgevit.deployment import GOLDEN_SEED
from edgevit.errors import PictureError, UsageError
from edgevit.segment import Segmented, segment_pictures


@pytest.fixture
def pictures(tmp_path):
    """Three photos of different sizes and kinds."""
    paths = []
    for index, (name, mode) in enumerate((("a.png", "RGB"), ("b.jpg", "L"), ("c.d.png", "RGBA"))):
        photo = scenes.scene(GOLDEN_SEED + index, 70 + 10 * index, 90).image
        path = tmp_path / name
        Image.fromarray(photo).convert(mode).save(path)
        paths.append(path)
    return paths


def test_what_is_written(host_bundle, pictures, tmp_path):
    said = []
    out = tmp_path / "deep" / "out"
    found = segment_pictures(host_bundle.path, pictures, out, "onnx", done=said.append)
    assert [result.picture for result in found] == pictures
    names = {f"{stem}.{kind}" for stem in ("a", "b", "c.d") for kind in ("overlay.png", "json")}
    assert {p.name for p in out.iterdir()} == names | {f"{s}.mask.png" for s in ("a", "b", "c.d")}
    for result, picture in zip(found, pictures, strict=True):
        wanted = host_bundle.run(picture, format="onnx")
        with Image.open(result.mask) as image:
            assert image.mode == "L"
            assert np.array_equal(np.array(image), wanted.mask)
        with Image.open(result.overlay) as image:
            assert image.size[0] >= wanted.photo.shape[1]
            assert image.mode == "RGB"
        written = json.loads((out / f"{picture.stem}.json").read_text())
        assert written == result.as_json()
        assert sum(written["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert len(said) == 3
    assert said[0].startswith("segmented a.png with model.onnx: ")


def test_a_broken_picture_stops_before_anything_is_written(host_bundle, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    out = tmp_path / "out"
    with pytest.raises(PictureError):
        segment_pictures(host_bundle.path, [*pictures, broken], out)
    assert not out.exists()


def test_two_pictures_of_one_name_are_refused(host_bundle, pictures, tmp_path):
    twin = tmp_path / "elsewhere" / "a.jpg"
    twin.parent.mkdir()
    Image.new("RGB", (80, 80)).save(twin)
    with pytest.raises(UsageError, match="overwrite each other"):
        segment_pictures(host_bundle.path, [pictures[0], twin], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_directory_is_refused(host_bundle, pictures, tmp_path):
    place = tmp_path / "out"
    place.write_text("mine")
    with pytest.raises(UsageError, match="is a file, not a directory"):
        segment_pictures(host_bundle.path, pictures, place)
    assert place.read_text() == "mine"


def test_the_table_shows_the_three_largest_classes(tmp_path):
    shares = {"sky": 0.5, "road": 0.25, "tree": 0.2, "car": 0.05}
    result = Segmented(tmp_path, tmp_path, tmp_path, shares)
    assert result.top == "sky 50.0%, road 25.0%, tree 20.0%"
