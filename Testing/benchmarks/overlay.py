"""Pictures of slices with truth and prediction, for the pages of models and the worst cases of the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sam2adapt.evaluation.cases import Case
from sam2adapt.imaging.terminology import Structure
from sam2adapt.segmenting.model import Model
from sam2adapt.segmenting.predict import Options, segment
from sam2adapt.segmenting.slices import SliceStack
from sam2adapt.shared.labels.annotation import IGNORE
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


class Segmented:
    """A case segmented by a model, slice by slice.

    :param case: with labels; what is not annotated counts for nothing.
    """

    def __init__(self, model: Model, case: Case):
        volume, truth = load_case(case, model.structures)
        prediction = segment(volume, model, Options(any_modality=True)).labels.array[0]
        self.stack = SliceStack(volume, model.slices)
        annotated = self.stack.oriented(truth) != IGNORE
        self.truth, self.prediction = (
            np.where(annotated, self.stack.oriented(labels), 0) for labels in (truth, prediction)
        )

    def __len__(self) -> int:
        return len(self.stack)

    def dice(self, k: int) -> float | None:
        """Mean Dice of one slice over the structures in it; None where neither truth nor prediction has any."""
        truth, found = self.truth[k], self.prediction[k]
        scores = [
            2 * int(((truth == value) & (found == value)).sum()) / int((truth == value).sum() + (found == value).sum())
            for value in np.union1d(truth, found) if value
        ]  # fmt: skip
        return sum(scores) / len(scores) if scores else None

    def view(self, k: int) -> View:
        """One slice, with the head at the top."""
        stack, physical = self.stack, self.stack.volume.physical
        low, high = stack.limits
        grey = np.clip((stack.array[:, k].astype(np.float32) - low) / ((high - low) or 1.0), 0, 1)
        image = np.broadcast_to(grey.transpose(1, 2, 0), (*grey.shape[1:], 3))
        rows, columns = stack.native_spacing if physical else (1.0, 1.0)
        # Coronal and sagittal slices of volumes have the feet in their first row.
        order = slice(None, None, -1 if physical and stack.axis != 2 else 1)
        return View(*(array[order] for array in (image, self.truth[k], self.prediction[k])), rows / columns)

    def fullest(self) -> int:
        """The slice with the most of the structures."""
        return int((self.truth > 0).sum(axis=(1, 2)).argmax())

    def wrongest(self) -> int:
        """The slice with the most wrong pixels."""
        return int((self.truth != self.prediction).sum(axis=(1, 2)).argmax())


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
    out = image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)  # on a red photograph, no vessel could be seen
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
