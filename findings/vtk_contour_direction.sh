#!/usr/bin/env bash
# An image in VTK has had a direction matrix since version 9. Its filters for surfaces place the surface of one oblique
# image differently: vtkFlyingEdges3D and vtkMarchingCubes follow the matrix; vtkContourFilter, which takes any kind of data,
# and vtkSynchronizedTemplates3D behind it take no notice of it and say nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check vtk==9.7.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkVersion
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersCore import vtkContourFilter, vtkFlyingEdges3D, vtkMarchingCubes, vtkSynchronizedTemplates3D

voxels = np.zeros((20, 20, 20), np.uint8)
voxels[6:12, 5:15, 4:16] = 1
middle = np.array([9.5, 9.5, 8.5])  # index along x, y, z
direction = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
spacing, origin = np.array([2, 1, 3]), np.array([10, 20, 30])
image = vtkImageData()
image.SetDimensions(20, 20, 20)
image.SetSpacing(*spacing.tolist())
image.SetOrigin(*origin.tolist())
image.SetDirectionMatrix(*direction.ravel().tolist())
image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))

right = (origin + direction @ (middle * spacing)).round(2).tolist()
straight = (origin + middle * spacing).round(2).tolist()
seen = {}
for kind in (vtkFlyingEdges3D, vtkMarchingCubes, vtkContourFilter, vtkSynchronizedTemplates3D):
    surface = kind()
    surface.SetInputData(image)
    surface.SetValue(0, 0.5)
    surface.Update()
    low_high = np.reshape(surface.GetOutput().GetBounds(), (3, 2))
    seen[kind.__name__] = low_high.mean(axis=1).round(2).tolist()
print("VTK", vtkVersion.GetVTKVersion())
print("Input:    a box in an image turned by the angle whose cosine is 0.8 about z; its centre by origin, spacing and direction:")
print(f"Expected: {right} mm from every filter (without the direction it would be {straight}).")
for name, centre in seen.items():
    print(f"Seen:     {name}: {centre}")
expected = {"vtkFlyingEdges3D": right, "vtkMarchingCubes": right, "vtkContourFilter": straight, "vtkSynchronizedTemplates3D": straight}
sys.exit(0 if seen == expected else "The behaviour has changed.")
PY
