"""Imitates a processor without bf16: Python imports this file at its start wherever its folder is on PYTHONPATH.

``ATEN_CPU_CAPABILITY=avx2`` and ``ONEDNN_MAX_CPU_ISA=AVX2`` choose PyTorch's and oneDNN's kernels of such a processor;
what PyTorch says about the processor, on which ``sam2adapt.machine.device`` decides, they do not change.
``Testing/run_tests.sh --older-processor`` sets all three.
"""

import importlib.abc
import importlib.machinery
import sys

_MODULE = "torch.cpu"
_ABSENT = ("_is_avx512_supported", "_is_avx512_bf16_supported", "_is_vnni_supported", "_is_amx_tile_supported")
_ABSENT += ("_is_amx_fp16_supported",)


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module) -> None:
        self._loader.exec_module(module)
        for name in _ABSENT:
            setattr(module, name, lambda: False)


class _Finder(importlib.abc.MetaPathFinder):
    """Changes the module when it is imported, so that a Python that needs no torch does not import it."""

    def find_spec(self, name, path=None, target=None):
        if name != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
