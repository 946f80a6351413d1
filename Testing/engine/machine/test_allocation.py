"""Freed memory is used again instead of being cleared anew by the system."""

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import numpy
from sam2adapt.machine.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
numpy.ones(2_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.ones(2_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_pages_are_not_cleared_anew():
    faults = {way: int(subprocess.check_output([sys.executable, "-c", PROBE, way])) for way in ("kept", "given back")}
    assert 10 * faults["kept"] < faults["given back"]
