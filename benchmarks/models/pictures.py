"""Rendered text: lines and pages in Pillow's own font, scaled, turned a little, with noise."""

from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rng = np.random.Generator
Array = np.ndarray[Any, np.dtype[Any]]

_WORDS: Final = (
    "invoice total amount paid on delivery order number street the quick brown fox price per unit "
    "Customer Address London Paris net gross tax Friday March receipt thank you for your visit "
    "open closed exit platform ticket valid until return sale Model size speed weight report"
)
_ENDS: Final = ("", "", "", ",", ".", ":", "!", "?", "%")


def line(rng: Rng, height: int, width: int, *, turned: bool = False) -> Array:
    """One line as a network takes it: float32 [1, 3, height, width], filled up with zeros."""
    picture = _rendered(rng, _text(rng, int(rng.integers(1, 5))), int(rng.integers(20, 44)))
    scaled = max(min(round(picture.width * height / picture.height), width), 1)
    picture = picture.resize((scaled, height), Image.Resampling.BILINEAR)
    picture = picture.rotate(180) if turned else picture
    filled = np.zeros((1, 3, height, width), np.float32)
    filled[..., :scaled] = _normalized(rng, picture)
    return filled


def page(rng: Rng, height: int, width: int) -> Array:
    """A page of several lines, float32 [1, 3, height, width]."""
    sheet = Image.new("L", (width, height), int(rng.integers(200, 256)))
    top = int(rng.integers(4, 24))
    while top < height - 24:
        text = _rendered(rng, _text(rng, int(rng.integers(1, 5))), int(rng.integers(13, 28)))
        sheet.paste(text, (int(rng.integers(2, width // 4)), top))
        top += text.height + int(rng.integers(4, 30))
    return _normalized(rng, sheet)


def _text(rng: Rng, words: int) -> str:
    return " ".join(_word(rng) for _ in range(words))


def _word(rng: Rng) -> str:
    if rng.random() < 0.3:
        return f"{rng.integers(0, 10**5) / 10 ** int(rng.integers(0, 3)):g}"
    word = str(rng.choice(_WORDS.split())) + str(rng.choice(_ENDS))
    return word.upper() if rng.random() < 0.2 else word


def _rendered(rng: Rng, text: str, size: int) -> Image.Image:
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = font.getbbox(text)
    margin = max(size // 5, 3)
    box = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    paper, ink = int(rng.integers(190, 256)), int(rng.integers(0, 90))
    picture = Image.new("L", box, paper)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, font=font, fill=ink)
    angle = float(rng.uniform(-2, 2))
    return picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=paper)


def _normalized(rng: Rng, picture: Image.Image) -> Array:
    grey = np.asarray(picture, np.float32) + rng.normal(0, rng.uniform(1, 10), picture.size[::-1])
    scaled = (np.clip(grey, 0, 255) / 127.5 - 1).astype(np.float32)
    return np.broadcast_to(scaled, (1, 3, *scaled.shape)).copy()
