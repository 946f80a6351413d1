#!/usr/bin/env bash
# DICOM's Pixel Spacing names the distance between rows first, then between columns. rt-utils multiplies the direction along
# a row by the first and the one down a column by the second. With pixels that are not square, the contours it writes lie
# elsewhere in the patient, and its own reader turns the mistake back, so that a test by round trip passes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rt-utils==1.2.7 pydicom==3.0.2 numpy==2.2.6
mkdir "$folder/series"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from rt_utils import RTStructBuilder

shared = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
for k in range(3):
    image = Dataset()
    image.update(shared | {"SOPClassUID": MRImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "MR"})
    image.update({"PatientID": "P", "PatientName": "P", "PatientBirthDate": "", "PatientSex": "", "StudyID": "1"})
    image.update({"PatientAge": "", "PatientSize": None, "PatientWeight": None})
    image.update({"StudyDate": "20200101", "StudyTime": "000000", "AccessionNumber": "", "ReferringPhysicianName": ""})
    image.update({"SeriesNumber": 1, "InstanceNumber": k + 1, "Rows": 24, "Columns": 24, "SamplesPerPixel": 1})
    image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
    image.update({"PixelRepresentation": 0, "SliceThickness": 3, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    image.update({"PixelSpacing": [2, 1], "ImagePositionPatient": [0, 0, 3 * k]})
    image.PixelData = np.zeros((24, 24), "<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(f"series/{k}.dcm", enforce_file_format=True)

mask = np.zeros((24, 24, 3), bool)
mask[4:8, 3:15, 1] = True
built = RTStructBuilder.create_new("series")
built.add_roi(mask=mask, name="box")
built.save("box.dcm")
contour = pydicom.dcmread("box.dcm").ROIContourSequence[0].ContourSequence[0]
points = np.reshape([float(value) for value in contour.ContourData], (-1, 3))
seen = [[int(points[:, axis].min()), int(points[:, axis].max())] for axis in (0, 1)]
back = RTStructBuilder.create_from("series", "box.dcm").get_roi_mask_by_name("box")
print("rt-utils", version("rt-utils"), "with pydicom", pydicom.__version__)
print("Input:    rows 2 mm apart, columns 1 mm apart; a box of rows 4 to 7 and columns 3 to 14, the first pixel at 0.")
print("Expected: a contour from x = 3 to 14 mm and from y = 8 to 14 mm.")
print(f"Seen:     x = {seen[0][0]} to {seen[0][1]} mm, y = {seen[1][0]} to {seen[1][1]} mm;", end=" ")
print(f"read back by rt-utils, {int((back != mask).sum())} voxels differ.")
sys.exit(0 if seen == [[6, 28], [4, 7]] and np.array_equal(back, mask) else "The behaviour has changed.")
PY
