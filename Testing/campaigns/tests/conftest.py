"""Campaigns fork, so they need processes of their own, and Linux."""

import sys

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("campaigns fork, as on Linux", allow_module_level=True)
