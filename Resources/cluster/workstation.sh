#!/usr/bin/env bash
# One computer with several GPUs: a process on each. Without GPUs: PROCESSES=2, or more, which share the cores.
#   INPUT=studies OUTPUT=out bash workstation.sh segment
#   IMAGES=imagesTr LABELS=labelsTr CLASSES="1=liver,2=spleen" OUTPUT=liver.safetensors bash workstation.sh train
set -euo pipefail
PROCESSES=${PROCESSES:-gpu} # gpu: as many as there are GPUs
OUTPUT=${OUTPUT:?folder for segmentations, or the new model file}
# A dead process is replaced so often: a batch does its study again, a training goes on from its last whole epoch.
team=(torchrun --standalone --nproc-per-node "$PROCESSES" --max-restarts 3 -m sam2adapt)

case ${1:?segment or train} in
segment) "${team[@]}" segment "${INPUT:?folder of the studies}" -o "$OUTPUT" --model "${MODEL:-torso-ct}" ;;
train)
    # The processes share each batch; several slices for each keep a GPU busy.
    "${team[@]}" train --images "${IMAGES:?folder}" --labels "${LABELS:?folder}" --classes "${CLASSES:?1=a,2=b}" \
        --batch-size "${BATCH:-32}" -o "$OUTPUT"
    ;;
esac
