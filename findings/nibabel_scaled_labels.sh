#!/usr/bin/env bash
# Labels 0 to 5 kept as floats (as get_fdata gives them) and saved with nibabel as int16 are stretched over the whole
# range of int16. Read with nibabel, label 1 is 0.99999999977 and a cast to integers loses one from every label; ITK
# scales the same file with single precision and gets the whole numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import nibabel
import numpy as np
import SimpleITK as sitk

labels = np.arange(6.0).reshape(6, 1, 1)
image = nibabel.Nifti1Image(labels, np.eye(4))
image.set_data_dtype(np.int16)
nibabel.save(image, "labels.nii")

loaded = nibabel.load("labels.nii")
stored = np.asarray(loaded.dataobj.get_unscaled()).ravel().tolist()
by_nibabel = np.asarray(loaded.dataobj).ravel()
cast = by_nibabel.astype(np.int16).tolist()
by_itk = sitk.GetArrayFromImage(sitk.Cast(sitk.ReadImage("labels.nii"), sitk.sitkInt16)).ravel().tolist()

print("nibabel", nibabel.__version__, "and SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    float labels 0 to 5, set_data_dtype(int16), saved as NIfTI.")
print("Expected: whole numbers that fit are stored as they are; every reader returns 0 to 5.")
print(f"Seen:     stored {stored} with scl_slope {loaded.dataobj.slope:.6g};")
print(f"          label 1 is {by_nibabel[1]:.11f} in nibabel; cast to int16 {cast};")
print(f"          ITK, cast to int16: {by_itk}.")
sys.exit(0 if cast == [0, 0, 1, 2, 3, 4] and by_itk == [0, 1, 2, 3, 4, 5] else "The behaviour has changed.")
PY
