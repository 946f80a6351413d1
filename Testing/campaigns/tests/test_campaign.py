"""The short form of the fault campaign, and planted defects, which it must find.

Each campaign is a process of its own, because its children are forked from it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).resolve().parents[1]
SHORT = 6  # tries of the cheapest kind
SEED = 5
#: Numbers of tries of this seed, until the defect is found. Defects that show only if a process is killed or overtaken
#: at the right moment are left to runs by hand: ``run.py --plant "files are written in place"``, for instance.
PLANTED = {
    "cards are not checked": list(range(20)),
    "pipes are opened": [13],
    "axes are not flipped": [0],
    "training trusts the clock": [4, 7, 9, 10, 13, 15, 16, 17],
    "what is half written stays": [101],
    "text is printed as it is": [0],
    "names reach C++ as they are": [0],
    "messages are parsed without care": [2],
    "a closed folder is not expected": [0],
}
CODE = """
import json, sys
import children, run
from planted import DEFECTS
found = {}
for name, numbers in json.loads(sys.argv[1]).items():
    defect = DEFECTS[name]
    children.PATIENCE = 15.0 if defect.outcome == "hung" else 300.0
    (tally,) = run.run(int(sys.argv[2]), {defect.kind: numbers}, plant=name, until=defect.outcome)
    found[name] = [defect.outcome, dict(tally.counts), tally.left_out]
print(json.dumps(found))
"""


def campaign(*arguments: object) -> subprocess.CompletedProcess:
    folders = [str(CAMPAIGNS), str(CAMPAIGNS.parents[1] / "SAM2Adapt"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, encoding="utf-8", check=False)


def test_short_campaign_finds_nothing():
    done = campaign(CAMPAIGNS / "run.py", "--seed", SEED, "--count", SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| **all** |" in done.stdout


def test_each_planted_defect_is_found():
    done = campaign("-c", CODE, json.dumps(PLANTED), SEED)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    found = {name: row for name, row in said.items() if not row[2]}
    missed = {name: counts for name, (outcome, counts, _) in found.items() if outcome not in counts}
    assert missed == {}
    if len(found) < len(PLANTED):
        pytest.skip("closed folders and full disks need root")
