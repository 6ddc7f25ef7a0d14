"""Several pictures on one sheet: tiles with captions."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from edgevit.tasks.drawing.style import INK, PAPER, text_width
from edgevit.tasks.pixels.resize import Picture

TILE = 256  # px, the longer side of a tile
MOST_COLUMNS = 4


def sheet(tiles: Sequence[tuple[Picture, str]], columns: int = MOST_COLUMNS) -> Image.Image:
    """Pictures in rows of at most `columns`, each brought near one size, its caption below it.

    Small ones are enlarged by a whole factor, so that their pixels are seen; large ones reduced.
    """
    font = ImageFont.load_default(14)
    line, gap = 24, 8
    drawn = [(_tile(picture), caption) for picture, caption in tiles]
    cell = max(
        max(tile.width for tile, _ in drawn), *(text_width(font, caption) for _, caption in drawn)
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
