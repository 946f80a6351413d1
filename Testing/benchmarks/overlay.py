"""Pictures of slices with truth and prediction, for the pages of models and the worst cases of the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sam2adapt.model import Model
from sam2adapt.predict import segment
from sam2adapt.slices import SliceStack
from sam2adapt.terminology import Structure
from sam2adapt.training.cases import Case
from sam2adapt.training.losses import IGNORE
from sam2adapt.training.prepare import load_case

HEIGHT = 320  # of a panel, pixels
_BAR = 22  # of the line of text above a panel
_OPACITY = 0.5


@dataclass(frozen=True)
class View:
    """One slice: grey levels (H, W, 3) of 0..1, label values of truth and prediction (H, W), pixels' height / width."""

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    aspect: float


def view_of(model: Model, case: Case, worst: bool) -> View:
    """Segment a case and take the slice that shows most of it.

    :param worst: the slice with the most wrong pixels, else the one with the most of the structures.
    """
    volume, truth = load_case(case, model.structures)
    prediction = segment(volume, model).labels.array[0]
    stack = SliceStack(volume, model.slices)
    wanted, found = stack.oriented(truth), stack.oriented(prediction)
    found = np.where(wanted == IGNORE, 0, found)
    wanted = np.where(wanted == IGNORE, 0, wanted)
    counts = (wanted != found if worst else wanted > 0).sum(axis=(1, 2))
    k = int(counts.argmax())
    low, high = stack.limits
    grey = np.clip((stack.array[:, k].astype(np.float32) - low) / ((high - low) or 1.0), 0, 1)
    image = np.broadcast_to(grey.transpose(1, 2, 0), (*grey.shape[1:], 3))
    rows, columns = stack.native_spacing if volume.physical else (1.0, 1.0)
    upright = _upright(stack, volume.physical)
    return View(*(array[upright] for array in (image, wanted[k], found[k])), rows / columns)


def _upright(stack: SliceStack, physical: bool) -> tuple[slice, slice]:
    """Coronal and sagittal slices of volumes have the feet in their first row."""
    flipped = physical and stack.axis != 2
    return slice(None, None, -1 if flipped else 1), slice(None)


def panel(view: View, structures: Sequence[Structure], caption: str) -> Image.Image:
    """The slice alone, with the truth and with the prediction, side by side under one line of text."""
    height = HEIGHT
    width = max(1, round(height * view.image.shape[1] / (view.image.shape[0] * view.aspect)))
    layers = [view.image, *(_painted(view.image, labels, structures) for labels in (view.truth, view.prediction))]
    canvas = Image.new("RGB", (3 * width + 8, height + _BAR), (18, 20, 24))
    for number, layer in enumerate(layers):
        picture = Image.fromarray((layer * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        canvas.paste(picture, (number * (width + 4), _BAR))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    draw.text((6, _BAR // 2), caption, font=font, fill=(236, 238, 242), anchor="lm")
    for number, name in ((1, "truth"), (2, "model")):
        draw.text((number * (width + 4) + 6, _BAR + 4), name, font=font, fill=(236, 238, 242), stroke_width=2,
                  stroke_fill=(0, 0, 0))  # fmt: skip
    return canvas


def _painted(image: np.ndarray, labels: np.ndarray, structures: Sequence[Structure]) -> np.ndarray:
    out = image.copy()
    for structure in structures:
        inside = labels == structure.id
        out[inside] = (1 - _OPACITY) * out[inside] + _OPACITY * np.array(structure.color)
    return out


def stacked(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels one below the other."""
    canvas = Image.new("RGB", (max(p.width for p in panels), sum(p.height + 6 for p in panels)), (18, 20, 24))
    top = 0
    for picture in panels:
        canvas.paste(picture, (0, top))
        top += picture.height + 6
    return canvas
