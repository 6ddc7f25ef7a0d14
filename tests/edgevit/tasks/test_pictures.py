import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgevit.errors import EnvironmentFailed, PictureError
from edgevit.tasks.pictures import open_picture

Pixels = NDArray[np.uint8]


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_lossless_kinds_give_their_pixels(tmp_path: Path, pixels: Pixels, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    read = open_picture(saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels), **options))
    assert read.dtype == np.uint8
    assert np.array_equal(read, pixels)


def test_jpeg(tmp_path: Path) -> None:
    flat = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    read = open_picture(saved(tmp_path / "a.jpg", Image.fromarray(flat), quality=95))
    assert read.shape == flat.shape
    assert np.abs(read.astype(int) - flat).max() <= 3


def test_the_suffix_does_not_matter(tmp_path: Path, pixels: Pixels) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    assert np.array_equal(open_picture(path.rename(tmp_path / "photo.jpeg")), pixels)


def test_the_first_frame_of_a_gif(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (9, 7), "red"), Image.new("RGB", (9, 7), "blue")
    path = saved(tmp_path / "a.gif", red, save_all=True, append_images=[blue])
    assert np.array_equal(open_picture(path), np.full((7, 9, 3), (255, 0, 0)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_exif_rotation_is_applied(
    tmp_path: Path, pixels: Pixels, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels), exif=exif)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert wanted.shape == ((12, 20, 3) if orientation < 5 else (20, 12, 3))
    assert np.array_equal(open_picture(path), wanted)


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, pixels: Pixels) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(pixels), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(open_picture(path), pixels)


def test_grayscale_black_and_white_and_palette(tmp_path: Path, pixels: Pixels) -> None:
    gray = pixels[..., 0]
    read = open_picture(saved(tmp_path / "gray.png", Image.fromarray(gray)))
    assert np.array_equal(read, np.repeat(gray[..., None], 3, 2))
    read = open_picture(saved(tmp_path / "bw.png", Image.fromarray(gray > 99)))
    assert np.array_equal(read[..., 2], np.where(gray > 99, 255, 0))
    palette = Image.fromarray(pixels).quantize(16)
    read = open_picture(saved(tmp_path / "palette.png", palette))
    assert np.array_equal(read, np.asarray(palette.convert("RGB")))


def test_alpha_is_composited_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 100
    rgba[0, :, 3] = (0, 255, 51)  # 51 / 255 = 0.2
    read = open_picture(saved(tmp_path / "a.png", Image.fromarray(rgba)))
    assert read[0].tolist() == [[255, 255, 255], [100, 0, 0], [224, 204, 204]]
    gray = Image.fromarray(rgba).convert("LA")
    assert open_picture(saved(tmp_path / "b.png", gray))[0, 0].tolist() == [255, 255, 255]


def test_palette_transparency_is_composited_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 200, 9, 9, 9])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path / "a.png", image, transparency=0)
    assert open_picture(path)[0].tolist() == [[255, 255, 255], [9, 9, 9]]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    read = open_picture(saved(tmp_path / f"a.{suffix}", Image.fromarray(deep)))
    assert read[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bit_portable_graymap(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 200, 65535))
    assert open_picture(path)[0, :, 1].tolist() == [0, 0, 255]
    path.write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 100, 255))
    assert open_picture(path)[0, :, 1].tolist() == [0, 0, 0]


def test_integers_by_their_range(tmp_path: Path) -> None:
    def integers(*values: int) -> Path:
        image = Image.fromarray(np.array([values], np.int32))
        return saved(tmp_path / "a.tiff", image)

    assert open_picture(integers(0, 7, 255))[0, :, 0].tolist() == [0, 7, 255]
    assert open_picture(integers(0, 512, 65535))[0, :, 0].tolist() == [0, 2, 255]
    for values in [(-1, 5), (0, 65536)]:
        with pytest.raises(PictureError, match="white value is unknown"):
            open_picture(integers(*values))


def test_floating_point_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(PictureError, match="floating-point"):
        open_picture(saved(tmp_path / "a.tiff", image))


def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert open_picture(saved(tmp_path / "a.tiff", image))[0, 0].tolist() == [255, 0, 0]
    red, green, blue = open_picture(saved(tmp_path / "a.jpg", image))[4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_huge_pictures_are_refused_before_decoding(tmp_path: Path) -> None:
    # A header alone: decoding it would fail as damaged, and at full size take gigabytes.
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 9000 9000 255\n")
    with pytest.raises(PictureError, match="9000 x 9000 pixels, more than the allowed 64000000"):
        open_picture(path)
    path.write_bytes(b"P6 90000 90000 255\n")
    with pytest.raises(PictureError, match="more than the allowed"):
        open_picture(path)
    with pytest.raises(PictureError, match="more than the allowed 10"):
        open_picture(saved(tmp_path / "b.png", Image.new("RGB", (11, 1))), max_pixels=10)
    assert open_picture(tmp_path / "b.png", max_pixels=11).shape == (1, 11, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif", "ppm"])
def test_truncated_pictures_are_damaged(tmp_path: Path, pixels: Pixels, suffix: str) -> None:
    large = Image.fromarray(np.tile(pixels, (6, 6, 1)))
    data = saved(tmp_path / f"a.{suffix}", large).read_bytes()
    path = tmp_path / f"b.{suffix}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(PictureError, match=r"damaged|known kind") as caught:
        open_picture(path)
    assert caught.value.next == f"file {path}"
    assert "\n" not in caught.value.message


def test_random_damage_never_escapes_as_another_error(tmp_path: Path, pixels: Pixels) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    refused = 0
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        for _ in range(60):
            data = bytearray(stream.getvalue())
            for _ in range(int(rng.integers(1, 8))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
            path.write_bytes(data)
            try:
                read = open_picture(path, max_pixels=100_000)
            except PictureError:
                refused += 1
            else:
                assert read.dtype == np.uint8
                assert read.shape[2] == 3
    assert refused > 100


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="There is no picture") as caught:
        open_picture(tmp_path / "none.png")
    assert caught.value.exit_code == 2
    assert caught.value.next == f"ls {tmp_path}"
    with pytest.raises(PictureError, match="is not a file"):
        open_picture(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(PictureError, match="is empty"):
        open_picture(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(PictureError, match="not a picture of a known kind"):
        open_picture(tmp_path / "text.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="is not a file"):
        open_picture(tmp_path / "pipe.png")


def test_other_decoders_are_off(tmp_path: Path, pixels: Pixels) -> None:
    path = saved(tmp_path / "a.ico", Image.fromarray(pixels))
    with pytest.raises(PictureError, match="not a picture of a known kind"):
        open_picture(path)


def test_a_forbidden_file_is_the_environments_failure(
    tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))

    def forbid(*_: object, **__: object) -> None:  # as root, chmod forbids nothing
        raise PermissionError

    monkeypatch.setattr(Path, "open", forbid)
    with pytest.raises(EnvironmentFailed, match="cannot be read"):
        open_picture(path)
