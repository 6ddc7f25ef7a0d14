"""Every bad input of the command line: one sentence, an exit code, a next step, nothing left."""

import io
import pickle
import platform
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import edgevit
from edgevit.bundle.opened import Bundle

Cli = Callable[..., Any]
Tree = Callable[[Path], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A command line with `{place}` for what the fixtures made, and how it must end."""

    words: str
    code: int
    sentence: str

    def __str__(self) -> str:
        return self.words[:70]


def rows(*table: tuple[str, int, str]) -> Any:
    return pytest.mark.parametrize("row", [Row(*line) for line in table], ids=str)


def refuse(cli: Cli, tree: Tree, place: Path, row: Row, **names: object) -> None:
    before = tree(place)
    words = [word.format(place=place, **names) for word in row.words.split()]
    cli(*words).refused(row.code, row.sentence)
    assert tree(place) == before


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- words ---------------------------------------------------------------------------------------

EXPORT = "export topformer-t -o {place}/out "


@rows(
    ("export topfrmer-t", 2, "no model 'topfrmer-t'.*topformer-t"),
    ("export TopFormer_T", 2, "no model 'TopFormer_T'.*topformer-t"),
    ("export resnet50", 2, "no model 'resnet50'"),
    ("info topformr-t", 2, "no model 'topformr-t'.*topformer-t"),
    ("list zzz", 2, "No model matches 'zzz'"),
    ("list --task detection", 2, "No model matches 'detection'"),
    (EXPORT + "--target andriod-arm64", 2, "no target 'andriod-arm64'.*android-arm64"),
    (EXPORT + "--target x", 2, "no target 'x'; there are .*host"),
    (EXPORT + "--runtime tensorrt", 2, "host takes .*not 'tensorrt'"),
    (EXPORT + "--runtime coreml --target android-arm64", 2, "android-arm64 takes .*not 'coreml'"),
    (EXPORT + "--runtime ,", 2, "--runtime takes names"),
    (EXPORT + "--format ,", 2, "--format takes names"),
    (EXPORT + "--format tensorrt", 2, "host takes .*not 'tensorrt'"),
    (EXPORT + "--format onnx --runtime litert", 2, "opens litert, and --format names onnx"),
    (EXPORT + "--random-weights --num-classes 1000000000", 2, "cannot have 1000000000 classes"),
    (EXPORT + "--precision fp8", 2, "no precision 'fp8'; there are fp32, fp16"),
    (EXPORT + "--precision p4 --target android-arm64", 2, "no precision p4 .palettes are Core ML"),
    (EXPORT + "--precision w8dyn -r coreml", 2, "coreml files have no precision w8dyn .Core ML"),
    ("list --precisions topformer", 2, "--precisions lists formats"),
    ("quantize vit-micro", 2, "needs --sensitivity or --qat"),
    ("quantize vit-micro --qat", 2, "--qat writes a bundle"),
    ("quantize vit-micro --qat --sensitivity -o {place}/out", 2, "cannot be used together"),
    ("quantize vit-micro --qat -p int8 -o {place}/out", 2, "Fine-tuning is for w8a8 and w4"),
    ("quantize vit-micro --qat --steps 0 -o {place}/out", 2, "--steps takes 1 to"),
    ("quantize vit-micro --qat --learning-rate 7 -o {place}/out", 2, "--learning-rate lies"),
    ("quantize vit-micro --qat --teacher {place}/none -o {place}/out", 2, "neither a bundle"),
    ("quantize vit-mikro --sensitivity", 2, "no model 'vit-mikro'.*vit-micro"),
    ("quantize vit-micro --sensitivity --plot {place}/plot.jpg", 2, "--plot writes a .png"),
    ("quantize vit-micro --sensitivity --costs {place}/none", 2, "cannot be read as JSON"),
    ("quantize vit-micro --sensitivity --calibration-samples 0", 2, "takes 1 to 512 samples"),
    (EXPORT + "--precision int8 --calibration-samples 0", 2, "takes 1 to 512 samples, not 0"),
    (EXPORT + "--precision int8 --calibration-samples 513", 2, "takes 1 to 512 samples, not 513"),
    (EXPORT + "--precision int8 --observer best", 2, "--observer takes mse, percentile, minmax"),
    (EXPORT + "--precision int8 --eval-samples 0", 2, "--eval-samples takes a number from 1"),
    (EXPORT + "--precision fp32,fp32", 2, "twice"),
    (EXPORT + "--input-size 0 0", 2, "Input size 0x0 is outside 64 to 2048"),
    (EXPORT + "--input-size -64 64", 2, "Input size -64x64 is outside"),
    (EXPORT + "--input-size 1000000 1000000", 2, "Input size 1000000x1000000 is outside"),
    (EXPORT + "--input-size 450 450", 2, "multiples of .* pixels, not 450x450"),
    (EXPORT + "--input-size 448", 2, r"a height and a width in pixels .*, not '448'"),
    (EXPORT + "--input-size=448", 2, r"a height and a width in pixels .*, not '448'"),
    (EXPORT + "--input-size", 2, "'--input-size' requires an argument"),
    (EXPORT + "--input-size 448 --seed 1", 2, r"a height and a width in pixels .*, not '448'"),
    (EXPORT + "--input-size big small", 2, r"a height and a width in pixels .*, not 'big small'"),
    (EXPORT + "--input-size 64.5 64", 2, r"a height and a width in pixels .*, not '64.5 64'"),
    (EXPORT + "--input-size 64x64x64", 2, "topformer-t takes an input size of two numbers"),
    (EXPORT + f"--input-size {'9' * 5000} 64", 2, "a height and a width in pixels"),
    (EXPORT + "--input-size 64 64 --input-size 64x64", 2, "twice"),
    (EXPORT + "--option nonsense", 2, "KEY=VALUE, not 'nonsense'"),
    (EXPORT + "--option =1", 2, "KEY=VALUE, not '=1'"),
    (EXPORT + "--option a=1 --option a=2", 2, "--option a is given twice"),
    (EXPORT + "--output labels", 2, "--output takes logits or mask, not 'labels'"),
    (EXPORT + "--fit crop", 2, "--fit takes stretch or pad, not 'crop'"),
    (EXPORT + "--preprocessing augerg", 2, "no preprocessing 'augerg'; did you mean augreg"),
    (EXPORT + "--preprocessing pose", 2, "pose does not fit topformer-t: segmentation takes"),
    (EXPORT + "--opset 13", 2, "opset 13 is outside 18 to"),
    (EXPORT + "--opset 99", 2, "opset 99 is outside 18 to"),
    (EXPORT + "--seed -1", 2, "Seed -1 is outside 0 to"),
    (EXPORT + "--seed abc", 2, "'--seed'"),
    (EXPORT + "--atol -0.1", 2, "--atol takes 0 to 1000, not -0.1"),
    (EXPORT + "--atol nan", 2, "--atol takes 0 to 1000, not nan"),
    (EXPORT + "--min-cosine 2", 2, "--min-cosine takes 0.5 to 1, not 2"),
    (EXPORT + "--no-such-option", 2, "No such option: --no-such-option"),
    (EXPORT + "--presision fp32", 2, "No such option: --presision .*--precision"),
    (EXPORT + "surplus", 2, "unexpected extra argument"),
    (EXPORT + "--precision", 2, "requires an argument"),
    ("export topformer-t-cls --output mask -o {place}/out", 2, "no mask: its task is class"),
    (EXPORT + "--output mask --random-weights --num-classes 1", 2, "mask .* with one class is"),
    ("export", 2, "Missing argument 'MODEL'"),
    ("frobnicate", 2, "No such command 'frobnicate'"),
    ("verify", 2, "Missing argument 'BUNDLE'"),
    ("run {place}", 2, "Missing argument 'FILE"),
)
def test_words_are_refused_before_anything_is_loaded(
    row: Row, cli: Cli, tree: Tree, place: Path, no_load: None
) -> None:
    refuse(cli, tree, place, row)


def test_no_command_is_the_help_and_usage(cli: Cli) -> None:
    told = cli()
    assert told.code == 2
    assert told.out.startswith("Usage: edgevit")
    assert told.err == ""


# --- places --------------------------------------------------------------------------------------


@pytest.fixture
def destinations(place: Path, host_bundle: Bundle) -> Path:
    (place / "file").write_text("mine")
    (place / "photos").mkdir()
    (place / "photos" / "cat.jpg").write_text("mine")
    (place / "website").mkdir()
    (place / "website" / "manifest.json").write_text('{"name": "shop", "schema": 1}')
    (place / "bundle").mkdir()
    shutil.copy(host_bundle.path / "manifest.json", place / "bundle")
    shutil.copytree(place / "bundle", place / "annotated")
    (place / "annotated" / "notes.txt").write_text("mine")
    (place / "link").symlink_to(place / "bundle")
    for name in ("readonly", "readonly-parent", "empty"):
        (place / name).mkdir()
    shutil.copytree(place / "bundle", place / "kept")
    for name in ("readonly", "readonly-parent", "kept"):
        (place / name).chmod(0o555)
    return place


TO = "export topformer-t -o {place}/"


@rows(
    (TO + "bundle", 2, "bundle holds a bundle already"),
    (TO + "photos", 2, "photos exists and is not an edgevit bundle"),
    (TO + "photos --force", 2, "photos exists and is not an edgevit bundle"),
    (TO + "website --force", 2, "website exists and is not an edgevit bundle"),
    (TO + "annotated --force", 2, "contains notes.txt, which is not part of the bundle"),
    (TO + "bundle/inner", 2, "is a bundle, and would no longer verify"),
    (TO + "link --force", 2, "link is a file"),
    (TO + "file", 2, "file is a file"),
    (TO + "file --force", 2, "file is a file"),
    (TO + "file/inner", 2, "file is a file, not a directory"),
    (TO + "file/deep/er", 2, "file is a file, not a directory"),
    (TO + "readonly", 4, "readonly is read-only"),
    (TO + "kept --force", 4, "kept is read-only"),
    (TO + "readonly-parent/out", 4, "readonly-parent cannot be written to"),
    (TO + "readonly-parent/a/b", 4, "readonly-parent cannot be written to"),
    ("export topformer-t -o .", 2, "is the current directory"),
    ("export topformer-t -o empty/..", 2, "is the current directory"),
    (TO + "n" * 300, 4, "File name too long"),
)
def test_places_are_refused_before_anything_is_loaded(
    row: Row, cli: Cli, tree: Tree, destinations: Path, no_load: None
) -> None:
    refuse(cli, tree, destinations, row)


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are given as checkpoints of topformer-t for segmentation."""
    folder = tmp_path_factory.mktemp("checkpoints")
    right = edgevit.create_model("topformer-t", num_classes=3).state_dict()
    torch.save(right, folder / "right.pth")
    torch.save(edgevit.create_model("topformer-s").state_dict(), folder / "s.pth")
    torch.save(edgevit.create_model("topformer-t-cls").state_dict(), folder / "imagenet.pth")
    torch.save({"state_dict": {"a": torch.zeros(2)}}, folder / "other.pth")
    torch.save({**right, "decode_head.conv_seg.bias": torch.full((3,), torch.nan)}, folder / "n.pt")
    whole = (folder / "right.pth").read_bytes()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pth").touch()
    (folder / "page.pth").write_text("<!DOCTYPE html><html>Sign in</html>")
    (folder / "photo.pth").write_bytes(b"\xff\xd8\xff\xe0" + bytes(99))
    (folder / "directory.pth").mkdir()
    (folder / "three.txt").write_text("sky\nsea\nsand\n")
    (folder / "two.txt").write_text("sky\nsea\n")
    (folder / "same.txt").write_text("sky\nsky\nsea\n")
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    with (folder / "huge.txt").open("wb") as stream:
        stream.truncate(1 << 33)
    return folder


WITH = "export topformer-t -o {place}/out --weights {c}/"


@rows(
    (WITH + "nothing.pth", 2, "no checkpoint .*nothing.pth"),
    (WITH + "right.pth/x", 2, "no checkpoint .*right.pth/x"),
    (WITH + "empty.pth", 2, "empty.pth is empty"),
    (WITH + "truncated.pth", 2, "truncated.pth .*(truncated|ends early|cut|damaged|whole)"),
    (WITH + "directory.pth", 2, "directory.pth is a directory"),
    (WITH + "page.pth", 2, "page.pth is a web page"),
    (WITH + "photo.pth", 2, "photo.pth is no checkpoint"),
    (WITH + "other.pth", 2, "other.pth does not fit the network: .*missing"),
    (WITH + "s.pth", 2, "s.pth does not fit the network: .*topformer-s checkpoint"),
    (WITH + "imagenet.pth", 2, "imagenet.pth has no weights for backbone.SIM and"),
    (WITH + "n.pt", 2, "NaN or infinite values in decode_head.conv_seg.bias"),
    (WITH + "right.pth --num-classes 150", 2, "right.pth holds 3 classes, not 150"),
    (WITH + "right.pth --num-classes 0", 2, "cannot have 0 classes"),
    (WITH + "right.pth --num-classes -5", 2, "cannot have -5 classes"),
    (WITH + "right.pth --labels {c}/nothing.txt", 2, "nothing.txt cannot be read"),
    (WITH + "right.pth --labels {c}", 2, "cannot be read"),
    (WITH + "right.pth --labels {c}/two.txt", 2, "two.txt holds 2 names for 3 classes"),
    (WITH + "right.pth --labels {c}/same.txt", 2, "same.txt names two classes 'sky'"),
    (WITH + "right.pth --labels {c}/binary.txt", 2, "binary.txt is no text"),
    (WITH + "right.pth --labels {c}/huge.txt", 2, "huge.txt is too large"),
    (WITH + "right.pth --option color=red", 2, "no option 'color'; it has injection"),
    (WITH + "right.pth --option injection=nope", 2, "injection='nope' is not one of"),
    (WITH + "right.pth --option token_stride=7", 2, "token_stride=7 is not one of"),
    (WITH + "right.pth --option injection=fuse_sum", 2, "injection"),
    ("export topformer-t -o {place}/out --labels {c}/three.txt", 2, "3 names for .* classes"),
    ("export topformer-t -o {place}/out --num-classes 150", 2, "classes, not 150"),
    ("export topformer-s -o {place}/out", 2, "no demo weights for topformer-s"),
    ("export topformer-t --dry-run --weights {c}/empty.pth", 2, "empty.pth is empty"),
    (
        "export topformer-t-features -o {place}/out --weights {c}/right.pth --labels {c}/two.txt",
        2,
        "no classes to name",
    ),
)
def test_checkpoints_are_refused_before_anything_is_exported(
    row: Row, cli: Cli, tree: Tree, place: Path, checkpoints: Path, no_export: None
) -> None:
    refuse(cli, tree, place, row, c=checkpoints)


class Harm:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_run(
    kind: str, cli: Cli, tree: Tree, place: Path, no_export: None
) -> None:
    sign = place / "executed"
    content = {"state_dict": {"a": torch.zeros(1)}, "hook": Harm(sign)}
    path = place / f"{kind}.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"hook": Harm(sign)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    assert pickle.loads(pickle.dumps(Harm(sign))) is None  # the harm is real where it is unpickled
    sign.unlink()
    row = Row(f"export topformer-t -o {{place}}/out --weights {path}", 2, "pathlib.*Path")
    refuse(cli, tree, place, row)
    assert not sign.exists()


# --- pictures ------------------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A scene of the kind that the demo weights know, wider than high."""
    from edgevit.data import scenes

    return Image.fromarray(scenes.scene(scenes.HELD_OUT_SEEDS[1], 96, 160).image)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, photo: Image.Image) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    photo.save(folder / "good.png")
    photo.save(folder / "good.jpg")
    stream = io.BytesIO()
    photo.save(stream, "JPEG")
    (folder / "half.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    stream = io.BytesIO()
    photo.save(stream, "PNG")
    (folder / "half.png").write_bytes(stream.getvalue()[:-200])
    (folder / "noise.jpg").write_bytes(bytes(range(256)) * 9)
    (folder / "empty.png").touch()
    (folder / "huge.png").write_bytes(png_of(100_000, 100_000))
    (folder / "large.png").write_bytes(png_of(10_000, 10_000))
    (folder / "directory.png").mkdir()
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "float.tiff")
    return folder


