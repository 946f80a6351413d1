"""Adds up the reports of several pytest processes: python Testing/count_tests.py FOLDER

FOLDER holds NAME.status, the exit status of each process, and NAME.xml, its JUnit report. A process that died without a
report, or that failed although no test did, counts as one failure.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

_NOTHING_COLLECTED = 5


def count(folder: Path) -> tuple[int, int, int]:
    """Tests passed, failed and skipped."""
    passed = failed = skipped = 0
    for statusFile in sorted(folder.glob("*.status")):
        status = int(statusFile.read_text("utf-8"))
        report = statusFile.with_suffix(".xml")
        suites = ET.parse(report).getroot().iter("testsuite") if report.exists() else ()
        bad = 0
        for suite in suites:
            wrong = int(suite.get("failures")) + int(suite.get("errors"))
            idle = int(suite.get("skipped"))
            passed += int(suite.get("tests")) - wrong - idle
            bad += wrong
            skipped += idle
        if not bad and status not in (0, _NOTHING_COLLECTED):
            print(f"Testing/{statusFile.stem}: pytest ended with status {status}")
            bad = 1
        failed += bad
    return passed, failed, skipped


if __name__ == "__main__":
    passed, failed, skipped = count(Path(sys.argv[1]))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
