#!/usr/bin/env bash
# NRRD names the axes of its space; "left-anterior-superior" is one of the spaces of its definition. MONAI's reader
# changes the sign of the first two axes of "left-posterior-superior" files only, and takes every other space as if it
# were right-anterior-superior: a volume in left-anterior-superior is mirrored, left becomes right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  monai==1.6.1 torch==2.14.1 pynrrd==1.1.3 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from pathlib import Path

import monai
import nrrd
import numpy as np
import SimpleITK as sitk
from monai.data import NrrdReader

FIRST_VOXEL_RAS = {"left-posterior-superior": (-10, -20, 30), "left-anterior-superior": (-10, 20, 30)}


def right_of_first_voxel(space: str) -> dict[str, float]:
    """Where two readers place the first voxel, in mm to the patient's right."""
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 6 5 4\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (10,20,30)\n\n"
    )
    Path("x.nrrd").write_bytes(header.encode() + np.zeros((4, 5, 6), "<i2").tobytes())
    reader = NrrdReader()
    _, meta = reader.get_data(reader.read("x.nrrd"))
    return {"ITK": -sitk.ReadImage("x.nrrd").GetOrigin()[0], "MONAI": float(np.asarray(meta["affine"])[0, 3])}


seen = {space: right_of_first_voxel(space) for space in FIRST_VOXEL_RAS}
print("MONAI", monai.__version__, "with pynrrd", nrrd.__version__, "and SimpleITK", sitk.Version.VersionString())
print("Input:    the first voxel lies 10 mm to the patient's left, said in two spaces.")
print("Expected: -10 mm to the right in every space and by every reader.")
for space, readers in seen.items():
    print(f"Seen:     {space}: " + ", ".join(f"{name} {place:+.0f} mm" for name, place in readers.items()))
expected = {
    "left-posterior-superior": {"ITK": -10, "MONAI": -10},
    "left-anterior-superior": {"ITK": -10, "MONAI": 10},
}
sys.exit(0 if seen == expected else "The behaviour has changed.")
PY
