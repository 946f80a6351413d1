"""Fixtures that the tests of the engine share with those of the benchmarks."""

import pytest

pytest.register_assert_rewrite("batch_testing")

from engine_fixtures import *  # noqa: E402, F403  # pytest finds fixtures by their names here
