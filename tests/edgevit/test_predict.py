"""Photos through each file: the same mask, exact, at the network's size and at the photo's."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from edgevit.bundle import Bundle
from edgevit.data import scenes
from edgevit.deployment import GOLDEN_SEED
from edgevit.errors import CheckFailed, PictureError, UsageError
from edgevit.ports import from_file, to_file
from edgevit.predict import Predictor, open_predictor
from edgevit.tasks.segmentation import preprocess, restore_mask
from edgevit_runtimes.engines import open_session

HERE = ("onnx", "executorch", "litert")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def photo():
    """A held-out scene, larger than the network and of another shape."""
    return scenes.scene(GOLDEN_SEED, 150, 200).image


def logits_of(bundle: Bundle, format_: str, photo) -> torch.Tensor:
    file = bundle.entry(format_)
    with open_session(bundle.path / file.path) as session:
        tensor = preprocess(photo, bundle.manifest.preprocessing).tensor
        output = session.run(to_file(tensor, file.inputs[0]))[0]
    return torch.from_numpy(from_file(output, file.outputs[0]))


def up(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def test_every_runtime_gives_the_same_mask(host_bundle):
    golden = host_bundle.path / "golden" / "picture.png"
    found = [host_bundle.run(golden, format=name) for name in HERE]
    assert len(np.unique(found[0].network_mask)) > 1
    for other in found[1:]:
        assert np.array_equal(other.network_mask, found[0].network_mask)
        assert np.array_equal(other.mask, found[0].mask)
        assert other.shares == found[0].shares


@pytest.mark.parametrize("format_", HERE)
def test_the_mask_is_upsample_then_argmax(format_, host_bundle, photo):
    found = host_bundle.run(photo, format=format_)
    wanted = up(logits_of(host_bundle, format_, photo), SIZE).argmax(1)[0].numpy()
    assert found.network_mask.shape == SIZE
    assert (found.network_mask == wanted).mean() >= 0.9999
    rows, columns = ((np.arange(n) * 2 + 1) * 64 // (2 * n) for n in photo.shape[:2])
    assert np.array_equal(found.mask, found.network_mask[rows][:, columns])


def test_official_resize_is_two_resizes_then_argmax(host_bundle, photo):
    with open_predictor(host_bundle, "onnx", official=True) as predictor:
        found = predictor.predict(photo)
    logits = logits_of(host_bundle, "onnx", photo)
    wanted = up(up(logits, SIZE), photo.shape[:2]).argmax(1)[0].numpy()
    assert found.mask.shape == photo.shape[:2]
    assert (found.mask == wanted).mean() >= 0.9999


def test_official_resize_differs_from_the_default_only_along_borders(host_bundle, photo):
    default = host_bundle.run(photo, format="onnx")
    with open_predictor(host_bundle, "onnx", official=True) as predictor:
        official = predictor.predict(photo)
    assert np.array_equal(official.network_mask, default.network_mask)
    differs = official.mask != default.mask
    # Where no other class is near in the network's mask, the order of the resizes changes nothing.
    tight = default.network_mask
    padded = np.pad(tight, 1, mode="edge")
    near = np.stack([padded[i : i + 64, j : j + 64] for i in range(3) for j in range(3)])
    border = (near != tight).any(0).astype(np.uint8)
    prepared = preprocess(photo, host_bundle.manifest.preprocessing)
    assert not (differs & (restore_mask(border, prepared) == 0)).any()
    assert differs.mean() < 0.2


def test_shares_are_of_the_photo(host_bundle, photo):
    found = host_bundle.run(photo)
    assert sum(found.shares.values()) == pytest.approx(1)
    for index, name in enumerate(host_bundle.manifest.labels):
        assert found.shares.get(name, 0) == pytest.approx(float((found.mask == index).mean()))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_pictures_of_every_kind(mode, host_bundle, photo, tmp_path):
    image = Image.fromarray(photo)
    if mode == "I;16":
        image = Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
    elif mode == "LA":
        image = image.convert("L").convert("LA")
    else:
        image = image.convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path)
    found = host_bundle.run(path, format="onnx")
    assert found.mask.shape == photo.shape[:2]
    assert found.photo.shape == photo.shape


def test_a_picture_that_cannot_be_read(host_bundle, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no picture")
    with pytest.raises(PictureError):
        host_bundle.run(path)


def test_the_file_is_checked_before_it_is_opened(bundle_copy, photo):
    bundle = bundle_copy()
    path = bundle.path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckFailed, match="its hash differs"), open_predictor(bundle, "onnx"):
        raise AssertionError("opened")


def changed(bundle: Bundle, **changes: object) -> Bundle:
    return Bundle(bundle.path, replace(bundle.manifest, **changes))


@pytest.mark.parametrize("task", ["classification", "features"])
def test_other_tasks_are_not_drawn(task, host_bundle):
    bundle = changed(host_bundle, task=task)
    with pytest.raises(UsageError, match=f"task is {task}") as caught, open_predictor(bundle):
        raise AssertionError("opened")
    assert caught.value.next == f"edgevit verify {bundle.path}"


def test_official_resize_needs_logits(host_bundle):
    bundle = changed(host_bundle, output="mask")
    with (
        pytest.raises(UsageError, match="--official-resize needs logits"),
        open_predictor(bundle, official=True),
    ):
        raise AssertionError("opened")


def predictor_of(bundle: Bundle, output: np.ndarray) -> Predictor:
    """A predictor whose runtime returns this."""
    session = SimpleNamespace(run=lambda *_: [output])
    return Predictor(bundle, bundle.entry("onnx"), session, False)


def test_values_that_are_not_finite_are_no_mask(host_bundle, photo):
    logits = np.zeros((1, len(host_bundle.manifest.labels), 8, 8), np.float32)
    logits[0, 0, 3, 3] = np.nan
    with pytest.raises(CheckFailed, match="not finite") as caught:
        predictor_of(host_bundle, logits).predict(photo)
    assert caught.value.next == f"edgevit verify {host_bundle.path}"


@pytest.mark.parametrize("past", [-1, 0, 255, 70_000])
def test_labels_that_no_class_has_are_no_mask(past, host_bundle, photo):
    count = len(host_bundle.manifest.labels)
    mask = np.zeros((1, *SIZE), np.int32)
    mask[0, 5, 5] = past if past < 0 else count + past
    with pytest.raises(CheckFailed, match=f"labels outside its {count} classes"):
        predictor_of(host_bundle, mask).predict(photo)


def test_a_mask_from_the_file_is_kept_as_logits_are(host_bundle, photo):
    wanted = host_bundle.run(photo, format="onnx")
    mask = wanted.network_mask.astype(np.int32)[None]
    found = predictor_of(host_bundle, mask).predict(photo)
    assert found.network_mask.dtype == wanted.network_mask.dtype == np.uint8
    assert np.array_equal(found.mask, wanted.mask)
    assert found.shares == wanted.shares


def test_the_session_is_closed(host_bundle, photo):
    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(open_predictor(host_bundle, "onnx"))
        predictor.predict(photo)
    with pytest.raises(Exception, match="was closed"):
        predictor.predict(photo)
