#!/usr/bin/env bash
# The distance map of a mask without a voxel: one of ITK's filters returns plausible millimetres that depend on the size of
# the image only, the other the root of the largest float. Neither warns. A surface distance or a signed-distance input
# of a network takes the first for a real structure.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import SimpleITK as sitk

seen = {}
for size in (8, 16):
    empty = sitk.Image([size] * 3, sitk.sitkUInt8)
    danielsson = sitk.GetArrayFromImage(sitk.SignedDanielssonDistanceMap(empty, useImageSpacing=True))
    maurer = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(empty, squaredDistance=False, useImageSpacing=True))
    seen[size] = (float(danielsson.min()), float(danielsson.max()), float(maurer.min()), float(maurer.max()))

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    empty masks of 8 x 8 x 8 and 16 x 16 x 16 voxels of 1 mm.")
print("Expected: infinity, or an error, from both filters.")
for size, (low, high, lowest, highest) in seen.items():
    print(f"Seen:     size {size}: SignedDanielsson {low:.2f} to {high:.2f} mm, SignedMaurer {lowest:.4g} to {highest:.4g} mm.")
finite = all(size < low <= high < 2 * size * np.sqrt(3) for size, (low, high, _, _) in seen.items())
root = all(np.isclose([low, high], np.sqrt(np.finfo(np.float32).max)).all() for _, _, low, high in seen.values())
sys.exit(0 if finite and root else "The behaviour has changed.")
PY
