#!/usr/bin/env bash
# A network that finds nothing at all: seg-metrics gives it a Hausdorff distance of 0 mm, the best there is, and the
# same for the mean surface distance, without a word; a guess that is one slice off scores worse. The distance to an
# empty set is infinite or undefined. So a table's mean improves with every lesion that is missed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seg-metrics==1.2.8 SimpleITK==2.5.7 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>stderr.txt <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from seg_metrics.seg_metrics import write_metrics

METRICS = ["hd", "hd95", "msd"]
truth = np.zeros((12, 20, 20), np.uint8)
truth[3:9, 5:15, 5:15] = 1
guesses = {"one slice off": np.roll(truth, 1, axis=0), "nothing found": np.zeros_like(truth)}
seen = {}
for name, guess in guesses.items():
    row = write_metrics([1], gdth_img=truth, pred_img=guess, spacing=[3.0, 1.0, 1.0], metrics=METRICS)
    row = row[0] if isinstance(row, list) else row
    seen[name] = [round(float(row[key][0]), 2) for key in METRICS]
said = open("stderr.txt").read()

print("seg-metrics", version("seg-metrics"))
print("Input:    a lesion of 6 slices 3 mm apart; one guess is a slice off, the other is empty.")
print("Expected: a Hausdorff distance of 3 mm for the first; infinity, not-a-number or an error for the second.")
for name, (largest, most, mean) in seen.items():
    print(f"Seen:     {name}: Hausdorff {largest} mm, 95% {most} mm, mean {mean} mm")
print("Logged:  ", said.strip() or "nothing")
held = seen["nothing found"] == [0, 0, 0] and seen["one slice off"][0] == 3 and not said
sys.exit(0 if held else "The behaviour has changed.")
PY
