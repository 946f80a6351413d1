#!/usr/bin/env bash
# GDCM, which ITK reads DICOM with, applies the rescale of the first frame to all frames of a multi-frame (enhanced) CT,
# without a warning. The standard lets slope and intercept differ from frame to frame.
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
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**values):
    dataset = Dataset()
    dataset.update(values)
    return dataset


def enhanced_ct(frames):
    """A multi-frame CT of 4 x 4 pixels; a frame is its z in mm, place in the stack, stored value, slope and intercept."""
    image = item(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), Modality="CT", PatientID="P", PatientName="P")
    image.update({"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()})
    image.update({"Rows": 4, "Columns": 4, "NumberOfFrames": len(frames), "InstanceNumber": 1, "SamplesPerPixel": 1})
    image.update({"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15})
    image.PixelRepresentation = 0
    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=2.5)])
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=place, DimensionIndexValues=[1, place])],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")],
        )
        for z, place, _, slope, intercept in frames
    ]
    image.PixelData = np.repeat([frame[2] for frame in frames], 16).astype("<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


frames = [(0.0, 1, 100, 1, -10), (2.5, 2, 100, 2, -20), (5.0, 3, 100, 3, -30)]
enhanced_ct(frames).save_as("ct.dcm", enforce_file_format=True)
expected = [value * slope + intercept for _, _, value, slope, intercept in frames]
by_itk = sitk.GetArrayFromImage(sitk.ReadImage("ct.dcm"))[:, 0, 0].tolist()
by_highdicom = highdicom.imread("ct.dcm").get_frames(dtype=np.float64)[:, 0, 0].tolist()

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), end="; ")
print("highdicom", highdicom.__version__, "and pydicom", pydicom.__version__)
print("Input:    3 frames that store 100; slopes 1, 2, 3 and intercepts -10, -20, -30.")
print(f"Expected: {expected} HU.")
print(f"Seen:     ITK {by_itk}, highdicom {by_highdicom}.")
sys.exit(0 if by_itk == [90, 90, 90] and by_highdicom == expected else "The behaviour has changed.")
PY
