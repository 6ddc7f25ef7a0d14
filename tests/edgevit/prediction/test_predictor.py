"""Photos through each file: the same mask, exact; and each other task from photo to result."""

import contextlib
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from edgevit.bundle.opened import Bundle
from edgevit.bundle.ports import from_file, to_file
from edgevit.data import scenes
from edgevit.deployment.golden import GOLDEN_SEED
from edgevit.errors import CheckFailed, PictureError, UsageError
from edgevit.networks.zoo import preprocessing_of
from edgevit.prediction.predictor import Predictor, open_predictor, predict
from edgevit.prediction.settings import check_settings
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import preprocess, preprocess_clip
from edgevit.tasks.segmentation.masks import restore_mask
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import USUAL, Settings
from edgevit_export.artifact import TensorSpec
from edgevit_runtimes.engines import open_session

VIDEO_SEED = scenes.VIDEO_SEEDS[0]
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
    found = [predict(host_bundle, golden, format=name) for name in HERE]
    assert len(np.unique(found[0].network_mask)) > 1
    for other in found[1:]:
        assert np.array_equal(other.network_mask, found[0].network_mask)
        assert np.array_equal(other.mask, found[0].mask)
        assert other.shares == found[0].shares


@pytest.mark.parametrize("format_", HERE)
def test_the_mask_is_upsample_then_argmax(format_, host_bundle, photo):
    found = predict(host_bundle, photo, format=format_)
    wanted = up(logits_of(host_bundle, format_, photo), SIZE).argmax(1)[0].numpy()
    assert found.network_mask.shape == SIZE
    assert (found.network_mask == wanted).mean() >= 0.9999
    rows, columns = ((np.arange(n) * 2 + 1) * 64 // (2 * n) for n in photo.shape[:2])
    assert np.array_equal(found.mask, found.network_mask[rows][:, columns])


def test_official_resize_is_two_resizes_then_argmax(host_bundle, photo):
    with open_predictor(host_bundle, "onnx", Settings(official_resize=True)) as predictor:
        found = predictor.predict(photo)
    logits = logits_of(host_bundle, "onnx", photo)
    wanted = up(up(logits, SIZE), photo.shape[:2]).argmax(1)[0].numpy()
    assert found.mask.shape == photo.shape[:2]
    assert (found.mask == wanted).mean() >= 0.9999


def test_official_resize_differs_from_the_default_only_along_borders(host_bundle, photo):
    default = predict(host_bundle, photo, format="onnx")
    with open_predictor(host_bundle, "onnx", Settings(official_resize=True)) as predictor:
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
    found = predict(host_bundle, photo)
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
    found = predict(host_bundle, path, format="onnx")
    assert found.mask.shape == photo.shape[:2]
    assert found.photo.shape == photo.shape


def test_a_picture_that_cannot_be_read(host_bundle, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no picture")
    with pytest.raises(PictureError):
        predict(host_bundle, path)


def test_the_file_is_checked_before_it_is_opened(bundle_copy, photo):
    bundle = bundle_copy()
    path = bundle.path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckFailed, match="its hash differs"), open_predictor(bundle, "onnx"):
        raise AssertionError("opened")


def changed(bundle: Bundle, **changes: object) -> Bundle:
    return Bundle(bundle.path, replace(bundle.manifest, **changes))


def test_official_resize_needs_logits(host_bundle):
    bundle = changed(host_bundle, output="mask")
    with (
        pytest.raises(UsageError, match="--official-resize needs logits"),
        open_predictor(bundle, settings=Settings(official_resize=True)),
    ):
        raise AssertionError("opened")


def predictor_of(bundle: Bundle, *outputs: np.ndarray, settings=USUAL) -> Predictor:
    """A predictor whose runtime returns these, and keeps what it was given."""
    seen: list[np.ndarray] = []

    def run(*arrays):
        seen.extend(arrays)
        return list(outputs)

    session = SimpleNamespace(run=run, seen=seen)
    return Predictor(bundle, bundle.entry("onnx"), session, settings)


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


@pytest.mark.parametrize(
    "shape", [(2, 10, 8, 8), (1, 9, 8, 8), (1, 11, 8, 8), (1, 10, 0, 8), (1, 10), (10, 8, 8), ()]
)
def test_logits_of_other_classes_are_no_mask(shape, host_bundle, photo):
    assert len(host_bundle.manifest.labels) == 10
    with pytest.raises(CheckFailed, match=r"logits of shape .* for 10 classes"):
        predictor_of(host_bundle, np.zeros(shape, np.float32)).predict(photo)


@pytest.mark.parametrize("shape", [(1, 64, 63), (2, 64, 64), (1, 0, 64), (64, 64), ()])
def test_a_mask_of_another_shape_is_refused(shape, host_bundle, photo):
    with pytest.raises(CheckFailed, match=r"a mask of shape .* for an input of 64x64"):
        predictor_of(host_bundle, np.zeros(shape, np.int32)).predict(photo)


def test_outputs_that_the_bundle_does_not_name_are_refused(host_bundle, photo):
    logits = np.zeros((1, 10, 8, 8), np.float32)
    for outputs in ((), (logits, logits)):
        with pytest.raises(CheckFailed, match=f"{len(outputs)} outputs for the 1 it has"):
            predictor_of(host_bundle, *outputs).predict(photo)


def test_a_mask_from_the_file_is_kept_as_logits_are(host_bundle, photo):
    wanted = predict(host_bundle, photo, format="onnx")
    mask = wanted.network_mask.astype(np.int32)[None]
    found = predictor_of(host_bundle, mask).predict(photo)
    assert found.network_mask.dtype == wanted.network_mask.dtype == np.uint8
    assert np.array_equal(found.mask, wanted.mask)
    assert found.shares == wanted.shares


# --- the other tasks, with a runtime that returns what is wanted ---------------------------------


def of_task(bundle: Bundle, task: str, labels: tuple[str, ...], *ports: TensorSpec) -> Bundle:
    """A bundle of another task: its .onnx file returns these outputs."""
    recipe = {
        "classification": "deit",
        "video": "drawn-video",
        "pose": "pose",
        "features": "detection",
    }[task]
    size = (4, 64, 64) if task == "video" else (64, 64)
    file = replace(
        bundle.entry("onnx"),
        inputs=(TensorSpec("image", (1, 3, *size), "float32", "NCHW"),),
        outputs=ports,
    )
    return changed(
        bundle,
        task=task,
        labels=labels,
        input_size=size,
        preprocessing=preprocessing_of(recipe, size),
        files=(file,),
    )


LOGITS = TensorSpec("logits", (1, 3), "float32", "any")
HEATMAPS = TensorSpec("heatmaps", (1, 17, 16, 16), "float32", "NCHW")


@pytest.fixture(scope="module")
def classifier(host_bundle):
    return of_task(host_bundle, "classification", ("cat", "dog", "cow"), LOGITS)


@pytest.fixture(scope="module")
def watcher(host_bundle):
    return of_task(host_bundle, "video", ("still", "left", "right"), LOGITS)


@pytest.fixture(scope="module")
def poser(host_bundle):
    return of_task(host_bundle, "pose", COCO.names, HEATMAPS)


def test_a_classifier_names_its_guesses(classifier, photo):
    logits = np.log(np.array([[0.2, 0.7, 0.1]], np.float32))
    predictor = predictor_of(classifier, logits, settings=Settings(top=2))
    found = predictor.predict(photo)
    assert [guess.name for guess in found.guesses] == ["dog", "cat"]
    assert found.headline == "dog 70.0 %, cat 20.0 %"
    assert np.array_equal(found.logits, logits[0])
    wanted = preprocess(photo, classifier.manifest.preprocessing).tensor
    assert np.array_equal(predictor.session.seen[0], wanted)
    assert found.to_json()["guesses"][0]["name"] == "dog"
    assert found.drawings()["classes"].size[0] >= photo.shape[1]
    assert len(predictor_of(classifier, logits).predict(photo).guesses) == 3


@pytest.mark.parametrize("shape", [(1, 4), (3,), (1, 3, 1, 1), (2, 3)])
def test_logits_of_another_shape_are_refused(shape, classifier, watcher, photo):
    logits = np.zeros(shape, np.float32)
    with pytest.raises(CheckFailed, match="for 3 classes"):
        predictor_of(classifier, logits).predict(photo)
    with pytest.raises(CheckFailed, match="for 3 classes"):
        predictor_of(watcher, logits).predict([photo] * 4)


def test_a_clip_is_sampled_and_classified(watcher, tmp_path):
    frames = list(scenes.clip(VIDEO_SEED, 10, 80, 96).frames)
    logits = np.log(np.array([[0.25, 0.25, 0.5]], np.float32))
    predictor = predictor_of(watcher, logits)
    found = predictor.predict(frames)
    assert found.headline.startswith("right 50.0 %, still 25.0 %")
    assert found.clip.indices == (3, 4, 5, 6)
    wanted = preprocess_clip(frames[3:7], watcher.manifest.preprocessing).tensor
    assert np.array_equal(predictor.session.seen[0], wanted)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    again = predictor.predict(tmp_path)
    assert again.clip.indices == found.clip.indices
    assert np.array_equal(predictor.session.seen[1], wanted)
    told = again.to_json()
    assert told["frames"] == [3, 4, 5, 6]
    assert told["note"].startswith("4 frames, stride 1")
    assert again.drawings()["clip"].size[0] > 300
    spread = predictor_of(watcher, logits, settings=Settings(stride=0)).predict(frames)
    assert spread.clip.indices == (1, 3, 5, 8)


def heatmaps_at(*places):
    """Gaussians around x, y of a map of 16 x 16, one a keypoint; the rest is empty."""
    maps = np.zeros((1, 17, 16, 16), np.float32)
    y, x = np.mgrid[:16, :16]
    for keypoint, (a, b) in enumerate(places):
        maps[0, keypoint] = np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8)
    return maps


