"""Tells what each test costs in processor time, which other work on the machine hardly changes.

``pytest -p processor_seconds Testing/engine`` writes ``processor-seconds.csv`` into the current folder, or the file
that SAM2ADAPT_PROCESSOR_SECONDS names: a line each time a test or its fixtures are done. Of processes that a test
starts, those count that it waits for.
"""

import os
import time

import pytest

FILE = "SAM2ADAPT_PROCESSOR_SECONDS"


def _seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    processor, wall = _seconds(), time.perf_counter()
    result = yield
    with open(os.environ.get(FILE, "processor-seconds.csv"), "a", encoding="utf-8") as file:
        file.write(f"{_seconds() - processor:.2f},{time.perf_counter() - wall:.2f},{item.nodeid}\n")
    return result
