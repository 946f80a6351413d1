#!/usr/bin/env bash
# A DICOM SEG may leave out its empty frames. Two readers then return a volume of the labelled slices only, so that it no
# longer fits the series voxel by voxel: dcmqi's segimage2itkimage and highdicom's get_volume. highdicom's
# get_pixels_by_source_instance returns every slice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 highdicom==0.28.2 dcmqi==1.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import subprocess
import sys
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription, Segmentation, segread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
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


def described(number):
    names = codes.SCT.Tissue, codes.SCT.Kidney
    return SegmentDescription(number, f"segment {number}", *names, SegmentAlgorithmTypeValues.MANUAL)


def save_seg(name, slices, labels, kind="BINARY"):
    described_all = [described(number) for number in range(1, labels.max() + 1)]
    device = ("maker", "model", "1", "1")
    uids = (generate_uid(), 2, generate_uid(), 1)
    Segmentation(slices, labels, kind, described_all, *uids, *device).save_as(name)


warnings.simplefilter("ignore")
slices = ct_series(5)
labels = np.zeros((5, 8, 6), np.uint8)
labels[2:4, 2:4, 2:4] = 1
save_seg("seg.dcm", slices, labels)

seg = segread("seg.dcm")
volume = seg.get_volume(combine_segments=True).shape[0]
every = seg.get_pixels_by_source_instance([image.SOPInstanceUID for image in slices], combine_segments=True).shape[0]
Path("out").mkdir()
tool = Path(sys.executable).with_name("segimage2itkimage")
command = [tool, "--inputDICOM", "seg.dcm", "--outputDirectory", "out", "--outputType", "nrrd"]
subprocess.run(command, check=True, capture_output=True)
converted = sitk.ReadImage(str(next(Path("out").glob("*.nrrd"))))

print("highdicom", highdicom.__version__, "with pydicom", pydicom.__version__, "and dcmqi 1.5.7")
print("Input:    a SEG of 5 slices, 2 mm apart; labels on the third and fourth.")
print("Expected: 5 slices, as the series has, from each reader.")
print(f"Seen:     highdicom get_volume {volume}, highdicom get_pixels_by_source_instance {every},")
print(f"          dcmqi {converted.GetSize()[2]}, beginning at z = {converted.GetOrigin()[2]:g} mm.")
held = (volume, every, converted.GetSize()[2], converted.GetOrigin()[2]) == (2, 5, 2, 4.0)
sys.exit(0 if held else "The behaviour has changed.")
PY
