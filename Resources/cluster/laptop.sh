#!/usr/bin/env bash
# One computer, with a GPU or without: nothing to start, the command alone uses what there is.
# Stopped or killed, the same command goes on where it was.
set -euo pipefail
INPUT=${INPUT:?folder of the studies}
OUTPUT=${OUTPUT:?folder for segmentations and manifest}
MODEL=${MODEL:-torso-ct}

python -m sam2adapt segment "$INPUT" -o "$OUTPUT" --model "$MODEL"