@pytest.fixture
def results(place: Path, host_bundle: Bundle) -> Path:
    (place / "file").write_text("mine")
    (place / "readonly").mkdir(mode=0o555)
    (place / "bundle").mkdir()
    shutil.copy(host_bundle.path / "manifest.json", place / "bundle")
    return place


RUN = "run {bundle} -o {place}/seen "


@rows(
    (RUN + "{p}/nothing.jpg", 2, "no picture .*nothing.jpg"),
    (RUN + "{p}/good.png/x.png", 2, "no picture"),
    (RUN + "{p}/empty.png", 2, "empty.png is empty"),
    (RUN + "{p}/noise.jpg", 2, "noise.jpg is not a picture"),
    (RUN + "{p}/half.jpg", 2, "half.jpg is damaged"),
    (RUN + "{p}/half.png", 2, "half.png is damaged"),
    (RUN + "{p}/huge.png", 2, "huge.png has .*(100000 x 100000|more than the allowed)"),
    (RUN + "{p}/large.png", 2, "large.png has 10000 x 10000 pixels"),
    (RUN + "{p}/directory.png", 2, "directory.png is a folder, and topformer-t takes pictures"),
    (RUN + "{p}/float.tiff", 2, "floating-point"),
    (RUN + "{p}/good.png {p}/noise.jpg", 2, "noise.jpg is not a picture"),
    (RUN + "{p}/good.png {p}/good.jpg", 2, "Two files are named good"),
    (RUN + "{p}/good.png -r tensorrt", 2, "no tensorrt file"),
    (RUN + "{p}/good.png --threads 0", 2, "threads at once, not 0"),
    (RUN + "{p}/good.png --threads 1000000", 2, "threads at once, not 1000000"),
    (RUN + "{p}/good.png --format onnx,litert", 2, "`run` opens one file"),
    (RUN + "{p}/good.png --runtime tflite-runtime", 2, "in its format's own runtime"),
    ("eval {bundle} --data scenes --threads 1000000", 2, "threads at once, not 1000000"),
    ("eval {bundle} --data scenes --batch 1000000", 2, "--batch takes a number from 1 to 1024"),
    (RUN + "{p}/good.png --threads x", 2, "'--threads'"),
    ("run {bundle} {p}/good.png -o {place}/file", 2, "file is a file"),
    ("run {bundle} {p}/good.png -o {place}/file/x", 2, "file is a file"),
    ("run {bundle} {p}/good.png -o {place}/readonly", 4, "readonly cannot be written to"),
    ("run {bundle} {p}/good.png -o {place}/readonly/x", 4, "readonly cannot be written to"),
    ("run {bundle} {p}/good.png -o {place}/bundle/seen", 2, "would no longer verify"),
)
def test_pictures_and_places_are_refused_and_nothing_is_written(
    row: Row, cli: Cli, tree: Tree, results: Path, host_bundle: Bundle, pictures: Path
) -> None:
    refuse(cli, tree, results, row, bundle=host_bundle.path, p=pictures)


