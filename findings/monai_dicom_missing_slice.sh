#!/usr/bin/env bash
# A CT of which one slice was lost on the way to the disk. MONAI's PydicomReader gives a whole volume, without a
# warning, and spreads the slices that are left over the length: every slice but the first and last is out of place.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.14.1 pydicom==3.0.2 numpy==2.4.6
mkdir "$folder/series"
cd "$folder/series"
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import monai
import numpy as np
import pydicom
from monai.data import PydicomReader
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

LOST = 3
POSITIONS = [3.0 * place for place in range(10) if place != LOST]

series = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
for number, position in enumerate(POSITIONS):
    image = Dataset()
    image.update(series | {"SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT"})
    image.update({"PatientID": "P", "PatientName": "P", "InstanceNumber": round(position / 3) + 1})
    image.update({"ImagePositionPatient": [0, 0, position], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    image.update({"PixelSpacing": [1, 1], "SliceThickness": 3, "SpacingBetweenSlices": 3, "Rows": 4, "Columns": 4})
    image.update({"RescaleSlope": 1, "RescaleIntercept": 0, "SamplesPerPixel": 1, "PixelRepresentation": 0})
    image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
    image.PixelData = np.full((4, 4), round(position), "<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(f"{number:02}.dcm", enforce_file_format=True)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    reader = PydicomReader()
    array, meta = reader.get_data(reader.read("."))
said = [str(warning.message) for warning in caught if "pacing" in str(warning.message) or "missing" in str(warning.message)]
spacing = float(np.asarray(meta["affine"])[2, 2])
levels = np.asarray(array)[0, 0]
off = np.abs(spacing * np.arange(len(levels)) - levels).max()
print("MONAI", monai.__version__, "with pydicom", pydicom.__version__)
print("Input:    CT slices every 3 mm from 0 to 27 mm, of which the one at 9 mm is missing.")
print("Expected: an error, a warning, or an empty place at 9 mm.")
print(f"Seen:     {len(levels)} slices {spacing:.3f} mm apart, up to {off:.1f} mm out of place, {len(said)} warnings of it")
sys.exit(0 if (len(levels), round(spacing, 3), said) == (9, 3.375, []) else "The behaviour has changed.")
PY
