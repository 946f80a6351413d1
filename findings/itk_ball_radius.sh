#!/usr/bin/env bash
# A ball of radius r in ITK's morphology is a ball of radius r + 0.5: of 19 voxels for radius 1, with the diagonal
# neighbours, where scikit-image and the definition have 7. A margin "of 2 voxels" grows a structure by more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 scikit-image==0.26.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import SimpleITK as sitk
import skimage
from skimage.morphology import ball

seen = {}
for radius in (1, 2, 3):
    size = 2 * radius + 3
    point = sitk.Image([size] * 3, sitk.sitkUInt8)
    point[[size // 2] * 3] = 1
    grown = sitk.GetArrayFromImage(sitk.BinaryDilate(point, [radius] * 3, sitk.sitkBall))
    offsets = np.indices(grown.shape).reshape(3, -1).T - size // 2
    distance = np.linalg.norm(offsets, axis=1).reshape(grown.shape)
    seen[radius] = (int(grown.sum()), int(ball(radius).sum()), int((distance <= radius + 0.5).sum()))

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), "and scikit-image", skimage.__version__)
print("Input:    one voxel, dilated with sitkBall.")
print("Expected: the voxels whose centres lie within the radius: 7, 33 and 123 for radius 1, 2 and 3.")
for radius, (itk, scikit, half) in seen.items():
    print(f"Seen:     radius {radius}: ITK {itk}, scikit-image {scikit}; within radius + 0.5 lie {half}.")
held = [value[:2] for value in seen.values()] == [(19, 7), (81, 33), (179, 123)] and all(a == c for a, _, c in seen.values())
sys.exit(0 if held else "The behaviour has changed.")
PY
