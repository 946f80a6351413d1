#!/usr/bin/env bash
# A NIfTI-1 file with qform_code 0 and sform_code 0 (only pixdim places the voxels): nibabel, ITK and the header's
# definition of this case give three different places. nibabel's axes are left-handed, ITK's are right-handed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import nibabel
import numpy as np
import SimpleITK as sitk

shape = (11, 21, 31)
volume = nibabel.Nifti1Image(np.zeros(shape, np.uint8), None)
volume.header.set_zooms((1, 1, 2))
volume.header.set_xyzt_units("mm")
nibabel.save(volume, "codes0.nii")

header = nibabel.load("codes0.nii").header
assert header["qform_code"] == 0 and header["sform_code"] == 0
by_nibabel = nibabel.load("codes0.nii").affine
image = sitk.ReadImage("codes0.nii")
lps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
by_itk = np.diag([-1, -1, 1]) @ lps
by_definition = np.diag([1.0, 1.0, 2.0])  # nifti1.h, method 1: x = pixdim[1] * i and so on, +x to the right


def axes(matrix):
    return "".join(nibabel.aff2axcodes(nibabel.affines.from_matvec(matrix, [0, 0, 0])))


seen = [axes(by_definition), axes(by_nibabel[:3, :3]), axes(by_itk)]
print("SimpleITK", sitk.Version.VersionString(), "with ITK", sitk.Version.ITKVersionString(), "and nibabel", nibabel.__version__)
print("Input:    pixdim 1, 1, 2 mm and both codes 0.")
print("Expected: readers agree on left and right, front and back.")
print("Seen:     axes point to {} by the definition, {} in nibabel, {} in ITK.".format(*seen))
print(f"          Determinants: nibabel {np.linalg.det(by_nibabel[:3, :3]):g}, ITK {np.linalg.det(by_itk):g}:", "mirror images.")
print(f"          First voxel: nibabel {by_nibabel[:3, 3].tolist()} (centre of the volume is 0), ITK {list(image.GetOrigin())}.")
sys.exit(0 if seen == ["RAS", "LAS", "LPS"] else "The behaviour has changed.")
PY
