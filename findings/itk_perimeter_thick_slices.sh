#!/usr/bin/env bash
# ITK's label statistics estimate the surface ("perimeter") of a segment by counting where lines cross it. For a ball
# that is right to 2%, for voxels of any shape. Of a block along the axes in thick slices, as a vertebra or a phantom
# may be, up to half of the surface is missing, and its roundness is above 1: rounder than a ball, which no body can be.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import math
import sys

import numpy as np
import SimpleITK as sitk


def surface(mask, spacing):
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(image)
    return statistics.GetPerimeter(1), statistics.GetRoundness(1)


seen = {}
for spacing in ((1.0, 1.0, 1.0), (1.0, 1.0, 5.0), (0.5, 0.5, 5.0)):
    x, y, z = spacing
    block = np.pad(np.ones((20, 20, 20), bool), 3)
    exact = 2 * 20 * 20 * (x * y + y * z + x * z)
    axes = [np.arange(-30, 30 + step / 2, step) for step in (z, y, x)]
    ball = sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij")) <= 20**2
    (area, roundness), (round_area, _) = surface(block, spacing), surface(ball, spacing)
    seen[spacing] = round(area / exact, 2), round(roundness, 2), round(round_area / (4 * math.pi * 20**2), 2)

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    a block of 20 x 20 x 20 voxels (surface by its edges) and a ball of radius 20 mm (4 pi r^2), three spacings.")
print("Expected: about 1 time the exact surface for both; a roundness below 1.")
for spacing, (block, roundness, ball) in seen.items():
    print(f"Seen:     voxels of {' x '.join(f'{step:g}' for step in spacing)} mm: block {block} times", end=" ")
    print(f"the exact surface, roundness {roundness}; ball {ball} times")
expected = {(1.0, 1.0, 1.0): (0.9, 0.9, 1.0), (1.0, 1.0, 5.0): (0.61, 1.05, 0.99), (0.5, 0.5, 5.0): (0.51, 1.05, 0.98)}
sys.exit(0 if seen == expected else "The behaviour has changed.")
PY
