#!/usr/bin/env bash
# ITK converts a NIfTI file in micrometres to millimetres, but takes the numbers of an NRRD file whose "space units" are
# micrometres as they stand: one micro-CT saved in both formats comes out 1000 times larger from one of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.4.6 nibabel==5.4.2
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import nibabel
import numpy as np
import SimpleITK as sitk

voxels = np.zeros((4, 4, 4), np.uint8)
volume = nibabel.Nifti1Image(voxels, np.diag([10.0, 10.0, 10.0, 1.0]))
volume.header.set_xyzt_units("micron")
volume.set_qform(volume.affine, 1)
volume.set_sform(None, 0)
nibabel.save(volume, "bone.nii")

lines = [
    "NRRD0004",
    "type: uchar",
    "dimension: 3",
    "sizes: 4 4 4",
    "encoding: raw",
    "space: left-posterior-superior",
    "space directions: (10,0,0) (0,10,0) (0,0,10)",
    "space origin: (0,0,0)",
    'space units: "um" "um" "um"',
]
open("bone.nrrd", "wb").write(("\n".join(lines) + "\n\n").encode() + voxels.tobytes())

nifti = sitk.ReadImage("bone.nii").GetSpacing()
nrrd = sitk.ReadImage("bone.nrrd")
units = [nrrd.GetMetaData(key) for key in nrrd.GetMetaDataKeys() if "units" in key]
by_nibabel = nibabel.load("bone.nii").header.get_zooms()

print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), "and nibabel", nibabel.__version__)
print("Input:    voxels of 10 micrometres, once as NIfTI, once as NRRD; both headers name the unit.")
print("Expected: the same spacing from both files.")
print(f"Seen:     {nifti[0]:g} from NIfTI, {nrrd.GetSpacing()[0]:g} from NRRD; units kept in the NRRD's metadata: {units or 'none'}.")
print(f"          nibabel says {by_nibabel[0]:g} for the NIfTI: its affine stays in micrometres.")
sys.exit(0 if np.allclose([nifti[0], nrrd.GetSpacing()[0], by_nibabel[0]], [0.01, 10, 10]) else "The behaviour has changed.")
PY
