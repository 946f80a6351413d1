#!/usr/bin/env bash
# Frames of a multi-frame (enhanced) CT may be stored in any order and their positions may be uneven. ITK (with GDCM) then
# reports a slice distance of 1 mm, neither the true one nor the slice thickness, and says nothing. highdicom sorts the
# frames, and refuses uneven ones.
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


def by_itk(name):
    image = sitk.ReadImage(name)
    return image.GetSpacing()[2], sitk.GetArrayFromImage(image)[:, 0, 0].tolist()


def by_highdicom(name):
    try:
        return float(highdicom.imread(name).get_volume().spacing[0])
    except RuntimeError as error:
        return str(error)


stacks = {
    "ordered": [(0.0, 1, 100, 1, 0), (2.5, 2, 200, 1, 0), (5.0, 3, 300, 1, 0)],
    "shuffled": [(0.0, 1, 100, 1, 0), (5.0, 3, 300, 1, 0), (2.5, 2, 200, 1, 0)],
    "uneven": [(0.0, 1, 100, 1, 0), (2.5, 2, 200, 1, 0), (7.5, 3, 300, 1, 0)],
}
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), end="; ")
print("highdicom", highdicom.__version__, "and pydicom", pydicom.__version__)
print("Input:    slices 2.5 mm thick at z 0, 2.5, 5 in order; the same three shuffled; z 0, 2.5, 7.5.")
print("Expected: 2.5 mm and sorted for the first two, an error or a warning for the third.")
seen = {}
for name, frames in stacks.items():
    enhanced_ct(frames).save_as(f"{name}.dcm", enforce_file_format=True)
    seen[name] = by_itk(f"{name}.dcm")
    print(f"Seen:     {name}: ITK {seen[name][0]:g} mm, slices {seen[name][1]}; highdicom: {by_highdicom(f'{name}.dcm')}")
held = [seen[name][0] for name in stacks] == [2.5, 1, 1] and seen["shuffled"][1] == [100, 300, 200]
sys.exit(0 if held else "The behaviour has changed.")
PY
