"""ADE20K's layout: what numbers mean, and masks that are none."""

import numpy as np
import pytest
from PIL import Image

from edgevit.errors import PictureError, UsageError
from edgevit.evaluation.data.datasets import open_data
from edgevit.evaluation.data.mask_folders import mask_folders, open_mask, zero_label_of

NUMBERS = np.array([[0, 1, 2], [3, 255, 0]], np.uint8)


def write_mask(path, values=NUMBERS, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.frombytes("P", image.size, values.tobytes())
        image.putpalette([(7 * i) % 256 for i in range(768)])
    image.save(path)
    return path


@pytest.fixture(params=["", "validation"])
def folder(request, tmp_path, paint):
    for index in range(3):
        paint(tmp_path / "images" / request.param / f"{index}.jpg", "red", (3, 2))
        write_mask(tmp_path / "annotations" / request.param / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("zero", "classes", "want"),
    [
        ("ignore", 3, [[-1, 0, 1], [2, -1, -1]]),
        ("keep", 4, [[0, 1, 2], [3, -1, 0]]),
    ],
)
@pytest.mark.parametrize("mode", [None, "P"])
def test_what_numbers_mean(tmp_path, zero, classes, want, mode):
    path = write_mask(tmp_path / "m.png", mode=mode)
    assert open_mask(path, classes, zero).tolist() == want


def test_masks_of_sixteen_bits(tmp_path):
    path = write_mask(tmp_path / "m.png", np.array([[0, 300], [255, 299]], np.uint16))
    assert open_mask(path, 301, "keep").tolist() == [[0, 300], [-1, 299]]
    assert open_mask(path, 300, "ignore").tolist() == [[-1, 299], [-1, 298]]


@pytest.mark.parametrize(
    ("zero", "classes", "told", "other"),
    [("keep", 3, "the number 3", "ignore"), ("ignore", 2, "the number 3", "keep")],
)
def test_a_number_of_no_class_names_the_other_rule(tmp_path, zero, classes, told, other):
    path = write_mask(tmp_path / "m.png")
    with pytest.raises(PictureError, match=told) as refused:
        open_mask(path, classes, zero)
    assert refused.value.next.startswith(f"--zero-label {other}")


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        (("wall", *(f"c{i}" for i in range(149))), "ignore"),
        (("sky", *(f"c{i}" for i in range(149))), "keep"),
        (("wall", "floor"), "keep"),
    ],
)
def test_ade20ks_labels_ignore_zero(labels, rule):
    assert zero_label_of(labels) == rule


def test_the_layout_is_read(folder, subjects):
    data = open_data(folder, subjects["segmentation"], "m", "ignore")
    assert (data.metric, len(data)) == ("mIoU", 3)
    assert "--zero-label ignore" in data.note
    sample = data.open(0)
    assert sample.mask.shape == (2, 3)
    assert sample.mask.max() == 2
    kept = open_data(folder, subjects["segmentation"], "m")
    assert "--zero-label keep" in kept.note
    assert kept.identity != data.identity
    with pytest.raises(PictureError, match="holds the number 3"):
        kept.open(0)


def test_a_photo_without_a_mask_is_named(folder, subjects, paint):
    place = next(folder.glob("images/**/0.jpg")).parent
    paint(place / "lone.jpg", "red")
    with pytest.raises(UsageError, match=r"lone\.jpg has no mask"):
        mask_folders(folder, subjects["segmentation"])


def test_a_mask_of_another_size_is_named(folder, subjects):
    path = next(folder.glob("annotations/**/1.png"))
    write_mask(path, np.zeros((3, 2), np.uint8))
    with pytest.raises(PictureError, match=r"1\.png is 2 x 3, its photo 1\.jpg 3 x 2"):
        list(mask_folders(folder, subjects["segmentation"], "ignore"))


def broken(path):
    path.write_bytes(path.read_bytes()[:40])


def jpeg(path):
    Image.new("L", (3, 2)).save(path, format="JPEG")


def colored(path):
    Image.new("RGB", (3, 2)).save(path)


@pytest.mark.parametrize(
    ("harm", "why"),
    [(broken, "is no readable PNG"), (jpeg, "is no readable PNG"), (colored, "holds colors")],
)
def test_what_is_no_mask_is_named(folder, subjects, harm, why):
    path = next(folder.glob("annotations/**/2.png"))
    harm(path)
    with pytest.raises(PictureError, match=rf"2\.png {why}"):
        list(mask_folders(folder, subjects["segmentation"], "ignore"))


def test_a_huge_mask_is_refused_from_its_header(tmp_path):
    path = tmp_path / "m.png"
    Image.new("1", (9000, 9000)).save(path)
    with pytest.raises(PictureError, match="more than 64000000 pixels"):
        open_mask(path, 3, "keep")


def test_masks_that_lead_out_are_not_opened(folder, subjects, tmp_path_factory):
    outside = write_mask(tmp_path_factory.mktemp("outside") / "m.png")
    path = next(folder.glob("annotations/**/1.png"))
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(UsageError, match="points outside"):
        mask_folders(folder, subjects["segmentation"])


def test_no_photos_is_an_error(tmp_path, subjects):
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    with pytest.raises(UsageError, match="images holds no pictures"):
        open_data(tmp_path, subjects["segmentation"], "m")
