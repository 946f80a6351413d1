"""The models that stay loaded between requests, and the volume that was filled last."""

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from ..modelfiles import catalog
from ..shared import paths
from .messages import loaded_device_module

if TYPE_CHECKING:
    import torch

    from ..filling.filler import Filler
    from ..imaging.volume import Volume
    from ..segmenting.model import Model

_MODELS_KEPT = 2


class WarmModels:
    """What stays between requests: the models used last, loaded, and what was computed to fill the last volume."""

    def __init__(self):
        self._models: OrderedDict[tuple, Model] = OrderedDict()
        self._filler: tuple[str, Filler] | None = None

    def model(self, name: str, device: "torch.device") -> "Model":
        """A model, loaded now or before; a file that was replaced is loaded anew.

        :raises UserError: as ``model.load_model``.
        """
        from ..segmenting.model import load_model

        path = catalog.find_model(name)
        status = paths.check_file(path)
        key = (path.resolve(), status.st_mtime_ns, status.st_size, str(device))
        if key not in self._models:
            # Before loading: two models and a third may be more than a GPU holds.
            while len(self._models) >= _MODELS_KEPT:
                self._models.popitem(last=False)
            self._models[key] = load_model(path, device)
        self._models.move_to_end(key)
        return self._models[key]

    def filler(self, volume: "Volume", seed: int) -> "Filler":
        """What fills a volume: that of the last request if it was for the same voxels, else a new one.

        :raises VolumeError: as ``filler.Filler``.
        """
        from ..filling.filler import Filler

        digest = hashlib.blake2b(np.ascontiguousarray(volume.array))
        digest.update(repr((volume.array.dtype.str, volume.array.shape, volume.spacing.tolist(), seed)).encode())
        key = digest.hexdigest()
        if self._filler is None or self._filler[0] != key:
            self._filler = None  # before the new one: both may be more than memory holds
            # A copy: the array is a file of the client's, who deletes it, or writes another in its place.
            self._filler = (key, Filler(volume.with_array(np.array(volume.array)), seed))
        return self._filler[1]

    def rest(self) -> None:
        """Leave the GPU's memory that no model needs to others: while nobody asks, Slicer renders with it."""
        if device := loaded_device_module():
            device.release_memory()
