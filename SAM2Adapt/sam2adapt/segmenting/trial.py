"""Try a model on three slices of a volume: whether it is sure, and stays with its answer if the image is smaller.

A model that meets an image of another kind finds specks, is unsure of them, and finds others at another size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imaging.volume import Volume, check_voxels
from ..machine.interruption import interruptible, look
from ..shared.model_fit import trial_score, trial_slices
from .model import Model
from .predict import entropy_of, probabilities_of
from .rank import MARGIN, disagreement
from .slices import SliceStack, check_modality

_SMALLER = 0.75  # scale of the second look; a larger scale would cost three times as much


@dataclass(frozen=True)
class Trial:
    """What a model did on the slices.

    :ivar found: names of the structures that it labelled.
    :ivar uncertainty, disagreement: as of ``rank.Ranked``, of the pixels of the model's grid; 1 if nothing was found.
    """

    found: list[str]
    uncertainty: float = 1.0
    disagreement: float = 1.0

    @property
    def score(self) -> float:
        """0 to 1, see ``model_fit``."""
        return trial_score(self.uncertainty, self.disagreement)


def try_model(volume: Volume, model: Model, cancelled: Callable[[], bool] | None = None) -> Trial:
    """Try a model on the slices of ``model_fit.trial_slices``.

    :param cancelled: called before and within each look at a slice; if it returns true, ``CancelledError`` is raised.
    :raises VolumeError, ModalityError: as ``predict.segment``.
    """
    check_voxels(volume)
    check_modality(volume, model.card["modality"], model.name)
    stack = SliceStack(volume, model.slices)
    looks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with interruptible(cancelled, "The trial"):
        for index in trial_slices(len(stack)):
            images = stack.batch(index, index + 1)
            look()
            plain = probabilities_of(model, images)
            look()
            smaller = probabilities_of(model, images, _SMALLER)
            labels = [one.argmax(dim=1)[0].cpu().numpy() for one in (plain, smaller)]
            looks.append((labels[0], labels[1], entropy_of(plain)[0].cpu().numpy()))
    return _judged(*map(np.stack, zip(*looks, strict=True)), model)


def _judged(labels: np.ndarray, others: np.ndarray, entropy: np.ndarray, model: Model) -> Trial:
    """The trial of which these are the labels at both scales (numbers of classes) and the entropy, (N, h, w) each."""
    present = np.unique(labels[labels > 0])
    if not present.size:
        return Trial([])
    plane = ndimage.generate_binary_structure(3, 1)
    plane[0] = plane[2] = False  # the slices are far apart
    around = ndimage.binary_dilation(labels > 0, plane, iterations=MARGIN)
    names = [model.structures[number - 1].name for number in present]
    return Trial(names, float(entropy[around].mean()), disagreement(labels, others))
