"""run: JSON and pictures beside each other for every file, or nothing."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from edgevit.bundle.opened import Bundle
from edgevit.data import scenes
from edgevit.deployment.golden import GOLDEN_SEED
from edgevit.errors import MissingDependency, PictureError, UsageError
from edgevit.networks.zoo import preprocessing_of
from edgevit.prediction import predictor, run
from edgevit.prediction.predictor import predict
from edgevit.prediction.run import run_files
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.task import Settings
from edgevit_runtimes.errors import BadSetting


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
    found = run_files(host_bundle.path, pictures, out, "onnx", done=said.append)
    assert [result.source for result in found] == pictures
    names = {f"{stem}.{kind}" for stem in ("a", "b", "c.d") for kind in ("overlay.png", "json")}
    assert {p.name for p in out.iterdir()} == names | {f"{s}.mask.png" for s in ("a", "b", "c.d")}
    for result, picture in zip(found, pictures, strict=True):
        wanted = predict(host_bundle, picture, format="onnx")
        with Image.open(result.drawings["mask"]) as image:
            assert image.mode == "L"
            assert np.array_equal(np.array(image), wanted.mask)
        with Image.open(result.drawings["overlay"]) as image:
            assert image.size[0] >= wanted.photo.shape[1]
            assert image.mode == "RGB"
        written = json.loads((out / f"{picture.stem}.json").read_text())
        assert written == result.to_json()
        assert list(written) == ["picture", "overlay", "mask", "shares"]
        assert sum(written["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert len(said) == 3
    assert said[0].startswith("a.png with model.onnx: ")


def test_a_broken_picture_stops_before_anything_is_written(host_bundle, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    out = tmp_path / "out"
    with pytest.raises(PictureError):
        run_files(host_bundle.path, [*pictures, broken], out)
    assert not out.exists()


def test_two_pictures_of_one_name_are_refused(host_bundle, pictures, tmp_path):
    twin = tmp_path / "elsewhere" / "a.jpg"
    twin.parent.mkdir()
    Image.new("RGB", (80, 80)).save(twin)
    with pytest.raises(UsageError, match="overwrite each other"):
        run_files(host_bundle.path, [pictures[0], twin], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_directory_is_refused(host_bundle, pictures, tmp_path):
    place = tmp_path / "out"
    place.write_text("mine")
    with pytest.raises(UsageError, match="is a file, not a directory"):
        run_files(host_bundle.path, pictures, place)
    assert place.read_text() == "mine"


@pytest.fixture
def pretended(host_bundle, monkeypatch):
    """The bundle as one of another task, with a runtime that returns `outputs` and counts its
    calls.
    """

    def pretend(task, recipe, size, labels, *outputs):
        manifest = replace(
            host_bundle.manifest,
            task=task,
            labels=labels,
            preprocessing=preprocessing_of(recipe, size),
            files=(replace(host_bundle.entry("onnx"), outputs=host_bundle.entry("onnx").outputs),),
        )
        bundle = Bundle(host_bundle.path, manifest)
        calls = []

        class Session:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def run(self, *arrays):
                calls.append(arrays)
                return list(outputs)

        monkeypatch.setattr(run, "open_bundle", lambda _: bundle)
        monkeypatch.setattr(predictor, "open_session", lambda *_, **__: Session())
        return SimpleNamespace(path=bundle.path, calls=calls)

    return pretend


LOGITS = np.log(np.array([[0.2, 0.7, 0.1]], np.float32))


def test_classification(pretended, pictures, tmp_path):
    bundle = pretended("classification", "deit", (64, 64), ("cat", "dog", "cow"), LOGITS)
    out = tmp_path / "out"
    found = run_files(bundle.path, pictures[:2], out, settings=Settings(top=2))
    assert sorted(p.name for p in out.iterdir()) == [
        "a.classes.png", "a.json", "b.classes.png", "b.json",
    ]  # fmt: skip
    written = json.loads((out / "a.json").read_text())
    assert written["classes"] == str(out / "a.classes.png")
    assert [guess["name"] for guess in written["guesses"]] == ["dog", "cat"]
    assert found[0].headline == "dog 70.0 %, cat 20.0 %"


def test_video_from_a_folder_of_frames(pretended, tmp_path):
    bundle = pretended("video", "drawn-video", (4, 64, 64), ("up", "down", "left"), LOGITS)
    folder = tmp_path / "waving.hand"
    folder.mkdir()
    for index, frame in enumerate(scenes.clip(scenes.VIDEO_SEEDS[0], 6, 64, 64).frames):
        Image.fromarray(frame).save(folder / f"{index}.png")
    out = tmp_path / "out"
    (found,) = run_files(bundle.path, [folder], out)
    assert sorted(p.name for p in out.iterdir()) == ["waving.hand.clip.png", "waving.hand.json"]
    assert found.to_json()["video"] == str(folder)
    assert found.to_json()["frames"] == [1, 2, 3, 4]
    assert bundle.calls[0][0].shape == (1, 3, 4, 64, 64)


@pytest.mark.parametrize("named", [".", ".."])
def test_the_folder_one_is_in_gives_the_name(named, pretended, tmp_path, monkeypatch):
    bundle = pretended("video", "drawn-video", (4, 64, 64), ("up", "down", "left"), LOGITS)
    folder = tmp_path / "waving.hand"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "0.png")
    monkeypatch.chdir(folder if named == "." else folder / "below")
    run_files(bundle.path, [Path(named)], tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["waving.hand.clip.png", "waving.hand.json"]


def test_a_video_file_without_pyav_writes_nothing(pretended, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    bundle = pretended("video", "drawn-video", (4, 64, 64), ("up", "down", "left"), LOGITS)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"some video")
    with pytest.raises(MissingDependency) as caught:
        run_files(bundle.path, [path], tmp_path / "out")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_pose_with_boxes(pretended, pictures, tmp_path):
    maps = np.zeros((1, 17, 16, 12), np.float32)
    maps[0, 0, 8, 6] = 1
    bundle = pretended("pose", "pose", (64, 48), COCO.names, maps)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.png": [[1, 2, 30, 40], [5, 5, 20, 20]], "b.jpg": []}))
    out = tmp_path / "out"
    found = run_files(bundle.path, pictures[:2], out, boxes=boxes)
    assert [len(one.to_json()["people"]) for one in found] == [2, 0]
    assert found[0].headline == "2 of 34 keypoints in 2 boxes"
    assert len(bundle.calls) == 2
    assert sorted(p.name for p in out.iterdir()) == ["a.json", "a.pose.png", "b.json", "b.pose.png"]


def test_boxes_that_miss_a_picture_stop_before_anything_is_written(pretended, pictures, tmp_path):
    bundle = pretended("pose", "pose", (64, 48), COCO.names)
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"a.png": []}')
    with pytest.raises(UsageError, match=r"does not name the picture b\.jpg"):
        run_files(bundle.path, pictures[:2], tmp_path / "out", boxes=boxes)
    assert not (tmp_path / "out").exists()


def test_boxes_are_for_pose(host_bundle, pictures, tmp_path):
    with pytest.raises(UsageError, match="--boxes is for pose; topformer-t's task is segmentation"):
        run_files(host_bundle.path, pictures, tmp_path / "out", boxes=tmp_path / "boxes.json")
    assert not (tmp_path / "out").exists()


def test_features(pretended, pictures, tmp_path):
    maps = np.random.default_rng(0).normal(0, 1, (1, 5, 4, 4)).astype(np.float32)
    bundle = pretended("features", "segmentation", (64, 64), (), maps)
    (found,) = run_files(bundle.path, pictures[:1], tmp_path / "out")
    assert list(found.to_json()) == ["picture", "features", "maps"]
    assert found.to_json()["maps"]["logits"]["shape"] == [5, 4, 4]


def test_a_folder_of_photos_is_told_how_to_be_given(host_bundle, pictures, tmp_path):
    with pytest.raises(UsageError, match="is a folder, and topformer-t takes pictures") as caught:
        run_files(host_bundle.path, [tmp_path], tmp_path / "out")
    assert caught.value.next.endswith("/*.jpg")
    assert not (tmp_path / "out").exists()


def test_threads_are_refused_before_any_work(host_bundle, tmp_path):
    with pytest.raises(BadSetting, match="threads at once, not 1000000"):
        run_files(host_bundle.path, [tmp_path / "no.png"], tmp_path / "out", threads=1_000_000)
    assert not (tmp_path / "out").exists()
