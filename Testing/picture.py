"""Puts panels together to one picture, with captions and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (18, 20, 24)
TEXT = (236, 238, 242)
FAINT = (150, 156, 166)
GAP = 10

Panel = tuple[str, np.ndarray]
Legend = Sequence[tuple[str, tuple[int, int, int]]]


def withLetters(pixels: np.ndarray, letters: tuple[str, str, str, str]) -> np.ndarray:
    """`pixels` (height, width, 3) uint8 with the patient's directions at the left, right, bottom and top edge."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    places = ((14, height // 2), (width - 14, height // 2), (width // 2, height - 16), (width // 2, 16))
    for letter, place in zip(letters, places, strict=True):
        draw.text(place, letter, font=_font(20), fill=TEXT, anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def compose(rows: list[list[Panel]], title: str = "", legend: Legend = (), note: str = "") -> Image.Image:
    """One picture of rows of panels, each a caption and an array (height, width, 3) of uint8, all of one size.

    `title` and `legend` share the line above the panels, `note` stands below them.
    """
    height, width = rows[0][0][1].shape[:2]
    columns = max(len(row) for row in rows)
    top = 56 if title or legend else GAP
    bottom = 40 if note else GAP
    canvas = Image.new(
        "RGB", (GAP + columns * (width + GAP), top + len(rows) * (height + GAP) - GAP + bottom), BACKGROUND
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP + 4, top // 2), title, font=_font(26), fill=TEXT, anchor="lm")
    _drawLegend(draw, legend, canvas.width - GAP - 4, top // 2)
    for rowIndex, row in enumerate(rows):
        for column, (caption, pixels) in enumerate(row):
            corner = (GAP + column * (width + GAP), top + rowIndex * (height + GAP))
            canvas.paste(Image.fromarray(pixels), corner)
            place = (corner[0] + 12, corner[1] + 10)
            draw.text(place, caption, font=_font(19), fill=TEXT, stroke_width=2, stroke_fill=(0, 0, 0))
    draw.text((GAP + 4, canvas.height - bottom // 2), note, font=_font(18), fill=FAINT, anchor="lm")
    return canvas


def _drawLegend(draw: ImageDraw.ImageDraw, legend: Legend, right: int, middle: int) -> None:
    font = _font(20)
    for name, color in reversed(legend):
        left = right - draw.textlength(name, font=font)
        draw.text((left, middle), name, font=font, fill=TEXT, anchor="lm")
        draw.rounded_rectangle((left - 26, middle - 8, left - 10, middle + 8), radius=4, fill=color)
        right = left - 50


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
