"""One bundle of each task: its golden picture, its preprocessing, its run."""

import json

import numpy as np
import pytest
from PIL import Image

from edgevit.bundle.opened import Bundle
from edgevit.bundle.ports import from_file, to_file
from edgevit.data import scenes
from edgevit.networks.zoo import MODELS
from edgevit.prediction.predictor import predict
from edgevit.prediction.run import run_files
from edgevit.request.spec import Source
from edgevit.tasks.preprocessing import preprocess, preprocess_clip
from edgevit_runtimes.engines import open_session
from tests.support.slow import SLOW

FEATURES, SIZE = "topformer-t-features", (64, 64)
NAMES = (
    "vit-micro",
    "vitpose-micro",
    "mvitv2-micro-video",
    "vit-adapter-micro-upernet",
    FEATURES,
)
DRAWINGS = {
    "classification": ["classes"],
    "pose": ["pose"],
    "video": ["clip"],
    "segmentation": ["mask", "overlay"],
    "features": ["features"],
}


@pytest.fixture(params=NAMES)
def bundle(request, exported, micro_bundle) -> Bundle:
    """A bundle of a task with an .onnx file: the matrix's, where `make test` makes that."""
    if request.param in SLOW:
        return exported(request.param, only_formats=("onnx",))
    if request.param != FEATURES:
        return micro_bundle(request.param)
    words = {"source": Source(random=True), "reparameterize": False}
    return exported(FEATURES, only_formats=("onnx",), input_size=SIZE, **words)


def test_the_five_tasks_are_here():
    assert {MODELS[name].task for name in NAMES} == set(DRAWINGS)


def golden_picture(bundle):
    with Image.open(bundle.path / "golden" / "picture.png") as image:
        return np.array(image)


def test_the_golden_input_is_made_of_the_golden_picture(bundle):
    spec = bundle.manifest.preprocessing
    picture = golden_picture(bundle)
    if spec.frames:
        frames = picture.reshape(spec.frames, -1, *picture.shape[1:])
        tensor = preprocess_clip(list(frames), spec).tensor
    else:
        tensor = preprocess(picture, spec).tensor
    assert np.array_equal(tensor, bundle.golden("input"))
    name = bundle.manifest.model
    size = SIZE if name == FEATURES else MODELS[name].input_size
    assert bundle.manifest.input_size == spec.input_size == size


def test_the_manifest_has_the_cards_recipe(bundle):
    card = MODELS[bundle.manifest.model]
    spec = bundle.manifest.preprocessing
    assert bundle.manifest.task == card.task
    fit = {"pose": "box"}.get(card.task, "stretch")
    assert spec.fit == fit
    assert (spec.frames > 0) == (card.task == "video")
    assert len(bundle.manifest.labels) == (card.num_classes or 0)


def test_the_readme_tells_how_to_feed_and_read_it(bundle):
    text = (bundle.path / "README.md").read_text()
    told = {
        "segmentation": "resized to the picture",
        "classification": "before softmax",
        "video": "a clip's frames, one below the other",
        "pose": "a figure, whose box is all of it",
        "features": "[1, channels, height, width]",
    }
    assert told[bundle.manifest.task] in text


def test_what_run_writes(bundle, tmp_path):
    task = bundle.manifest.task
    source = tmp_path / "photo.png"
    if task == "video":
        source = tmp_path / "photo"
        source.mkdir()
        for index, frame in enumerate(scenes.clip(scenes.VIDEO_SEEDS[0], 6, 80, 96).frames):
            Image.fromarray(frame).save(source / f"{index}.png")
    else:
        Image.fromarray(scenes.scene(scenes.POSE_SEEDS[0], 120, 90).image).save(source)
    out = tmp_path / "out"
    (found,) = run_files(bundle.path, [source], out)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(["photo.json", *(f"photo.{kind}.png" for kind in DRAWINGS[task])])
    written = json.loads((out / "photo.json").read_text())
    assert written == found.to_json()
    for kind in DRAWINGS[task]:
        with Image.open(written[kind]) as drawn:
            drawn.load()
            assert min(drawn.size) >= 90
    assert found.headline


def test_the_result_is_the_files_output_on_the_same_input(bundle):
    """Python's way from the picture is the file's own on the stored input."""
    task, file = bundle.manifest.task, bundle.entry("onnx")
    with open_session(bundle.path / file.path) as session:
        outputs = session.run(to_file(bundle.golden("input"), file.inputs[0]))
    arrays = [from_file(a, s) for a, s in zip(outputs, file.outputs, strict=True)]
    picture = golden_picture(bundle)
    frames = bundle.manifest.preprocessing.frames
    source = list(picture.reshape(frames, -1, *picture.shape[1:])) if frames else picture
    found = predict(bundle, source)
    match task:
        case "classification" | "video":
            assert np.array_equal(found.logits, arrays[0][0])
            assert found.guesses[0].index == int(arrays[0].argmax())
        case "pose":
            assert np.array_equal(found.poses[0].scores, arrays[0][0].max(axis=(1, 2)))
        case "segmentation":
            assert found.network_mask.shape == bundle.manifest.preprocessing.size
        case "features":
            for one, array in zip(found.maps, arrays, strict=True):
                assert np.array_equal(one.values, array[0])