def test_poses_are_found_box_by_box(poser, photo):
    boxes = [(10.0, 20.0, 40.0, 40.0), (0.0, 0.0, 100.0, 100.0)]
    predictor = predictor_of(poser, heatmaps_at((7.5, 7.5), (5, 7.5)))
    found = predictor.predict(photo, boxes)
    assert len(predictor.session.seen) == 2
    for pose, (x, y, width, height) in zip(found.poses, boxes, strict=True):
        assert pose.points[0] == pytest.approx((x + width / 2, y + height / 2), abs=0.5)
        # The region is 1.25 times the box, and 15 steps of the heatmap wide.
        assert pose.points[1][0] == pytest.approx(x + width / 2 - 2.5 * 1.25 * width / 15, abs=2)
        assert pose.scores[2] == 0
    assert found.headline == "4 of 34 keypoints in 2 boxes"
    told = found.to_json()["people"]
    assert [row["box"] for row in told] == [list(box) for box in boxes]
    assert told[0]["keypoints"][0]["name"] == "nose"
    assert found.drawings()["pose"].size == (400, 300)  # small photos are drawn twice as large


def test_without_a_box_all_of_the_photo_is_one(poser, photo):
    found = predictor_of(poser, heatmaps_at((7.5, 7.5))).predict(photo)
    assert found.boxes == ((0.0, 0.0, 200.0, 150.0),)
    assert found.poses[0].points[0] == pytest.approx((100, 75), abs=0.5)
    nobody = predictor_of(poser, heatmaps_at()).predict(photo, [])
    assert nobody.headline == "0 of 0 keypoints in 0 boxes"
    assert nobody.to_json() == {"people": []}
    assert nobody.drawings()["pose"].size == (400, 300)


