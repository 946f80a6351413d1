#!/usr/bin/env bash
# The surface that 3D Slicer shows of a segment, and exports as STL or OBJ, is smoothed by default (factor 0.5). An
# organ keeps its volume to 1%. Of a lesion of 2 x 2 x 2 voxels or a vessel two voxels wide, nothing is left but a
# crumpled shell around no volume, and of a lesion of 3 x 3 x 3 voxels 4%; the call answers True. The segment's voxels
# are untouched.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check slicer-core==5.13.31053.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import slicer_core
from slicer_core import MRMLCore
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkFiltersCore import vtkMassProperties, vtkTriangleFilter

rule = slicer_core.vtkBinaryLabelmapToClosedSurfaceConversionRule()
slicer_core.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(rule)


def share(shape, smoothing):
    """The volume in the surface of a block of voxels, as a share of the voxels' own; None leaves the default."""
    voxels = np.zeros((32, 32, 32), np.uint8)
    voxels[4 : 4 + shape[0], 4 : 4 + shape[1], 4 : 4 + shape[2]] = 1
    image = slicer_core.vtkOrientedImageData()
    image.SetDimensions(32, 32, 32)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    segment = slicer_core.vtkSegment()
    segment.AddRepresentation("Binary labelmap", image)
    scene, node = MRMLCore.vtkMRMLScene(), MRMLCore.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    node.GetSegmentation().AddSegment(segment, "block")
    if smoothing is not None:
        node.GetSegmentation().SetConversionParameter(rule.GetSmoothingFactorParameterName(), smoothing)
    assert node.CreateClosedSurfaceRepresentation()
    triangles, volume = vtkTriangleFilter(), vtkMassProperties()
    triangles.SetInputData(node.GetSegmentation().GetSegment("block").GetRepresentation("Closed surface"))
    volume.SetInputConnection(triangles.GetOutputPort())
    volume.Update()
    return round(volume.GetVolume() / voxels.sum(), 2)


shapes = {"organ": (24, 24, 24), "lesion of 3": (3, 3, 3), "lesion of 2": (2, 2, 2), "vessel": (24, 2, 2)}
seen = {name: (share(shape, None), share(shape, "0.0")) for name, shape in shapes.items()}
print("slicer-core 5.13.31053.0, default smoothing factor", rule.GetConversionParameter(rule.GetSmoothingFactorParameterName()))
print("Input:    blocks of 24 x 24 x 24, 3 x 3 x 3, 2 x 2 x 2 and 24 x 2 x 2 voxels of 1 mm.")
print("Expected: a surface around about the volume of the voxels.")
for name, (usual, rough) in seen.items():
    print(f"Seen:     {name}: {usual:.0%} of the volume; without smoothing {rough:.0%}")
held = [usual for usual, _ in seen.values()] == [1.0, 0.04, 0.0, 0.01] and all(rough >= 0.5 for _, rough in seen.values())
sys.exit(0 if held else "The behaviour has changed.")
PY
