"""What every drawing shares: paper and ink, fonts, names cut to fit, shares as text."""

from PIL import ImageFont

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER: Color = (252, 252, 252)
INK: Color = (24, 24, 28)
SMALLEST_PHOTO = 384  # a photo whose longer side is shorter is drawn enlarged by a whole factor
MAX_ENTRIES = 40  # of a legend, and of a list of guesses
MAX_NAME = 32  # characters


def text_width(font: Font, text: str) -> int:
    """Width of a line of text in px, rounded up."""
    return int(font.getlength(text)) + 1


def short(name: str) -> str:
    """The name on one line, and no longer than a legend can show."""
    name = " ".join(name.split())
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def percent(share: float) -> str:
    """A share 0..1 as a legend shows it."""
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