def test_the_flip_test_runs_twice_and_averages(poser, photo):
    maps = heatmaps_at((7.5, 7.5), (3, 7.5), (12, 7.5))  # nose, left and right eye
    predictor = predictor_of(poser, maps, settings=Settings(flip_test=True))
    found = predictor.predict(photo)
    plain, mirrored = predictor.session.seen
    assert np.array_equal(mirrored, plain[..., ::-1])
    # The eyes stand as far from the middle, and change places when mirrored: all stays.
    once = predictor_of(poser, maps).predict(photo)
    assert found.poses[0].points[:3] == pytest.approx(once.poses[0].points[:3], abs=0.01)


def test_the_flip_test_needs_to_know_left_from_right(host_bundle, photo):
    unknown = of_task(host_bundle, "pose", tuple("abcdefghijklmnopq"), HEATMAPS)
    with pytest.raises(UsageError, match="which keypoints are left and right"):
        check_settings(unknown, Settings(flip_test=True))
    points = predictor_of(unknown, heatmaps_at((7.5, 7.5))).predict(photo)
    assert points.to_json()["people"][0]["keypoints"][0]["name"] == "a"


@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (17, 16, 16), (2, 17, 4, 4)])
def test_heatmaps_of_another_shape_are_refused(shape, poser, photo):
    with pytest.raises(CheckFailed, match="for 17 keypoints"):
        predictor_of(poser, np.zeros(shape, np.float32)).predict(photo)


