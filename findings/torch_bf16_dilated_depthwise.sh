#!/usr/bin/env bash
# Training on a CPU with bfloat16 autocast and channels-last memory, as PyTorch's own guides advise: the gradient of the weights
# of a dilated depthwise convolution (the context blocks of many segmentation networks) is wrong by more than its own size.
# The loss and all other gradients are right, so the training just learns worse. In the ordinary memory order, without
# dilation, or in float32 the gradient is right. Seen on processors with AVX-512 BF16 instructions only.
set -euo pipefail
grep -q avx512_bf16 /proc/cpuinfo || { echo "This needs a processor with AVX-512 BF16 instructions."; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import torch

torch.manual_seed(0)
images, slopes = torch.randn(8, 48, 40, 40), torch.randn(8, 48, 40, 40)
weight = torch.randn(48, 1, 3, 3)


def gradient(dilation, order, half):
    layer = torch.nn.Conv2d(48, 48, 3, padding=dilation, dilation=dilation, groups=48, bias=False)
    layer.weight.data.copy_(weight)
    layer = layer if half else layer.double()
    x = images.contiguous(memory_format=order)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = layer(x if half else x.double())
    out.backward(slopes.to(out.dtype).contiguous(memory_format=order))
    return layer.weight.grad.double()


print("torch", torch.__version__)
print("Input:    8 maps of 48 channels and 40 x 40 pixels, a depthwise 3x3 convolution, bfloat16 autocast.")
print("Expected: the weights' gradient of float64, up to the rounding of bfloat16 (less than 0.01 of its largest value).")
seen = {}
for dilation in (1, 2, 4):
    exact = gradient(dilation, torch.contiguous_format, half=False)
    for order in (torch.contiguous_format, torch.channels_last):
        error = (gradient(dilation, order, half=True) - exact).abs().max() / exact.abs().max()
        seen[dilation, order] = float(error)
        print(f"Seen:     dilation {dilation}, {str(order)[6:]}: off by {float(error):.3f} of its largest value")
wrong = [key for key, error in seen.items() if not error < 0.1]
sys.exit(0 if wrong == [(2, torch.channels_last), (4, torch.channels_last)] else "The behaviour has changed.")
PY
