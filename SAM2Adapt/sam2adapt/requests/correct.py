"""Carries out ``Correct``."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging.region import region_of
from ..imaging.volume import check_voxels
from ..machine.interruption import interruptible, look
from ..modelfiles.catalog import find_model
from ..shared import paths
from ..shared.errors import DrawingError, SettingsError
from ..shared.files import check_output
from ..shared.requests.server_actions import Correct
from .arrays import read_array, read_input, write_array
from .segment import Load

if TYPE_CHECKING:
    from ..correcting.corrector import Corrector

#: Returns what was kept under a key, or what the function makes.
Keep = Callable[[tuple, Callable[[], "Corrector"]], "Corrector"]


def correct(
    request: Correct,
    load: Load | None = None,
    keep: Keep | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Carry out the new gestures on a segment and write the segment; without gestures, prepare the slices.

    :param load: returns the model, perhaps one that is loaded already; None: it is read from its file.
    :param keep: returns the corrector of a volume and model, perhaps one that is kept; None: a new one.
    :return: plain data: ``output``; ``axis``, the array axis across the model's slices; ``slices``, indices of those
        that were corrected, that of the gesture first; ``carried``, those of them that the change was carried to;
        ``changed``, voxels; ``knows_structure`` and ``takes_prompts`` of the model; ``seconds``.
    :raises UserError: an error that a user can fix; nothing is written then.
    """
    started = time.perf_counter()
    _check(request)
    corrector = (keep or _make)(_key(request), lambda: _corrector(request, load))
    region = region_of(corrector.stack.volume, request.roi or _whole(corrector))
    report = {
        "output": None, "axis": corrector.axis, "slices": [], "carried": [], "changed": 0,
        "knows_structure": corrector.evidence.class_of(request.structure) is not None,
        "takes_prompts": corrector.evidence.takes_prompts,
    }  # fmt: skip
    with interruptible(cancelled, "The correction"):
        look()
        if request.gestures:
            masks = _read_masks(request.labels, region)
            result = corrector.correct(request.structure, masks, region, request.gestures, request.carry, request.new)
            look()
            write_array(request.masks, result.masks.view(np.uint8))
            report |= {
                "output": str(request.masks), "slices": result.slices, "carried": result.carried,
                "changed": int(np.count_nonzero(result.masks != masks)),
            }  # fmt: skip
        else:
            corrector.prepare(region)
    return report | {"seconds": round(time.perf_counter() - started, 4)}


def _check(request: Correct) -> None:
    if request.gestures and (request.labels is None or request.masks is None):
        raise SettingsError(
            "A correction needs the segment and a file for the result.", "Give both.", setting=("labels", "masks")
        )
    if request.masks:
        check_output(request.masks)


def _key(request: Correct) -> tuple:
    """What tells volume, model and device from others: the files as they are now, and the geometry.

    A file counts by itself, not by its path, because each request from another computer has links of its own.
    """
    volume = json.dumps({key: value for key, value in request.input.items() if key != "array"}, sort_keys=True)
    files = [Path(request.input["array"]), *([find_model(request.model)] if request.model else [])]
    states = [paths.check_file(path) for path in files]
    stamps = [(state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size) for state in states]
    return volume, *stamps, request.device, request.any_modality


def _make(key: tuple, make: Callable[[], "Corrector"]) -> "Corrector":
    return make()


def _corrector(request: Correct, load: Load | None) -> "Corrector":
    """A new corrector of volume and model.

    :raises UserError: the volume cannot be read, or is not of the model's kind.
    """
    volume = read_input(request.input)
    check_voxels(volume)

    from ..correcting.corrector import Corrector  # only now: importing torch takes seconds
    from ..machine.device import choose_device
    from ..segmenting.model import load_model
    from ..segmenting.slices import check_colour, check_modality

    if request.model is None:
        return Corrector(volume, None)
    device, _ = choose_device(request.device)
    model = (load or load_model)(request.model, device)
    check = check_colour if request.any_modality else check_modality
    check(volume, model.card["modality"], model.name)
    return Corrector(volume, model)


def _whole(corrector: "Corrector") -> tuple[int, ...]:
    return tuple(end for size in corrector.stack.volume.size for end in (0, size))


def _read_masks(path: Path, region: tuple[slice, slice, slice]) -> np.ndarray:
    """The segment in the region, (K, J, I) bool.

    :raises DrawingError: the file holds another shape.
    """
    masks, shape = read_array(path), tuple(part.stop - part.start for part in region)
    if masks.shape != shape:
        raise DrawingError(
            f"The segment has the shape {masks.shape}, and the part of the volume {shape}.",
            "Start again.",
            setting="roi",
        )
    return masks != 0