def test_features_are_named_measured_and_drawn(host_bundle, photo):
    ports = [TensorSpec(f"p{i}", (1, 4, 8 // i, 8 // i), "float32", "NCHW") for i in (1, 2)]
    bundle = of_task(host_bundle, "features", (), *ports)
    rng = np.random.default_rng(0)
    maps = [rng.normal(0, 1, port.shape).astype(np.float32) for port in ports]
    found = predictor_of(bundle, *maps).predict(photo)
    assert found.headline == "p1 4x8x8, p2 4x4x4"
    assert [one.name for one in found.maps] == ["p1", "p2"]
    norms = [float(np.linalg.norm(values[0], axis=0).mean()) for values in maps]
    told = found.to_json()["maps"]
    assert [told[name]["mean_norm"] for name in told] == pytest.approx(norms, abs=1e-5)
    assert found.seen.shape == (64, 64, 3)
    assert not (found.seen[:40] == found.seen[0, 0]).all()
    drawn = found.drawings()["features"]
    assert drawn.size[0] > 3 * 200


# --- settings ------------------------------------------------------------------------------------

OTHERS = [
    (name, task)
    for task, entry in TASKS.items()
    for name in ("official_resize", "top", "stride", "flip_test", "threshold", "boxes")
    if name not in entry.settings
]


@pytest.mark.parametrize(("name", "task"), OTHERS)
def test_a_setting_of_another_task_is_refused(name, task, host_bundle):
    asked = Settings(**{name: 1 if name in ("top", "stride", "threshold") else True})
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(UsageError, match=f"{option} is for .*'s task is {task}") as refused:
        check_settings(changed(host_bundle, task=task), asked)
    assert refused.value.next.startswith("edgevit run")


def test_every_setting_belongs_to_a_task():
    known = {name for task in TASKS.values() for name in task.settings}
    assert known == {field.name for field in fields(Settings)}


@pytest.mark.parametrize(
    ("task", "asked", "message"),
    [
        ("classification", Settings(top=0), "--top takes"),
        ("video", Settings(stride=-1), "--stride takes"),
        ("video", Settings(stride=5000), "--stride takes"),
        ("pose", Settings(threshold=1.5), "--threshold takes"),
        ("pose", Settings(threshold=float("nan")), "--threshold takes"),
        ("cooking", Settings(), "There is no task 'cooking'"),
    ],
)
def test_settings_out_of_bounds_are_refused(task, asked, message, host_bundle):
    with pytest.raises(UsageError, match=message):
        check_settings(changed(host_bundle, task=task), asked)


def test_sources_of_another_kind_are_refused(classifier, watcher, poser, photo, tmp_path):
    logits = np.zeros((1, 3), np.float32)
    with pytest.raises(UsageError, match="is a folder, and topformer-t takes pictures"):
        predictor_of(classifier, logits).predict(tmp_path)
    spaced = tmp_path / "my photos"
    spaced.mkdir()
    with pytest.raises(UsageError) as caught:
        predictor_of(classifier, logits).predict(spaced)
    assert str(caught.value.next).endswith(f" '{spaced}'/*.jpg")
    with pytest.raises(UsageError, match="takes one picture"):
        predictor_of(classifier, logits).predict([photo, photo])
    with pytest.raises(UsageError, match="--boxes is for pose"):
        predictor_of(classifier, logits).predict(photo, [(0, 0, 1, 1)])
    with pytest.raises(UsageError, match="at least one frame"):
        predictor_of(watcher, logits).predict([])
    with pytest.raises(UsageError, match="above 0"):
        predictor_of(poser, heatmaps_at()).predict(photo, [(0, 0, 0, 1)])


def test_the_session_is_closed(host_bundle, photo):
    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(open_predictor(host_bundle, "onnx"))
        predictor.predict(photo)
    with pytest.raises(Exception, match="was closed"):
        predictor.predict(photo)
