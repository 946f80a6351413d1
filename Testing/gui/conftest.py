"""Tests of the panels, in the small Slicer of Testing/host."""

import pytest

# Fixtures of several files, imported by them.
pytest.register_assert_rewrite("auto_segment_testing", "panel_testing", "training_testing")

from host_fixtures import *  # noqa: E402, F403  # pytest finds fixtures and hooks by their names here
