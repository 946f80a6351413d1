#!/usr/bin/env bash
# TorchIO resamples images and label maps of a subject differently, but pads both with the same number. To pad a CT with air,
# CropOrPad is given -1000: the margin of the label map becomes label 24 (-1000 as an unsigned byte), a class of
# its own, and nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torchio==1.2.1 torch==2.13.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import torch
import torchio

labels = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
labels[:, 2:6, 2:6, 2:6] = 1
ct = torchio.ScalarImage(tensor=torch.full((1, 8, 8, 8), 40, dtype=torch.int16))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    padded = torchio.CropOrPad(12, padding_mode=-1000)(torchio.Subject(ct=ct, labels=torchio.LabelMap(tensor=labels)))
said = [str(warning.message) for warning in caught if "pad" in str(warning.message).lower()]
values, counts = padded.labels.data.unique(return_counts=True)
seen = dict(zip(values.tolist(), counts.tolist(), strict=True))
air = int(padded.ct.data[0, 0, 0, 0])
print("TorchIO", torchio.__version__, "with torch", torch.__version__)
print("Input:    a CT and its label map of 8 x 8 x 8 voxels, labels 0 and 1 (uint8), padded to 12 x 12 x 12 with -1000 HU.")
print(f"Expected: background, 0, in the margin of the label map: {{0: {12**3 - 64}, 1: 64}}.")
print(f"Seen:     CT padded with {air} HU; voxels of each label {seen}, {len(said)} warnings of it")
held = air == -1000 and seen == {0: 8**3 - 64, 1: 64, 24: 12**3 - 8**3} and not said
sys.exit(0 if held else "The behaviour has changed.")
PY
