"""Calibration samples: where they come from, that they stream, and what is refused."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from edgevit.data import scenes
from edgevit.errors import PictureError, UsageError
from edgevit.quantize import calibration as module
from edgevit.quantize.calibration import MOST, SCENES, calibration
from edgevit.tasks.preprocessing import Preprocessing, preprocess
from edgevit.tasks.task import Subject

PHOTO = Preprocessing((64, 64), (120.0, 110.0, 100.0), (58.0, 57.0, 56.0))
PERSON = Preprocessing((64, 48), (120.0, 110.0, 100.0), (58.0, 57.0, 56.0), fit="box")
CLIP = Preprocessing((64, 64), (120.0,) * 3, (58.0,) * 3, frames=4)
SUBJECTS = {
    "segmentation": Subject("segmentation", (), PHOTO),
    "classification": Subject("classification", (), PHOTO),
    "features": Subject("features", (), PHOTO),
    "pose": Subject("pose", (), PERSON),
    "video": Subject("video", (), CLIP),
}


def noise(path, seed=0, size=(40, 50)):
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return values


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for number in range(12):
        noise(root / f"class {number % 3}" / f"{number}.png", number)
    return root


@pytest.mark.parametrize("task", SUBJECTS)
def test_drawn_samples_are_inputs_of_the_task(task):
    subject = SUBJECTS[task]
    found = calibration(SCENES, 3, subject)
    arrays = [value.numpy() for value in found]
    assert len(found) == len(arrays) == 3
    expected = (1, 3, *subject.preprocessing.input_size)
    assert all(array.shape == expected and array.dtype == np.float32 for array in arrays)
    # Read again they are the same, and the hashes are theirs.
    assert [hashlib.sha256(a.tobytes()).hexdigest() for a in arrays] == list(found.hashes)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(arrays, found, strict=True))
    assert found.name == "drawn scenes from 1100000 on"
    assert "Calibrated on 3 drawn scenes" in found.remarks[0]
    assert found.rest is None


def test_the_first_scene_is_the_first_calibration_seed():
    (first,) = calibration(SCENES, 1, SUBJECTS["segmentation"])
    drawn = scenes.scene(scenes.CALIBRATION_SEEDS[0], 64, 64)
    assert np.array_equal(first.numpy(), preprocess(drawn.image, PHOTO).tensor)


def test_no_other_seed_is_drawn(monkeypatch):
    seen = []
    draw = scenes.scene
    monkeypatch.setattr(scenes, "scene", lambda seed, *size: seen.append(seed) or draw(seed, *size))
    calibration(SCENES, 5, SUBJECTS["pose"])
    assert seen
    assert set(seen) <= set(scenes.CALIBRATION_SEEDS)


def test_pictures_at_any_depth_are_taken_some_of_every_class(folder):
    found = calibration(folder, 6, SUBJECTS["classification"])
    assert len(found) == 6
    assert found.name.startswith("photos (")
    assert len(found.rest) == 6
    names = {sample.name for sample in found.rest}
    assert len(names) == 6
    every = calibration(folder, 12, SUBJECTS["classification"])
    assert set(found.hashes) < set(every.hashes)
    assert found.hashes == every.hashes[:6]
    assert len(every.rest) == 0


def test_a_person_is_the_whole_picture(folder):
    found = calibration(folder, 2, SUBJECTS["pose"])
    assert [tuple(value.shape) for value in found] == [(1, 3, 64, 48)] * 2


def test_fewer_pictures_than_asked_are_told(folder):
    found = calibration(folder, 64, SUBJECTS["features"])
    assert len(found) == 12
    assert found.remarks == ("The calibration folder holds 12 inputs where 64 were asked for",)


def test_one_picture_is_told(tmp_path):
    noise(tmp_path / "one" / "a.png")
    found = calibration(tmp_path / "one", 1, SUBJECTS["features"])
    assert found.remarks == (
        "Calibrated on 1, which is few: what goes beyond their ranges is clipped",
    )


def test_flat_pictures_and_copies_are_told(folder):
    Image.new("RGB", (30, 30), "red").save(folder / "flat.png")
    noise(folder / "copy.png", 3)
    found = calibration(folder, 64, SUBJECTS["features"])
    assert "1 of the 14 calibration pictures are flat, of one color" in found.remarks
    assert "1 of the 14 calibration pictures are copies of others" in found.remarks


def test_flat_pictures_alone_are_refused(tmp_path):
    for number, color in enumerate(("red", "blue")):
        Image.new("RGB", (30, 30), color).save(tmp_path / f"{number}.png")
    with pytest.raises(UsageError, match="pictures are flat, all 2 of one color each") as caught:
        calibration(tmp_path, 64, SUBJECTS["features"])
    assert "--calibration-data" in caught.value.next


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match="holds no pictures"):
        calibration(tmp_path, 4, SUBJECTS["features"])
    with pytest.raises(UsageError, match="holds no videos"):
        calibration(tmp_path, 4, SUBJECTS["video"])
    with pytest.raises(UsageError, match="does not exist"):
        calibration(tmp_path / "none", 4, SUBJECTS["features"])


def test_a_broken_picture_is_named(folder):
    (folder / "class 0" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    with pytest.raises(PictureError, match=r"0\.png"):
        calibration(folder, 64, SUBJECTS["features"])


@pytest.mark.parametrize("count", [0, -1, MOST + 1])
def test_counts_outside_are_refused(count):
    with pytest.raises(UsageError, match="Calibration takes 1 to 512 samples"):
        calibration(SCENES, count, SUBJECTS["features"])


def test_a_link_out_of_the_folder_is_not_read(folder, tmp_path):
    noise(tmp_path / "secret.png", 99)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UsageError, match="points outside"):
        calibration(folder, 64, SUBJECTS["features"])


def test_hidden_files_are_passed_over(folder):
    noise(folder / ".hidden" / "a.png", 50)
    noise(folder / ".b.png", 51)
    assert len(calibration(folder, 64, SUBJECTS["features"])) == 12


def test_one_sample_is_held_at_a_time(folder, monkeypatch):
    opened = []
    read = module.open_picture
    monkeypatch.setattr(module, "open_picture", lambda path: opened.append(path) or read(path))
    found = calibration(folder, 12, SUBJECTS["features"])
    opened.clear()
    iterator = iter(found)
    next(iterator)
    assert len(opened) == 1
    next(iterator)
    assert len(opened) == 2


def test_the_first_of_them_are_a_source_too(folder):
    found = calibration(folder, 6, SUBJECTS["features"])
    fewer = found.first(2)
    assert (len(fewer), fewer.hashes) == (2, found.hashes[:2])
    for _ in range(2):  # read again
        assert [a.shape for a in fewer] == [(1, 3, 64, 64)] * 2
    assert len(found.first(99)) == 6


def test_progress_counts_every_sample(folder):
    told = []
    calibration(folder, 5, SUBJECTS["features"], lambda done, total: told.append((done, total)))
    assert told == [(number, 5) for number in range(1, 6)]
