#!/usr/bin/env bash
# ITK opens a DICOM SEG of two segments as one volume in which they cannot be told apart: every frame is a slice, of
# whichever segment, and both labels are 255. Where the segments lie on neighbouring slices even the spacing looks right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription, Segmentation
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
labels = np.zeros((5, 8, 6), np.uint8)
labels[2, 2:4, 2:4] = 1
labels[3, 2:4, 3:5] = 2
save_seg("neighbours.dcm", ct_series(5), labels)
labels[3, 5:7, 1:3] = 1
save_seg("shared.dcm", ct_series(5), labels)


def read(name):
    image = sitk.ReadImage(name)
    return image.GetSize(), image.GetSpacing()[2], np.unique(sitk.GetArrayFromImage(image)).tolist()


first, second = read("neighbours.dcm"), read("shared.dcm")
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), end="; ")
print("highdicom", highdicom.__version__, "and pydicom", pydicom.__version__)
print("Input:    a binary SEG on slices 2 mm apart: segment 1 on one slice, segment 2 on the next; then 1 on both.")
print("Expected: labels 1 and 2, or an error that names SEG.")
print("Seen:     one slice each: size {}, slices {:g} mm apart, values {}".format(*first))
print("          a slice shared: size {}, slices {:g} mm apart, values {}".format(*second))
held = first == ((6, 8, 2), 2.0, [0, 255]) and second == ((6, 8, 3), 1.0, [0, 255])
sys.exit(0 if held else "The behaviour has changed.")
PY
