#!/usr/bin/env bash
# VTK's NRRD reader guesses what the first axis is by its length: below 10 samples it becomes the components of each
# voxel, although the header says it is a domain of space. A thin sagittal stack or a small crop comes out as one slice
# of vectors, its spacing moved by an axis; with one column more it is a volume.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check vtk==9.7.1 pynrrd==1.1.3 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import nrrd
import numpy as np
import SimpleITK as sitk
from vtkmodules.vtkCommonCore import vtkVersion
from vtkmodules.vtkIOImage import vtkNrrdReader

seen = {}
for columns in (10, 9):
    header = {"space": "left-posterior-superior", "space directions": np.diag([4.0, 1.0, 2.0]), "space origin": [0, 0, 0]}
    nrrd.write("crop.nrrd", np.zeros((columns, 30, 20), np.int16), header | {"kinds": ["domain"] * 3})
    reader = vtkNrrdReader()
    reader.SetFileName("crop.nrrd")
    reader.Update()
    image = reader.GetOutput()
    itk = sitk.ReadImage("crop.nrrd")
    by_vtk = image.GetDimensions(), image.GetSpacing(), image.GetNumberOfScalarComponents()
    seen[columns] = by_vtk, (itk.GetSize(), itk.GetSpacing(), itk.GetNumberOfComponentsPerPixel())

print("VTK", vtkVersion.GetVTKVersion(), "and pynrrd", nrrd.__version__, end="; ")
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print('Input:    volumes of 10 and of 9 columns, 30 rows, 20 slices; "kinds: domain domain domain", spacing 4, 1, 2 mm.')
print("Expected: 9 x 30 x 20 voxels of one value, as ITK reads.")
for columns, readers in seen.items():
    for name, (size, spacing, count) in zip(("VTK", "ITK"), readers, strict=True):
        print(f"Seen:     {columns} columns: {name} size {size}, spacing {spacing}, {count} value(s) a voxel")
held = seen[10][0] == seen[10][1] == ((10, 30, 20), (4, 1, 2), 1) and seen[9][1] == ((9, 30, 20), (4, 1, 2), 1)
sys.exit(0 if held and seen[9][0] == ((30, 20, 1), (1, 2, 1), 9) else "The behaviour has changed.")
PY
