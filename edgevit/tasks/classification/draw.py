"""A photo with its likeliest classes below it: a name, a bar and a percentage each."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from edgevit.tasks.classification.guesses import Guess
from edgevit.tasks.drawing.style import (
    INK,
    MAX_ENTRIES,
    PAPER,
    SMALLEST_PHOTO,
    percent,
    short,
    text_width,
)

BAR = (52, 120, 246)
TRACK = (226, 228, 232)


def captioned(photo: Image.Image, guesses: Sequence[Guess]) -> Image.Image:
    """The photo with its guesses below it: a name, a bar as long as it is likely, a percentage.

    The photo keeps its pixels (below 384 pixels it is enlarged by a whole factor) at the top left.
    At most 40 guesses are drawn: a thousand below a phone's photo would be a picture of gigabytes.
    """
    guesses = guesses[:MAX_ENTRIES]
    zoom = max(1, -(-SMALLEST_PHOTO // max(photo.size)))
    if zoom > 1:
        size = (photo.width * zoom, photo.height * zoom)
        photo = photo.resize(size, Image.Resampling.NEAREST)
    type_size = min(160, max(14, round(min(photo.size) / 24)))
    font = ImageFont.load_default(type_size)
    line, gap = round(type_size * 1.7), round(type_size * 0.8)
    names = [short(guess.name) for guess in guesses]
    shares = [percent(guess.probability) for guess in guesses]
    name_width = max(text_width(font, name) for name in names)
    share_width = max(text_width(font, share) for share in shares)
    width = max(photo.width, name_width + share_width + 6 * type_size + 4 * gap)
    canvas = Image.new("RGB", (width, photo.height + len(names) * line + 2 * gap), PAPER)
    canvas.paste(photo, (0, 0))
    draw = ImageDraw.Draw(canvas)
    left, right = name_width + 2 * gap, width - share_width - 2 * gap
    for row, (guess, name, share) in enumerate(zip(guesses, names, shares, strict=True)):
        middle = photo.height + gap + row * line + line // 2
        top, bottom = middle - type_size // 3, middle + type_size // 3
        draw.text((gap, middle), name, INK, font, anchor="lm")
        draw.rectangle((left, top, right, bottom), fill=TRACK)
        end = left + round((right - left) * guess.probability)
        draw.rectangle((left, top, end, bottom), fill=BAR)
        draw.text((width - gap, middle), share, INK, font, anchor="rm")
    return canvas
