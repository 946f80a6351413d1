"""Slicer's libraries, without the tests: slicer-core takes each folder "slicer" on the path for a part of itself.

It would run all files in Testing/slicer when a script of this folder imports it.
"""

import sys
from pathlib import Path

_path = sys.path[:]
sys.path[:] = [entry for entry in _path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
import slicer  # noqa: E402, F401  after the lines above

sys.path[:] = _path
