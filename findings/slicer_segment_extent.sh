#!/usr/bin/env bash
# In a .seg.nrrd file, SegmentN_Extent looks like a note for readers. 3D Slicer cuts each segment to it: a script that grows
# a segment and keeps the header (as pynrrd's read and write do) loses what it added when Slicer opens the file,
# and slicerio still shows it. Slicer says nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check slicer-core==5.13.31053.0 pynrrd==1.1.3 slicerio==1.4.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import nrrd
import numpy as np
import slicerio
from slicer_core import MRMLCore
from vtkmodules.util.numpy_support import vtk_to_numpy

voxels = np.zeros((8, 8, 8), np.uint8)
voxels[3:5, 3:5, 3:5] = 1
header = {
    "space": "left-posterior-superior",
    "space directions": np.eye(3),
    "space origin": np.zeros(3),
    "Segmentation_MasterRepresentation": "Binary labelmap",
    "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
    "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    "Segment0_ID": "tumour",
    "Segment0_Name": "tumour",
    "Segment0_LabelValue": "1",
    "Segment0_Layer": "0",
    "Segment0_Extent": "3 4 3 4 3 4",
}
nrrd.write("drawn.seg.nrrd", voxels, header)
voxels, header = nrrd.read("drawn.seg.nrrd")
voxels[2:6, 2:6, 2:6] = 1
nrrd.write("grown.seg.nrrd", voxels, header)


def by_slicer(name):
    scene = MRMLCore.vtkMRMLScene()
    node, storage = MRMLCore.vtkMRMLSegmentationNode(), MRMLCore.vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(name)
    assert storage.ReadData(node)
    labelmap = node.GetSegmentation().GetSegment("tumour").GetRepresentation("Binary labelmap")
    return int((vtk_to_numpy(labelmap.GetPointData().GetScalars()) == 1).sum())


seen = [by_slicer("drawn.seg.nrrd"), by_slicer("grown.seg.nrrd")]
by_slicerio = int((slicerio.read_segmentation("grown.seg.nrrd")["voxels"] == 1).sum())
print("slicer-core 5.13.31053.0, slicerio 1.4.0, pynrrd", nrrd.__version__)
print("Input:    a segment of 8 voxels, grown to 64 with pynrrd; the header is kept.")
print("Expected: 64 voxels from every reader.")
print(f"Seen:     Slicer {seen[0]} before and {seen[1]} after growing; slicerio {by_slicerio} after.")
sys.exit(0 if seen == [8, 8] and by_slicerio == 64 else "The behaviour has changed.")
PY
