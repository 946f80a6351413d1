#!/usr/bin/env bash
# change_spacing of TotalSegmentator lays the first and last sample of the new volume on the first and last of the old, then
# writes an affine with the spacing that was asked for. The two do not agree: towards the far end, what a voxel holds is from
# up to a whole new voxel beyond its place. The option crop_resample samples by another rule again and gets the same affine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 scipy==1.17.1 joblib==1.5.3 numpy==2.2.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps totalsegmentator==2.18.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import nibabel
import numpy as np
from totalsegmentator.resampling import change_spacing

slices = 200
ramp = np.broadcast_to(np.arange(slices) * 1.0, (6, 6, slices)).copy()  # each voxel holds its own z in mm
source = nibabel.Nifti1Image(ramp, np.eye(4))
ball = np.zeros((6, 6, slices))
ball[2:4, 2:4, 150:180] = 1  # middle at z = 164.5 mm
labels = nibabel.Nifti1Image(ball, np.eye(4))


def middle(volume):
    inside = np.argwhere(volume.get_fdata() > 0.5)
    return float((volume.affine[:3, :3] @ inside.mean(axis=0) + volume.affine[:3, 3])[2])


seen = {}
for step in (3.0, 6.0):
    spacing = [1.0, 1.0, step]
    finished = change_spacing(source, spacing, order=1, nr_cpus=1)
    values = finished.get_fdata()[3, 3]
    places = finished.affine[2, 2] * np.arange(len(values)) + finished.affine[2, 3]
    usual = change_spacing(labels, spacing, order=1, nr_cpus=1)
    cropped = change_spacing(labels, spacing, order=1, nr_cpus=1, crop_resample=True)
    off = round(float(np.abs(values - places).max()), 2)
    seen[step] = off, round(middle(usual), 2), round(middle(cropped), 2)

print("TotalSegmentator", version("totalsegmentator"))
print("Input:    200 slices 1 mm apart that hold their own z; a label on slices 150 to 179, its middle at z = 164.5 mm.")
print("Expected: values equal to the place that the affine gives them; the label's middle within half a new voxel of 164.5 mm.")
for step, (off, usual, cropped) in seen.items():
    print(f"Seen:     to {step:g} mm: values up to {off} mm from their place; label at {usual} mm,", end=" ")
    print(f"with crop_resample at {cropped} mm")
sys.exit(0 if seen == {3.0: (1.0, 163.5, 163.5), 6.0: (7.0, 159.0, 162.0)} else "The behaviour has changed.")
PY
