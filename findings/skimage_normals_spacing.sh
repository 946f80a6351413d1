#!/usr/bin/env bash
# scikit-image's marching_cubes takes the spacing for the vertices but not for the normals: those are the gradient by
# index, so on thick slices they lean away from the surface. Shading, offsets and wall thickness along the normals come
# out wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-image==0.26.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import skimage
from skimage.measure import marching_cubes

RADIUS, HALF = 16.0, 20.0
seen = {}
for thick in (1.0, 2.0, 5.0):
    axes = [np.arange(-HALF, HALF + step / 2, step) for step in (thick, 1.0, 1.0)]
    distance = np.sqrt(sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij")))
    vertices, _, normals, _ = marching_cubes(distance, RADIUS, spacing=(thick, 1, 1))
    outward = vertices - HALF
    radii = np.linalg.norm(outward, axis=1)

    def off(directions):
        """The largest angle, in degrees, between the directions and the ball's own normals; their sign does not count."""
        lengths = np.linalg.norm(directions, axis=1) * radii
        return float(np.degrees(np.arccos(np.clip(np.abs((directions * outward).sum(axis=1)) / lengths, 0, 1))).max())

    seen[thick] = round(off(normals)), round(off(normals / (thick, 1, 1))), round(float(np.abs(radii - RADIUS).max()), 1)

print("scikit-image", skimage.__version__)
print("Input:    a ball of radius 16 mm as a distance map, pixels of 1 x 1 mm, slices 1, 2 and 5 mm apart.")
print("Expected: normals that point from the centre, whatever the spacing (within some degrees for thick slices).")
for thick, (angle, divided, radius) in seen.items():
    print(f"Seen:     slices of {thick:g} mm: vertices within {radius} mm, normals up to {angle} degrees off;", end=" ")
    print(f"divided by the spacing, up to {divided}")
angles = [angle for angle, _, _ in seen.values()]
sys.exit(0 if angles == [2, 21, 48] else "The behaviour has changed.")
PY
