"""The models that stay loaded between requests, and the volume that was filled last."""

import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

from ..modelfiles import catalog
from ..shared import paths

if TYPE_CHECKING:
    import torch

    from ..filling.filler import Filler
    from ..segmenting.model import Model

_MODELS_KEPT = 2


class WarmModels:
    """What stays between requests: the models used last, loaded.

    :ivar filler: key of a volume's voxels and what fills it, for ``fill_methods``; None before the first filling.
    """

    def __init__(self):
        self._models: OrderedDict[tuple, Model] = OrderedDict()
        self.filler: tuple[str, Filler] | None = None

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

    def rest(self) -> None:
        """Leave the GPU's memory that no model needs to others: while nobody asks, Slicer renders with it."""
        if device := sys.modules.get("sam2adapt.machine.device"):
            device.release_memory()
