"""A volume: voxels with their place in the patient.

Geometry is ITK's: LPS millimetres, axes in the order I, J, K, while arrays are indexed (C, K, J, I).
"""

from dataclasses import dataclass, replace

import numpy as np

from ..dicom import Grid, SeriesInfo
from ..stored.stored_image import affine_of


@dataclass(eq=False)
class Volume:
    """Voxels and geometry.

    :ivar array: (C, K, J, I); C = 1 for CT, MR and labels, 3 for colour.
    :ivar origin: (3,) centre of the first voxel, LPS mm.
    :ivar spacing: (3,) mm along I, J, K; 1 where the file has none.
    :ivar direction: (3, 3) unit vectors of I, J, K as columns, LPS.
    :ivar name: the file's name without suffix, or the series description.
    :ivar modality: "CT", "MR" (from DICOM), "RGB" (three channels) or "" (unknown).
    :ivar physical: False for pictures (PNG, JPEG, TIFF), whose spacing means nothing.
    :ivar unit: of the values as DICOM names it ("HU"), "" where nothing says it.
    :ivar series: the DICOM series that it was read from, to which a DICOM segmentation refers; else None.
    :ivar notes: sentences for the user about decisions that reading took.
    :ivar forms: what the header of a NIfTI file says about its place; results are written with the same words.
    :ivar source: the file or folder that it was read from, "" where it came as an array.
    """

    array: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    name: str = ""
    modality: str = ""
    physical: bool = True
    series: SeriesInfo | None = None
    unit: str = ""
    notes: tuple[str, ...] = ()
    forms: dict | None = None
    source: str = ""

    def __post_init__(self):
        if self.array.ndim != 4:
            raise ValueError(f"A volume's array is (C, K, J, I), not {self.array.shape}.")
        self.origin = np.asarray(self.origin, np.float64).reshape(3)
        self.spacing = np.asarray(self.spacing, np.float64).reshape(3)
        self.direction = np.asarray(self.direction, np.float64).reshape(3, 3)

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along I, J, K."""
        channels_last = self.array.shape[:0:-1]
        return channels_last[0], channels_last[1], channels_last[2]

    @property
    def channels(self) -> int:
        return self.array.shape[0]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in mL."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def title(self) -> str:
        """What sentences call it: the file or folder, or else its name."""
        return self.source or self.name or "The volume"

    @property
    def grid(self) -> Grid:
        """Where its voxels lie, and which image it is."""
        series = (self.series.series_uid, self.series.frame_of_reference) if self.series else ("", "")
        return Grid(self.size, self.origin, self.spacing, self.direction, self.title, *series, self.physical)

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel index (i, j, k, 1) to LPS mm."""
        return affine_of(self.origin, self.spacing, self.direction)

    def with_array(self, array: np.ndarray) -> "Volume":
        """The same place with other voxels, (K, J, I) or (C, K, J, I).

        :raises ValueError: the array is not on this grid.
        """
        array = array[np.newaxis] if array.ndim == 3 else array
        if array.shape[1:] != self.array.shape[1:]:
            raise ValueError(f"An array {array.shape} is not on the grid of a volume {self.array.shape}.")
        return replace(self, array=array, modality=self.modality if len(array) == self.channels else "")
