#!/usr/bin/env bash
# A radiograph has the pixel size at the detector (Imager Pixel Spacing) and, once calibrated, the one in the patient
# (Pixel Spacing). ITK (with GDCM) takes the detector's for DX and CR, so lengths come out magnified; for a secondary
# capture with the same attributes it takes the calibrated one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)


def spacing(sop_class, modality):
    image = Dataset()
    image.update({"SOPClassUID": sop_class, "SOPInstanceUID": generate_uid(), "Modality": modality})
    image.update({"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "InstanceNumber": 1})
    image.update({"PatientID": "P", "PatientName": "P", "Rows": 4, "Columns": 4, "SamplesPerPixel": 1})
    image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
    image.PixelRepresentation = 0
    image.ImagerPixelSpacing = [0.15, 0.15]
    image.PixelSpacing = [0.12, 0.12]
    image.PixelSpacingCalibrationType = "FIDUCIAL"
    image.PixelSpacingCalibrationDescription = "ball of known size"
    image.PixelData = np.arange(16, dtype="<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(f"{modality}.dcm", enforce_file_format=True)
    return round(sitk.ReadImage(f"{modality}.dcm").GetSpacing()[0], 6)


seen = {
    "DX": spacing(DigitalXRayImageStorageForPresentation, "DX"),
    "CR": spacing(ComputedRadiographyImageStorage, "CR"),
    "OT": spacing(SecondaryCaptureImageStorage, "OT"),
}
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), "and pydicom", pydicom.__version__)
print("Input:    Imager Pixel Spacing 0.15 mm, Pixel Spacing 0.12 mm calibrated with a fiducial.")
print("Expected: 0.12 mm, the size in the patient, whatever the class.")
print("Seen:     " + ", ".join(f"{name} {value:g} mm" for name, value in seen.items()))
sys.exit(0 if seen == {"DX": 0.15, "CR": 0.15, "OT": 0.12} else "The behaviour has changed.")
PY
