"""What the tests of the training panel share: the panel with what a user does and sees, and annotated volumes."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from panel_testing import DEADLINE, REPOSITORY, BasePanel, loadedModules

# The engine that does what the test says is shared with the tests that have no panel.
sys.path.append(str(REPOSITORY / "Testing" / "slicer"))
from example_engines import ScriptedEngine

#: The smallest network input and few steps, so that an epoch takes a second or two.
QUICK = "size=64, crop=64, steps=8, validateEvery=1"
VOLUME, USE, ANNOTATED = 0, 2, 3  # columns of the table of cases
#: What the engine answers to a training with one case for validation.
RESULT = {
    "bundle": "/runs/model.safetensors",
    "dice": {"mean": 0.9, "box": 0.9},
    "before": {"mean": 0.25, "box": 0.25},
    "cases": [{"id": "b", "dice": {"box": 0.9}}],
    "former": None,
}


def engineError(kind="OutputError", message="It cannot be written.", remedy="Free space.", **further):
    from SAM2AdaptLib.Engine.Error import EngineError

    return EngineError(kind, message, remedy, **further)


def weightsMissing():
    """What the engine answers when the weights of the base network 'tiny' are not on this computer."""
    message = "The weights of 'tiny' (156 MB) are missing."
    return engineError("WeightsMissingError", message, setting=["downloadBase"], value="tiny")


@pytest.fixture(scope="module")
def training(slicerHost, tmp_path_factory):
    """The module, opened once; no model and no run of the user is seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        names = ("SAM2Adapt", "SAM2AdaptTraining")
        with loadedModules(slicerHost, tmp_path_factory.mktemp("home"), *names) as widget:
            yield widget


class Panel(BasePanel):
    """The panel with what a test does and sees."""

    @property
    def parameters(self):
        return self.widget._parameterNode

    def isRunning(self):
        return self.ui.startButton.isHidden()

    def column(self, table, column):
        return [table.item(row, column).text() for row in range(table.rowCount)]

    def addScene(self):
        self.ui.addSceneButton.click()
        self.look()

    def look(self):
        """Wait until all cases were looked at."""
        self.processEvents()
        self.processEvents(DEADLINE, until=lambda: not self.widget._inputs.isLooking)

    def setQuick(self, **parameters):
        for name, value in {"method": "head", "batchSize": 1, "furtherSettings": QUICK, **parameters}.items():
            setattr(self.parameters, name, value)
        self.processEvents()

    def start(self):
        """Click and wait until the network learns; returns the number of the engine's process."""
        assert self.ui.startButton.enabled, self.status
        self.ui.startButton.click()
        self.waitFor(lambda: self.status.startswith("Training: pass") or not self.isRunning())
        assert self.isRunning(), self.texts
        return self.widget.logic.engine.processId()

    def waitForEnd(self):
        self.waitFor(lambda: not self.isRunning())


@pytest.fixture
def panel(training, scene, processEvents):
    widget = slicer.modules.SAM2AdaptTrainingWidget
    slicer.util.selectModule("SAM2AdaptTraining")
    widget.enter()
    yield Panel(widget, processEvents)
    widget._run.cancel()
    processEvents()
    for run in widget.logic.unfinishedRuns():
        from SAM2AdaptLib.Training import RunFolders

        RunFolders.discard(run["folder"])
    models = os.path.join(os.environ["SAM2ADAPT_HOME"], "models")
    for name in os.listdir(models) if os.path.isdir(models) else ():
        os.remove(os.path.join(models, name))


@pytest.fixture
def scripted(panel, monkeypatch):
    """Engines in the place of both: ``training`` and ``models``."""
    engines = SimpleNamespace(training=ScriptedEngine(), models=ScriptedEngine())
    monkeypatch.setattr(panel.widget.logic, "engine", engines.training)
    monkeypatch.setattr(panel.widget.logic, "modelEngine", engines.models)
    yield engines
    panel.widget._run._pending = panel.widget._run._control._offer._pending = None  # nobody will answer it


@pytest.fixture
def pair(panel):
    """Two cases in the table, one of them for validation."""
    cases = [addCase(name, seed=seed) for seed, name in enumerate(("a", "b"))]
    panel.addScene()
    choose(panel.ui.caseTable, 1, "validate")
    panel.processEvents()
    panel.setQuick(modelName="boxes")
    return cases


def choose(table, row, use):
    box = table.cellWidget(row, USE)
    box.setCurrentIndex(box.findData(use))


def addCase(name="phantom", structures=("box",), annotated=(1, 3, 6), seed=0):
    """A volume with a bright box in noise, and its segmentation; the box is drawn on some of the eight slices."""
    from SAM2AdaptLib.Scene import LabelImport

    voxels = np.random.default_rng(seed).integers(-20, 20, (8, 64, 64)).astype(np.int16)
    voxels[:, 16:48, 20:44] += 300
    volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-1.0, -1.0, 5.0, 1.0]), name=name)
    labels = np.zeros(voxels.shape, np.uint8)
    for value in range(1, len(structures) + 1):
        rows = slice(16 + 16 * (value - 1) // len(structures) * 2, 16 + 32 * value // len(structures))
        labels[list(annotated), rows, 20:44] = value
    entries = [{"id": value, "name": text} for value, text in enumerate(structures, start=1)]
    return volume, LabelImport.importLabels(volume, labels, entries)
