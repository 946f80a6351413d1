#!/usr/bin/env bash
# NRRD allows "axis mins" and "axis maxs" instead of "spacings". ITK works the spacing out of them for the origin only:
# the first sample lies half a true spacing inside, and the spacing itself is reported as 1.
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

common = ["NRRD0004", "type: short", "dimension: 3", "sizes: 2 3 4", "endian: little", "encoding: raw", "centers: cell cell cell"]
voxels = np.zeros(24, "<i2").tobytes()


def read(name, lines):
    open(name, "wb").write(("\n".join(common + lines) + "\n\n").encode() + voxels)
    image = sitk.ReadImage(name)
    return image.GetSpacing(), image.GetOrigin()


spaced = read("spacings.nrrd", ["spacings: 10 10 10", "axis mins: 0 0 0"])
bounded = read("bounds.nrrd", ["axis mins: 0 0 0", "axis maxs: 20 30 40"])

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString())
print("Input:    2 x 3 x 4 cells of size 10 that begin at 0, told by spacings and mins, then by mins and maxs.")
print("Expected: spacing 10 and first sample at 5 from both.")
print(f"Seen:     spacings and mins: spacing {spaced[0]}, first sample {spaced[1]}.")
print(f"          mins and maxs:     spacing {bounded[0]}, first sample {bounded[1]}.")
held = spaced == ((10, 10, 10), (5, 5, 5)) and bounded == ((1, 1, 1), (5, 5, 5))
sys.exit(0 if held else "The behaviour has changed.")
PY
