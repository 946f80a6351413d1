"""Volumes: voxels with their place in the patient, read from and written to the usual files."""

from ..dicom import SeriesInfo, list_series
from .checks import check_input, check_voxels
from .geometry import check_on_grid, geometry_difference, same_geometry
from .labels import holds_segments, read_label_map, read_labels, read_segments, read_structures
from .reading import read_series_files, read_volume
from .volume import Volume
from .writing import DicomOutput, check_fits, write_labels, write_segments, write_volume

__all__ = [
    "DicomOutput",
    "SeriesInfo",
    "Volume",
    "check_fits",
    "check_input",
    "check_on_grid",
    "check_voxels",
    "geometry_difference",
    "holds_segments",
    "list_series",
    "read_label_map",
    "read_labels",
    "read_segments",
    "read_series_files",
    "read_structures",
    "read_volume",
    "same_geometry",
    "write_labels",
    "write_segments",
    "write_volume",
]
