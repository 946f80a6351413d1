"""The cells of the two matrices of inputs: what each format can say of itself, one cell a statement."""

from . import dicom_compressed, dicom_enhanced, dicom_other, dicom_single, dicom_values
from .metaimage import metaimage_cells
from .nifti import analyze_cells, nifti_cells
from .nrrd import nrrd_cells
from .pictures import picture_cells

DICOM = (*dicom_single.CELLS, *dicom_values.CELLS, *dicom_enhanced.CELLS, *dicom_compressed.CELLS, *dicom_other.CELLS)
FILES = (*nifti_cells(), *analyze_cells(), *nrrd_cells(), *metaimage_cells(), *picture_cells())
