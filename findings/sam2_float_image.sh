#!/usr/bin/env bash
# SAM 2's image predictor asks for RGB "with pixel values in [0, 255]". It divides by 255 only if the array is of bytes:
# a windowed CT slice in that range as float32, as scaling to 0..255 leaves it, goes in 255 times too bright, and masks
# come back without a word. Whole numbers of other sizes raise an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.14.1 torchvision==0.29.1 hydra-core==1.3.8 iopath==0.1.10 pillow==13.0.0 \
  tqdm==4.70.1 numpy==2.4.6 setuptools==84.2.1 wheel==0.48.0
SAM2_BUILD_CUDA=0 "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation sam2==1.1.0
cd "$folder"
"$folder/venv/bin/python" - 2>stderr.txt <<'PY'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

bytes_image = np.zeros((40, 50, 3), np.uint8)
bytes_image[10:30, 10:30] = 255
model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", ckpt_path=None, device="cpu")  # the weights do not matter here
inputs = []
model.image_encoder.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
predictor = SAM2ImagePredictor(model)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for image in (bytes_image, bytes_image.astype(np.float32)):
        predictor.set_image(image)
        masks, _, _ = predictor.predict(box=np.array([10, 10, 29, 29]))
said = [str(warning.message) for warning in caught if "255" in str(warning.message) or "range" in str(warning.message)]
brightest = [round(float(tensor[:, 0].mean(dim=0).amax()), 2) for tensor in inputs]
expected = round((1 - 0.485) / 0.229, 2)  # red, by the mean and deviation that SAM 2 was trained with

print("sam2", version("sam2"), "with torch", version("torch"))
print("Input:    a slice of 0 and 255, once as uint8, once as float32.")
print(f"Expected: white is {expected} for the encoder, in both cases.")
print(f"Seen:     white is {brightest[0]} from uint8, {brightest[1]} from float32; {len(masks)} masks, {len(said)} warnings of it")
held = abs(brightest[0] - expected) < 0.05 and abs(brightest[1] - (255 - 0.485) / 0.229) < 1 and not said
sys.exit(0 if held and len(masks) else "The behaviour has changed.")
PY
