"""DICOM: series of images as volumes, labels (SEG, RTSTRUCT) on their voxels, and results as SEG."""

from .geometry import Grid
from .scan import Scan, SeriesInfo, is_dicom, scan
from .series import SeriesVoxels, list_series, read_file, read_series, series_grid

__all__ = [
    "Grid",
    "Scan",
    "SeriesInfo",
    "SeriesVoxels",
    "is_dicom",
    "list_series",
    "read_file",
    "read_series",
    "scan",
    "series_grid",
]
