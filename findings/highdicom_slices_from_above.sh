#!/usr/bin/env bash
# highdicom's volume of an axial series begins at the head: index 0 is the highest slice, whichever order the files come
# in, because its axes (slice, row, column) are kept right-handed. ITK begins at the feet with the same files, so
# the two arrays, both (slice, row, column), are each other's mirror image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_series(count):
    """Axial CT slices of 8 x 6 pixels, 2 mm apart from z = 0 upwards; slice number k (from 1) stores k."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k in range(count):
        image = Dataset()
        image.update({"SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT"})
        image.update({"StudyInstanceUID": study, "SeriesInstanceUID": series, "FrameOfReferenceUID": frame})
        image.update({"PatientID": "P", "PatientName": "P", "PatientBirthDate": "", "PatientSex": "", "StudyID": "1"})
        image.update({"StudyDate": "20200101", "StudyTime": "000000", "AccessionNumber": "", "ReferringPhysicianName": ""})
        image.update({"SeriesNumber": 1, "InstanceNumber": k + 1, "Rows": 8, "Columns": 6, "SamplesPerPixel": 1})
        image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
        image.update({"PixelRepresentation": 0, "PixelSpacing": [1, 1], "SliceThickness": 2, "RescaleSlope": 1})
        image.update({"RescaleIntercept": 0, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
        image.ImagePositionPatient = [0, 0, 2 * k]
        image.PixelData = np.full((8, 6), k + 1, "<u2").tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slices.append(image)
    return slices


slices = ct_series(4)
names = [f"{k}.dcm" for k in range(len(slices))]
for name, image in zip(names, slices, strict=True):
    image.save_as(name, enforce_file_format=True)
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames("."))
by_itk = sitk.GetArrayFromImage(reader.Execute())[:, 0, 0].tolist()
upwards = highdicom.get_volume_from_series(slices)
downwards = highdicom.get_volume_from_series(slices[::-1])
orders = [volume.array[:, 0, 0].astype(int).tolist() for volume in (upwards, downwards)]
place = upwards.affine[:3, 3].tolist()

print("highdicom", highdicom.__version__, "and pydicom", pydicom.__version__, end="; ")
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    axial slices at z = 0, 2, 4, 6 mm that store 1, 2, 3, 4.")
print("Expected: the array follows the files or rising z: 1, 2, 3, 4.")
print(f"Seen:     ITK {by_itk}; highdicom {orders[0]}, its first voxel at {place} mm;")
print(f"          highdicom, files given from above: {orders[1]}.")
held = by_itk == [1, 2, 3, 4] and orders == [[4, 3, 2, 1]] * 2 and place == [0, 0, 6]
sys.exit(0 if held else "The behaviour has changed.")
PY
