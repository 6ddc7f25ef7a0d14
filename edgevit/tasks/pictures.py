"""Opening a photo of unknown origin: every kind becomes uint8 RGB, or one clear refusal."""

import shlex
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgevit.errors import EnvironmentFailed, PictureError

# Each decoder is attack surface: only what photos come in is enabled.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
ORIENTATION_TAG = 0x0112
# EXIF 2.3, tag 0x0112: how to turn the stored picture so that it stands upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(path: Path, max_pixels: int = 64_000_000) -> NDArray[np.uint8]:
    """Read a photo as uint8 RGB [H, W, 3], upright.

    - JPEG, PNG, WebP, BMP, TIFF, GIF and PPM; of several frames the first.
    - EXIF orientation is applied; ICC profiles are not: values are taken as sRGB.
    - Grayscale, black and white, palette, CMYK, YCbCr and Lab are converted.
    - Alpha is composited over white, the paper that cut-outs are made for: transparent pixels often
      hold arbitrary colors, so dropping alpha would show them.
    - 16 bits a channel keep their upper 8. 32-bit integers count as 16 bits when they exceed 255;
      integers beyond 16 bits and floating-point pictures are refused, since nothing says what their
      white is.
    - More than `max_pixels` pixels are refused from the header, before anything is decoded.

    Raises `PictureError` where there is no readable picture, `EnvironmentFailed` where reading is
    not permitted.
    """
    try:
        if not path.exists():
            raise PictureError(
                f"There is no picture {path}.", next=f"ls {shlex.quote(str(path.parent))}"
            )
        if not path.is_file():
            # A pipe or device would block or never end.
            raise PictureError(f"{path} is not a file.", next=f"ls -ld {shlex.quote(str(path))}")
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                raise PictureError(f"{path} is empty.", next=f"ls -l {shlex.quote(str(path))}")
            return _decode(stream, path, max_pixels)
    except PermissionError:
        raise EnvironmentFailed(
            f"{path} cannot be read: permission denied.", next=f"ls -l {shlex.quote(str(path))}"
        ) from None
    except OSError as error:
        raise PictureError(f"{path} cannot be opened ({error.strerror}).", next="ls -l") from None


def _decode(stream: BinaryIO, path: Path, max_pixels: int) -> NDArray[np.uint8]:
    look = f"file {shlex.quote(str(path))}"
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities that leave the picture readable (corrupt EXIF, palette
            # transparency), and of large pictures, whose size is checked against our own limit
            # below.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=FORMATS) as image:
                _check_pixels(image.size, path, max_pixels)
                image.load()
                return _upright_rgb(image, path)
    except PictureError:
        raise
    except MemoryError:
        raise EnvironmentFailed(
            f"There is not enough memory to decode {path}.", next="free -h"
        ) from None
    except UnidentifiedImageError:
        raise PictureError(
            f"{path} is not a picture of a known kind ({', '.join(FORMATS)}).", next=look
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(
            f"{path} has far more than the allowed {max_pixels} pixels.", next=look
        ) from None
    # Decoders raise almost anything on damaged bytes: OSError, SyntaxError, ValueError,
    # struct.error, IndexError.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PictureError(
            f"{path} is damaged and cannot be decoded ({reason}).", next=look
        ) from None


def _check_pixels(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PictureError(
            f"{path} has {width} x {height} pixels, more than the allowed {max_pixels}.",
            next="edgevit run BUNDLE SMALLER_PICTURE -o DIR",
        )


def _upright_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    orientation = _orientation(image)
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    image = _to_8_bits(image, path)
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if turn is not None:
        rgb = rgb.transpose(turn)
    return np.array(rgb, dtype=np.uint8)


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation; None where there is none or EXIF is unreadable.

    Asked after decoding: Pillow turns TIFF pictures by itself and then removes the tag.
    """
    try:
        return image.getexif().get(ORIENTATION_TAG)
    except Exception:  # damaged EXIF raises anything, and must not cost the picture
        return None


def _to_8_bits(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "I":
        values = np.asarray(image)
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest > 65535:
            raise PictureError(
                f"{path} has integers from {lowest} to {highest}; their white value is unknown.",
                next="edgevit run BUNDLE 8_BIT_PICTURE -o DIR",
            )
        # Portable graymaps of mode I are always scaled to 16 bits by Pillow, however dark they are.
        deep = highest > 255 or image.format == "PPM"
        return Image.fromarray((values >> 8 if deep else values).astype(np.uint8))
    if image.mode == "F":
        raise PictureError(
            f"{path} has floating-point values; their white value is unknown.",
            next="edgevit run BUNDLE 8_BIT_PICTURE -o DIR",
        )
    return image
