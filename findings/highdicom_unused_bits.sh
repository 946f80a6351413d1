#!/usr/bin/env bash
# Of the 16 bits of a DICOM pixel often only 12 are the value. The other four are no part of it (PS3.5, 8.1.1): in older
# files they hold an overlay, or zeros beside a negative value. highdicom's Image.get_frames takes them for part of the
# value; its own get_volume_from_series, pydicom and ITK leave them out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_slice(name, stored, signed):
    """One CT slice of 4 x 4 pixels, 12 of 16 bits used; stored holds all 16."""
    image = Dataset()
    image.update({"SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT"})
    image.update({"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "StudyID": "1"})
    image.update({"FrameOfReferenceUID": generate_uid(), "PatientID": "P", "PatientName": "P", "PatientBirthDate": ""})
    image.update({"PatientSex": "", "StudyDate": "20200101", "StudyTime": "000000", "AccessionNumber": ""})
    image.update({"ReferringPhysicianName": "", "SeriesNumber": 1, "InstanceNumber": 1, "Rows": 4, "Columns": 4})
    image.update({"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": int(signed)})
    image.update({"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": 0})
    image.update({"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    image.update({"PixelSpacing": [1, 1], "SliceThickness": 2})
    image.PixelData = np.full((4, 4), stored, "<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(name, enforce_file_format=True)


def values(name):
    image = pydicom.dcmread(name)
    arrays = {
        "highdicom get_frames": highdicom.imread(name).get_frames(),
        "highdicom get_volume_from_series": highdicom.get_volume_from_series([image]).array,
        "pydicom": image.pixel_array,
        "ITK": sitk.GetArrayFromImage(sitk.ReadImage(name)),
    }
    return {reader: int(np.unique(array).item()) for reader, array in arrays.items()}


ct_slice("overlay.dcm", 100 | 0x1000, signed=False)
ct_slice("negative.dcm", -5 & 0x0FFF, signed=True)
seen = {"100 with an overlay bit": values("overlay.dcm"), "-5 in 12 bits": values("negative.dcm")}
print("highdicom", highdicom.__version__, "and pydicom", pydicom.__version__, end="; ")
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    12 bits stored of 16: the value 100 with bit 12 set, as an overlay; the signed value -5 with 0 in bits 12 to 15.")
print("Expected: 100 and -5 from every reader.")
for name, readers in seen.items():
    print(f"Seen:     {name}: " + ", ".join(f"{reader} {value}" for reader, value in readers.items()))
wrong = {name: readers.pop("highdicom get_frames") for name, readers in seen.items()}
right = [set(readers.values()) for readers in seen.values()] == [{100}, {-5}]
sys.exit(0 if right and list(wrong.values()) == [4196, 4091] else "The behaviour has changed.")
PY
