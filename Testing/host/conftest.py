"""Tests of the small Slicer itself."""

from host_fixtures import *  # noqa: F403  # pytest finds fixtures and hooks by their names here
