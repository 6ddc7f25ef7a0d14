"""The mixtures of a network as a picture: what they cost, and how near to float they stay."""

from PIL import Image, ImageDraw, ImageFont

from edgevit.quantize.sensitivity import Point, Sensitivity
from edgevit.tasks.drawing.style import INK, PAPER

SIZE = (900, 560)  # px
MARGIN = (90, 40, 40, 70)  # px: left, top, right, bottom
GRID, LINE, REST = (226, 228, 232), (52, 120, 246), (150, 155, 165)
STEPS = 5  # of each axis
FLOAT_SQNR = 80.0  # dB; the float network itself would squeeze all others into a corner


def plot(sensitivity: Sensitivity, title: str) -> Image.Image:
    """RGB: cost to the right, SQNR upward; the Pareto set joined, what it beats in gray.

    The float network (the last point) is left out where others are drawn.
    """
    canvas = Image.new("RGB", SIZE, PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    points = [p for p in sensitivity.points if p.sqnr < FLOAT_SQNR] or list(sensitivity.points)
    left, top, right, bottom = MARGIN
    costs, sqnrs = [p.cost for p in points], [p.sqnr for p in points]
    low_x, high_x = _range(costs, 0.02)
    low_y, high_y = _range(sqnrs, 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - low_x) / (high_x - low_x), (y - low_y) / (high_y - low_y)
        return (
            left + across * (SIZE[0] - left - right),
            SIZE[1] - bottom - up * (SIZE[1] - top - bottom),
        )

    for step in range(STEPS + 1):
        x = low_x + (high_x - low_x) * step / STEPS
        y = low_y + (high_y - low_y) * step / STEPS
        draw.line([place(x, low_y), place(x, high_y)], GRID)
        draw.line([place(low_x, y), place(high_x, y)], GRID)
        draw.text(_shifted(place(x, low_y), 0, 8), f"{x:.2f}", INK, font, anchor="mt")
        draw.text(_shifted(place(low_x, y), -8, 0), f"{y:.0f} dB", INK, font, anchor="rm")
    best = sorted((p for p in points if p.best), key=lambda p: p.cost)
    if len(best) > 1:
        draw.line([place(p.cost, p.sqnr) for p in best], LINE, width=2)
    for point in points:
        _dot(draw, place(point.cost, point.sqnr), LINE if point.best else REST)
    _names(draw, font, [(place(p.cost, p.sqnr), p) for p in best])
    how = "measured" if sensitivity.measured_costs else "modelled by MACs"
    draw.text((left, 12), title, INK, font)
    draw.text((SIZE[0] // 2, SIZE[1] - 12), f"cost, float = 1 ({how})", INK, font, anchor="mb")
    return canvas


def _range(values: list[float], margin: float) -> tuple[float, float]:
    return min(values) - margin, max(values) + margin


def _shifted(place: tuple[float, float], x: float, y: float) -> tuple[float, float]:
    return place[0] + x, place[1] + y


def _dot(draw: ImageDraw.ImageDraw, place: tuple[float, float], color: tuple[int, ...]) -> None:
    x, y = place
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color)


def _names(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    placed: list[tuple[tuple[float, float], Point]],
) -> None:
    """Beside some points, far enough apart, the block that is float there and not before."""
    last = (-1e9, -1e9)
    for place, point in placed:
        if abs(place[0] - last[0]) < 90 and abs(place[1] - last[1]) < 18:
            continue
        name = point.floats[-1] if point.floats else "all integer"
        outside = place[0] > SIZE[0] * 0.7
        anchor = "rb" if outside else "lt"
        draw.text(_shifted(place, -7 if outside else 7, 3), name, INK, font, anchor=anchor)
        last = place
