"""Showing several pictures at once, and the best guesses for one: tiles with captions, bars."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from edgevit.tasks.classification import Guess
from edgevit.tasks.draw import INK, MAX_ENTRIES, PAPER, SMALLEST_PHOTO, Font, percent, short
from edgevit.tasks.pixels.resize import Picture

BAR = (52, 120, 246)
TRACK = (226, 228, 232)
TILE = 256  # px, the longer side of a tile
MOST_COLUMNS = 4


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
    name_width = max(_width(font, name) for name in names)
    share_width = max(_width(font, share) for share in shares)
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


def sheet(tiles: Sequence[tuple[Picture, str]], columns: int = MOST_COLUMNS) -> Image.Image:
    """Pictures in rows of at most `columns`, each brought near one size, its caption below it.

    Small ones are enlarged by a whole factor, so that their pixels are seen; large ones reduced.
    """
    font = ImageFont.load_default(14)
    line, gap = 24, 8
    drawn = [(_tile(picture), caption) for picture, caption in tiles]
    cell = max(
        max(tile.width for tile, _ in drawn), *(_width(font, caption) for _, caption in drawn)
    )
    height = max(tile.height for tile, _ in drawn)
    across = min(columns, len(drawn))
    rows = -(-len(drawn) // across)
    size = (across * (cell + gap) + gap, rows * (height + line + gap) + gap)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (tile, caption) in enumerate(drawn):
        x = gap + index % across * (cell + gap)
        y = gap + index // across * (height + line + gap)
        canvas.paste(tile, (x, y))
        draw.text((x, y + height + line // 2), caption, INK, font, anchor="lm")
    return canvas


def _tile(picture: Picture) -> Image.Image:
    image = Image.fromarray(picture)
    longest = max(image.size)
    if longest <= TILE:
        zoom = max(1, TILE // longest)
        size = (image.width * zoom, image.height * zoom)
        return image.resize(size, Image.Resampling.NEAREST)
    scale = TILE / longest
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _width(font: Font, text: str) -> int:
    return int(font.getlength(text)) + 1