def mask_of(cli: Cli, bundle: Path, picture: Path) -> np.ndarray[Any, Any]:
    told = cli("run", bundle, picture, "-o", picture.parent / "seen", "-q", "-r", "onnx")
    assert (told.code, told.err) == (0, "")
    return np.asarray(Image.open(picture.parent / "seen" / f"{picture.stem}.mask.png"))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_picture_works(
    mode: str, cli: Cli, place: Path, host_bundle: Bundle, photo: Image.Image
) -> None:
    path = place / f"photo.{'tiff' if mode == 'CMYK' else 'png'}"
    if mode == "I;16":
        Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        photo.convert(mode).save(path)
    assert mask_of(cli, host_bundle.path, path).shape == (96, 160)


def test_an_opaque_alpha_and_16_bits_change_nothing(
    cli: Cli, place: Path, host_bundle: Bundle, photo: Image.Image
) -> None:
    photo.save(place / "plain.png")
    photo.convert("RGBA").save(place / "alpha.png")
    gray = photo.convert("L")
    gray.save(place / "gray.png")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(place / "deep.png")
    masks = {
        name: mask_of(cli, host_bundle.path, place / f"{name}.png")
        for name in ("plain", "alpha", "gray", "deep")
    }
    np.testing.assert_array_equal(masks["alpha"], masks["plain"])
    np.testing.assert_array_equal(masks["deep"], masks["gray"])


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 1), (8, 3)])
def test_exif_orientation_is_applied(
    orientation: int, turn: int, cli: Cli, place: Path, host_bundle: Bundle, photo: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(photo)
    photo.save(place / "upright.png")
    # Stored as the camera was held, to be turned back by what the tag says.
    Image.fromarray(np.rot90(upright, turn)).save(place / "turned.png", exif=exif)
    expected = mask_of(cli, host_bundle.path, place / "upright.png")
    assert expected.shape == (96, 160)
    np.testing.assert_array_equal(mask_of(cli, host_bundle.path, place / "turned.png"), expected)


# --- bench and inspect ---------------------------------------------------------------------------


@rows(
    ("bench {bundle} --device adb:-x", 2, "no device 'adb:-x'"),
    ("bench {bundle} --device emulated:pentium", 2, "no core 'pentium' to emulate"),
    ("bench {bundle} --device emulated:cortex-a77 --resume", 2, "--resume goes on with"),
    ("bench {bundle} --resume", 2, "--resume goes on with"),
    ("verify {bundle} --device nowhere", 2, "no device 'nowhere'"),
    ("bench {bundle} --device ssh:-oProxyCommand=x", 2, "no device"),
    ("bench {bundle} --device nowhere", 2, "no device 'nowhere'"),
    ("bench {bundle} --threads 0", 2, "threads at once, not 0"),
    ("bench {bundle} --threads -1", 2, "threads at once, not -1"),
    ("bench {bundle} --threads 4096", 2, "threads at once, not 4096"),
    ("bench {bundle} --threads many", 2, "--threads takes whole numbers"),
    ("bench {bundle} --threads 1,1", 2, "once each"),
    ("bench {bundle} --runs 0", 2, "Runs and repeats are at least 1"),
    ("bench {bundle} --warmup -1", 2, "warm-up runs at least 0"),
    ("bench {bundle} --min-secs 5 --max-secs 1", 2, "from 0 to the maximum"),
    ("bench {bundle} --max-secs nan", 2, "the maximum"),
    ("bench {bundle} -r tensorrt", 2, "no tensorrt file"),
    ("bench {bundle} -o {place}", 2, "is a directory"),
    ("bench {bundle} -o {place}/none/result.json", 2, "no directory .*none"),
    ("bench {bundle} -o {place}/file/result.json", 2, "file is a file"),
    ("bench {bundle} -o {place}/readonly/result.json", 4, "readonly cannot be written to"),
    ("bench {bundle} -o {place}/bundle/result.json", 2, "would no longer verify"),
    ("verify {bundle} -r tensorrt", 2, "no tensorrt file"),
    ("verify {bundle} --atol nan", 2, "0 to 1000, not nan"),
    ("verify {bundle} --min-cosine 0", 2, "0.5 to 1, not 0"),
)
def test_settings_are_refused_before_anything_is_measured(
    row: Row,
    cli: Cli,
    tree: Tree,
    results: Path,
    host_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgevit_runtimes.runners import local

    monkeypatch.setattr(local, "cold_start", lambda *_: pytest.fail("measured"))
    refuse(cli, tree, results, row, bundle=host_bundle.path)


@pytest.fixture
def wrong_files(place: Path, host_bundle: Bundle) -> Path:
    (place / "text.onnx").write_text("this is no network")
    (place / "notes.txt").write_text("this is no network")
    (place / "empty.onnx").touch()
    (place / "directory.onnx").mkdir()
    (place / "hollow.mlpackage").mkdir()
    shutil.copy(host_bundle.path / "model.onnx", place / "onnx.pte")
    for name in ("model.onnx", "model.pte", "model.tflite"):
        whole = (host_bundle.path / name).read_bytes()
        (place / f"half{Path(name).suffix}").write_bytes(whole[: len(whole) // 2])
    return place


@rows(
    ("inspect {place}/nothing.onnx", 2, "no file .*nothing.onnx"),
    ("inspect {place}", 2, "not an exported file"),
    ("inspect {place}/notes.txt", 2, "not an exported file"),
    ("inspect {place}/text.onnx", 2, "text.onnx"),
    ("inspect {place}/empty.onnx", 2, "empty.onnx"),
    ("inspect {place}/directory.onnx", 2, "directory.onnx"),
    ("inspect {place}/hollow.mlpackage", 2, "hollow.mlpackage|Manifest"),
    ("inspect {place}/onnx.pte", 2, "suffix of executorch, but contains onnx"),
    ("inspect {place}/half.onnx", 2, "half.onnx"),
    ("inspect {place}/half.pte", 2, "half.pte"),
    ("inspect {place}/half.tflite", 2, "half.tflite"),
)
def test_wrong_files_are_not_inspected(row: Row, cli: Cli, tree: Tree, wrong_files: Path) -> None:
    refuse(cli, tree, wrong_files, row)


@pytest.mark.skipif(platform.system() == "Darwin", reason="Core ML runs here")
@rows(
    ("run {bundle} {p}/good.png -r coreml -o {place}/seen", 4, "Core ML runs on macOS only"),
    ("bench {bundle} -r coreml", 4, "Core ML runs on macOS only"),
)
def test_core_ml_off_macos_is_said(
    row: Row, cli: Cli, tree: Tree, place: Path, host_bundle: Bundle, pictures: Path
) -> None:
    refuse(cli, tree, place, row, bundle=host_bundle.path, p=pictures)
