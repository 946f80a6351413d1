"""The short form of the fault campaign, and one planted defect for each kind of fault, which it must find.

Each campaign is a process of its own, because its children are forked from it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).resolve().parents[1]
SHORT = 8  # tries of the cheapest kind: all kinds in half a minute of the processor
CODE = """
import json, random, sys
import children, run
from planted import DEFECTS
children.PATIENCE = 20.0
found = {}
for name, (kind, tries) in json.loads(sys.argv[1]).items():
    (tally,) = run.run(int(sys.argv[2]), {kind: tries}, plant=name)
    found[name] = [dict(tally.counts), tally.left_out]
print(json.dumps(found))
"""
#: Tries among which each defect is found.
PLANTED = {
    "numbers in cards are not bounded": 12,
    "tensors as large as a card says": 30,
    "axes are not flipped": 3,
    "pipes are opened": 12,
    "text is printed as it is": 6,
    "training trusts the clock": 8,
    "arrays of clients are mapped": 12,
    "files are written in place": 10,
    "what is half written stays": 8,
    "a closed folder is not expected": 8,
    "nobody waits for the other": 10,
}


def environment() -> dict[str, str]:
    folders = [str(CAMPAIGNS), str(CAMPAIGNS.parents[1] / "SAM2Adapt"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1"}


def test_short_campaign_finds_nothing():
    done = subprocess.run(
        [sys.executable, CAMPAIGNS / "run.py", "--seed", "11", "--count", str(SHORT)],
        capture_output=True, env=environment(), encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| **all** |" in done.stdout


def test_each_planted_defect_is_found():
    sys.path.insert(0, str(CAMPAIGNS))
    try:
        from outcomes import OUTCOMES
    finally:
        sys.path.remove(str(CAMPAIGNS))
    import json

    code = "from planted import DEFECTS; import json; print(json.dumps({n: [d.kind, d.outcome] for n, d in DEFECTS.items()}))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), encoding="utf-8",
                            check=True)  # fmt: skip
    defects = json.loads(listed.stdout)
    assert set(PLANTED) <= set(defects) and {outcome for _, outcome in defects.values()} <= set(OUTCOMES)
    plan = {name: [defects[name][0], tries] for name, tries in PLANTED.items()}
    done = subprocess.run([sys.executable, "-c", CODE, json.dumps(plan), "5"], capture_output=True, env=environment(),
                          encoding="utf-8", check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    missed = [
        (name, counts) for name, (counts, left_out) in found.items() if not left_out and defects[name][1] not in counts
    ]
    assert missed == []
    if all(left_out for _, left_out in found.values()):
        pytest.skip("nothing could be tried here")
