#!/usr/bin/env bash
# Slicer's export of segments to STL or OBJ makes each file's name of the segment's name. Of segments with one name (two lesions
# called "lesion"), only the last is left, and a segment whose name has a slash ("L4/L5", as discs are called) gets no file.
# The function answers True; only the error log has a line about the slash. Number the names, or look at the files, before a model is printed from them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check slicer-core==5.13.31053.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import os
import sys

import numpy as np
import slicer_core
from slicer_core import MRMLCore
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkIOGeometry import vtkSTLReader

factory = slicer_core.vtkSegmentationConverterFactory.GetInstance()
factory.RegisterConverterRule(slicer_core.vtkBinaryLabelmapToClosedSurfaceConversionRule())
scene = MRMLCore.vtkMRMLScene()
node = MRMLCore.vtkMRMLSegmentationNode()
scene.AddNode(node)
node.SetName("drawn")
segmentation = node.GetSegmentation()
for number, name in enumerate(("lesion", "lesion", "L4/L5")):
    voxels = np.zeros((20, 20, 20), np.uint8)
    voxels[4 : 9 + 3 * number, 4:9, 4:9] = 1
    image = slicer_core.vtkOrientedImageData()
    image.SetDimensions(20, 20, 20)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    segment = slicer_core.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation("Binary labelmap", image)
    segmentation.AddSegment(segment, f"segment{number}")
assert node.CreateClosedSurfaceRepresentation()
os.mkdir("out")
ids = vtkStringArray()
segmentation.GetSegmentIDs(ids)
logic = slicer_core.vtkSlicerSegmentationsModuleLogic
answer = logic.ExportSegmentsClosedSurfaceRepresentationToFiles("out", node, ids, "STL", True, 1.0, False)
files = sorted(os.listdir("out"))
print("slicer-core 5.13.31053.0")
print('Input:    three segments, "lesion", "lesion" and "L4/L5", exported to STL.')
print("Expected: three files, or an answer that some could not be written.")
print(f"Seen:     answer {answer}, files {files}.")
reader = vtkSTLReader()
reader.SetFileName(f"out/{files[0]}")
reader.Update()
low, high = reader.GetOutput().GetBounds()[4:]
print(f"          The lesions reach over 5 and 8 slices, what is in the file over {high - low:.1f}.")
sys.exit(0 if answer and len(files) == 1 and high - low > 6 else "The behaviour has changed.")
PY
