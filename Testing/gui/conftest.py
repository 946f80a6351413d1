"""Tests of the panels, in the small Slicer of Testing/host."""

import pytest

# Fixtures of several files, imported by them.
pytest.register_assert_rewrite("auto_segment_testing", "installer_testing", "panel_testing", "training_testing")

from host_fixtures import *  # noqa: E402, F403  # pytest finds fixtures and hooks by their names here


@pytest.fixture(scope="session", autouse=True)
def noEngineIsLeft():
    """The engine that all panels share ends with the tests, as with Slicer, so that no process is destroyed unended."""
    yield
    if MISSING:  # noqa: F405
        return
    from SAM2AdaptLib.Engine.Client import stopSharedEngine
    from SAM2AdaptLib.Engine.Process import waitForKilled

    stopSharedEngine()
    waitForKilled()
