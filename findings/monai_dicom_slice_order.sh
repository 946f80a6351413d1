#!/usr/bin/env bash
# The places of DICOM slices are in Image Position (Patient); Instance Number is a label that need not follow them.
# MONAI's PydicomReader stacks the files of a folder by Instance Number, without a word when the positions then jump
# back and forth, and takes the spacing from the first and last of that stack.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  monai==1.6.1 torch==2.14.1 pydicom==3.0.2 SimpleITK==2.5.7 numpy==2.4.6
mkdir "$folder/series"
cd "$folder/series"
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import monai
import numpy as np
import pydicom
import SimpleITK as sitk
from monai.data import PydicomReader
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

POSITIONS = (0, 2, 4, 6)  # mm; each slice holds its position as grey level
NUMBERS = (1, 10, 2, 3)  # an acquisition that was sent in two parts and numbered by its parts

series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
for position, number in zip(POSITIONS, NUMBERS):
    image = Dataset()
    image.update(series | {"SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT"})
    image.update({"PatientID": "P", "PatientName": "P", "InstanceNumber": number, "Rows": 4, "Columns": 4})
    image.update({"ImagePositionPatient": [0, 0, position], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    image.update({"PixelSpacing": [1, 1], "RescaleSlope": 1, "RescaleIntercept": 0, "SamplesPerPixel": 1})
    image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
    image.PixelRepresentation = 0
    image.PixelData = np.full((4, 4), position, "<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(f"{number:02}.dcm", enforce_file_format=True)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    reader = PydicomReader()
    array, meta = reader.get_data(reader.read("."))
said = [str(warning.message) for warning in caught if "pacing" in str(warning.message) or "order" in str(warning.message)]
levels = [int(level) for level in np.asarray(array)[0, 0]]
spacing = round(float(np.asarray(meta["affine"])[2, 2]), 3)
itk = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames("."))
print("MONAI", monai.__version__, "with pydicom", pydicom.__version__, "; SimpleITK", sitk.Version.VersionString())
print("Input:    four CT slices at 0, 2, 4 and 6 mm that hold their position, with Instance Numbers 1, 10, 2 and 3.")
print("Expected: [0, 2, 4, 6], 2 mm apart (as ITK reads them:", sitk.GetArrayFromImage(itk)[:, 0, 0].tolist(), end=")\n")
print(f"Seen:     {levels}, {spacing} mm apart, {len(said)} warnings of spacing or order")
sys.exit(0 if (levels, spacing, said) == ([0, 4, 6, 2], 0.667, []) else "The behaviour has changed.")
PY
