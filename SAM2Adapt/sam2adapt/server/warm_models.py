"""What stays in memory between requests: models, and the last volumes that were filled and corrected."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..modelfiles import catalog
from ..shared import paths
from .messages import loaded_device_module

if TYPE_CHECKING:
    import torch

    from ..correcting.corrector import Corrector
    from ..filling.filler import Filler
    from ..imaging.volume import Volume
    from ..segmenting.model import Model

_MODELS_KEPT = 2


class WarmModels:
    """The models that were used last, and what filling and correcting computed from the last volume."""

    def __init__(self):
        self._models: OrderedDict[tuple, Model] = OrderedDict()
        self._filler: tuple[str, Filler] | None = None
        self._corrector: tuple[tuple, Corrector] | None = None

    def model(self, name: str, device: "torch.device") -> "Model":
        """A model, loaded now or earlier; if its file has been replaced, it is loaded again.

        :raises UserError: as ``model.load_model``.
        """
        from ..segmenting.model import load_model

        path = catalog.find_model(name)
        status = paths.check_file(path)
        key = (path.resolve(), status.st_mtime_ns, status.st_size, str(device))
        if key not in self._models:
            # Before loading, because a GPU may not hold a third model.
            while len(self._models) >= _MODELS_KEPT:
                self._models.popitem(last=False)
            self._models[key] = load_model(path, device)
        self._models.move_to_end(key)
        return self._models[key]

    def filler(self, volume: "Volume", seed: int) -> "Filler":
        """The filler of a volume: that of the last request if its voxels are the same, else a new one.

        :raises VolumeError: as ``filler.Filler``.
        """
        from ..filling.filler import Filler

        digest = hashlib.blake2b(np.ascontiguousarray(volume.array))
        digest.update(repr((volume.array.dtype.str, volume.array.shape, volume.spacing.tolist(), seed)).encode())
        key = digest.hexdigest()
        if self._filler is None or self._filler[0] != key:
            self._filler = None  # before the new one, because memory may not hold both
            self._filler = (key, Filler(volume, seed))
        return self._filler[1]

    def corrector(self, key: tuple, make: Callable[[], "Corrector"]) -> "Corrector":
        """What the last correction kept if its key is the same, else what ``make`` makes.

        :param key: what tells volume and model from others.
        """
        if self._corrector is None or self._corrector[0] != key:
            self._corrector = None  # before the new one, because memory may not hold both
            self._corrector = (key, make())
        return self._corrector[1]

    def rest(self) -> None:
        """Release GPU memory that no model needs, so that Slicer can render with it between requests."""
        if device := loaded_device_module():
            device.release_memory()
