"""The effect that fills drawn slices, driven by clicks under Slicer's own Python layer; see ``fill_clicks.py``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("SLICERHOST", "SLICER_SOURCE_DIR")
pytestmark = pytest.mark.skipif(
    not all(map(os.environ.get, NEEDED)),
    reason=f"needs a host of Slicer's own Python files, named by {' and '.join(NEEDED)}",
)


def test_the_effect_works_by_clicks_and_the_report_is_empty():
    script = Path(__file__).with_name("fill_clicks.py")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
