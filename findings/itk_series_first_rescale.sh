#!/usr/bin/env bash
# Each slice of a DICOM series may have a rescale of its own; PET is often stored so, each slice scaled to its brightest
# voxel. ITK's series reader takes the type of the volume from the first slice. If that one has slope 1 and intercept 0
# (an empty slice), the fractions of all others are cut off, and values below 0 or above 65535 come round at the other
# end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>stderr.txt <<'PY'
import os
import sys

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid


def read(name, slices):
    """What ITK reads of a series; a slice is its stored value, slope and intercept."""
    os.mkdir(name)
    shared = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
    for k, (value, slope, intercept) in enumerate(slices):
        image = Dataset()
        image.update(shared | {"SOPClassUID": PositronEmissionTomographyImageStorage, "SOPInstanceUID": generate_uid()})
        image.update({"Modality": "PT", "PatientID": "P", "PatientName": "P", "InstanceNumber": k + 1, "Rows": 4, "Columns": 4})
        image.update({"ImagePositionPatient": [0, 0, 2 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
        image.update({"PixelSpacing": [1, 1], "SliceThickness": 2, "RescaleSlope": slope, "RescaleIntercept": intercept})
        image.update({"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 0})
        image.update({"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
        image.PixelData = np.full((4, 4), value, "<u2").tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(f"{name}/{k}.dcm", enforce_file_format=True)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(name))
    volume = reader.Execute()
    values = [round(float(value), 3) for value in sitk.GetArrayFromImage(volume)[:, 0, 0]]
    return values, volume.GetPixelIDTypeAsString(), [float(value * slope + intercept) for value, slope, intercept in slices]


lit = [(30000, 0.00025, 0), (200, 1, -1024), (40000, 2, 0)]
cases = {"empty slice first": [(0, 1, 0), *lit], "empty slice last": [*lit, (0, 1, 0)]}
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    slices that store 30000, 200 and 40000 with slope 0.00025, intercept -1024 and slope 2, and one of zeros.")
held = True
for name, slices in cases.items():
    seen, kind, expected = read(name.replace(" ", "_"), slices)
    print(f"Expected: {name}: {expected}")
    print(f"Seen:     {name}: {seen}, {kind}")
    held &= seen == ([0, 7, 64712, 14464] if slices[0][0] == 0 else expected)
said = open("stderr.txt").read().strip()
print("Said by ITK:", said or "nothing")
sys.exit(0 if held and not said else "The behaviour has changed.")
PY
