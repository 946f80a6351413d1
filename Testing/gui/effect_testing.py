"""What the tests of both effects of the Segment Editor share: the module that has them, and an engine."""

import pytest
from example_engines import ScriptedEngine
from panel_testing import loadedModules


@pytest.fixture(scope="module")
def effects(slicerHost, tmp_path_factory):
    """The module, with this Python's engine."""
    with loadedModules(slicerHost, tmp_path_factory.mktemp("home"), "SAM2Adapt") as widget:
        yield widget


@pytest.fixture
def effectEngine(monkeypatch):
    """An engine that does what the test says, in the place of the one that all modules share."""
    from SAM2AdaptLib.Engine import Client
    from SAM2AdaptLib.Install import Check

    scripted = ScriptedEngine()
    monkeypatch.setattr(Client, "sharedEngine", lambda: scripted)
    monkeypatch.setattr(Check, "findProblem", lambda: None)
    return scripted
