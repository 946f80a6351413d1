#!/usr/bin/env bash
# A contour of an RTSTRUCT has an area. rt-utils rounds the contour's points to pixels and fills those on the border
# too, so a mask comes out half a pixel larger all round than what was drawn: a lesion of 6 pixels across by nearly
# half.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  rt-utils==1.2.7 dcmrtstruct2nii==5 pydicom==2.4.4 SimpleITK==2.5.7 numpy==1.26.4
mkdir "$folder/series"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import math
import sys
from importlib.metadata import version

import numpy as np
import pydicom
import SimpleITK as sitk
from dcmrtstruct2nii import dcmrtstruct2nii
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

shared = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
for k in range(3):
    image = Dataset()
    image.update(shared | {"SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT"})
    image.update({"PatientID": "P", "PatientName": "P", "PatientBirthDate": "", "PatientSex": "", "StudyID": "1"})
    image.update({"PatientAge": "", "PatientSize": None, "PatientWeight": None})
    image.update({"StudyDate": "20200101", "StudyTime": "000000", "AccessionNumber": "", "ReferringPhysicianName": ""})
    image.update({"SeriesNumber": 1, "InstanceNumber": k + 1, "Rows": 64, "Columns": 64, "SamplesPerPixel": 1})
    image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
    image.update({"PixelRepresentation": 0, "SliceThickness": 3, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    image.update({"PixelSpacing": [1, 1], "ImagePositionPatient": [0, 0, 3 * k], "RescaleSlope": 1, "RescaleIntercept": 0})
    image.PixelData = np.zeros((64, 64), "<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.is_little_endian, image.is_implicit_VR = True, False
    image.save_as(f"series/{k}.dcm", write_like_original=False)

start = np.zeros((64, 64, 3), bool)
start[30:34, 30:34, 1] = True
silence = io.StringIO()
with contextlib.redirect_stdout(silence):
    built = RTStructBuilder.create_new("series")
    built.add_roi(mask=start, name="disc")
    built.save("start.dcm")
structures = pydicom.dcmread("start.dcm")
contour = structures.ROIContourSequence[0].ContourSequence[0]
seen = {}
for radius in (3, 6, 20):
    angles = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    rim = np.stack([31.37 + radius * np.cos(angles), 31.71 + radius * np.sin(angles), np.full(90, 3.0)], axis=1).round(3)
    contour.ContourData, contour.NumberOfContourPoints = rim.ravel().tolist(), len(rim)
    structures.save_as(f"{radius}.dcm")
    with contextlib.redirect_stdout(silence):
        by_rtutils = RTStructBuilder.create_from("series", f"{radius}.dcm").get_roi_mask_by_name("disc")
        dcmrtstruct2nii(f"{radius}.dcm", "series", f"out{radius}")
    by_other = sitk.GetArrayFromImage(sitk.ReadImage(f"out{radius}/mask_disc.nii.gz")) > 0
    rows, columns = np.mgrid[:64, :64]
    centres = int((np.hypot(columns - 31.37, rows - 31.71) < radius).sum())
    seen[radius] = int(by_rtutils.sum()), int(by_other.sum()), centres

print("rt-utils", version("rt-utils"), "and dcmrtstruct2nii", version("dcmrtstruct2nii"), "with pydicom", pydicom.__version__)
print("Input:    a round contour of 90 points in one slice, pixels of 1 mm; radius 3, 6 and 20 mm.")
print("Expected: about pi r^2 pixels of 1 mm2, as many as have their centre inside.")
for radius, (first, second, centres) in seen.items():
    area = math.pi * radius**2
    print(f"Seen:     radius {radius}: area {area:.1f} mm2, centres inside {centres};", end=" ")
    print(f"rt-utils {first} ({first / area - 1:+.0%}), dcmrtstruct2nii {second} ({second / area - 1:+.0%})")
grown = all(first > math.pi * (radius + 0.4) ** 2 for radius, (first, _, _) in seen.items())
right = all(abs(second - centres) <= 0.02 * centres + 1 for _, second, centres in seen.values())
sys.exit(0 if grown and right else "The behaviour has changed.")
PY
