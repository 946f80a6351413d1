"""A program for the engine's Python: imports what the engine needs, one package after the other, and says how it went.

One JSON object a line, written before and after each step, so that the reader also knows where it crashed.
"""

import importlib
import json
import sys

PACKAGES = (
    "numpy", "torch", "torchvision", "SimpleITK", "scipy", "skimage", "PIL", "safetensors", "jsonschema", "tqdm",
    "hydra", "iopath", "filelock", "pydicom", "highdicom", "sam2", "monai", "sam2adapt.segmenting.model",
)  # fmt: skip


def say(**what):
    """Write one line."""
    print(json.dumps(what), flush=True)


def checkTorch(torch):
    """Compute a little on the CPU and, where there is one, on the GPU."""
    import numpy as np

    # Fails if torch was built for another generation of numpy.
    torch.from_numpy(np.ones(2, np.float32)).sum().item()
    cuda = torch.version.cuda
    say(cuda=cuda, gpu=None)
    if cuda and torch.cuda.is_available():
        say(gpu=torch.cuda.get_device_name())
        # Fails if torch brings no code for this generation of GPUs.
        torch.ones(2, device="cuda").sum().item()
    elif torch.backends.mps.is_available():
        say(gpu="Apple GPU")


def main():
    """Import all packages; the first that fails ends it."""
    for name in PACKAGES:
        say(importing=name)
        try:
            module = importlib.import_module(name)
            if name == "torch":
                # A folder without code in it can be imported as well.
                say(torch=getattr(module, "__version__", None))
                checkTorch(module)
        except Exception as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            say(failed=name, kind=type(error).__name__, text=str(error), missing=missing)
            sys.exit(1)


if __name__ == "__main__":
    main()
