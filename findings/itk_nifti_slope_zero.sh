#!/usr/bin/env bash
# ITK adds scl_inter of a NIfTI file although its scl_slope is 0, and turns the integers into floats.
# The NIfTI-1 header's definition scales only if scl_slope is not 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import struct
import sys

import nibabel
import numpy as np
import SimpleITK as sitk

stored = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), "plain.nii")
content = bytearray(open("plain.nii", "rb").read())
content[112:120] = struct.pack("<ff", 0.0, -1024.0)  # scl_slope and scl_inter
open("slope0.nii", "wb").write(content)

by_nibabel = np.asarray(nibabel.load("slope0.nii").dataobj)
image = sitk.ReadImage("slope0.nii")
by_itk = sitk.GetArrayFromImage(image)

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), "and nibabel", nibabel.__version__)
print("Input:    int16 voxels 0 to 7, scl_slope 0, scl_inter -1024.")
print("Expected: no scaling, so 0 to 7 as int16.")
print(f"Seen:     nibabel {by_nibabel.min()} to {by_nibabel.max()} ({by_nibabel.dtype});", end=" ")
print(f"ITK {by_itk.min():g} to {by_itk.max():g} ({image.GetPixelIDTypeAsString()}).")
held = by_nibabel.max() == 7 and by_itk.min() == -1024 and by_itk.max() == -1017 and by_itk.dtype == np.float32
sys.exit(0 if held else "The behaviour has changed.")
PY
