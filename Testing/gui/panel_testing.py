"""What the tests of the panels share: modules that are loaded, and a panel whose events are processed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import slicer

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE = 600  # seconds; a busy machine is slow, and a test that waits in vain fails anyway


@contextmanager
def loadedModules(slicerHost, home: Path, *names: str) -> Iterator:
    """Modules in a home folder without models or runs of the user, with this Python's engine; gives the last one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM2ADAPT_HOME", str(home))
        patch.setenv("SAM2ADAPT_ENGINE_PYTHON", sys.executable)
        widgets = [slicerHost.loadModule(REPOSITORY / name / f"{name}.py") for name in names]
        yield widgets[-1]
        for name in reversed(names):
            slicerHost.unloadModule(name)


class BasePanel:
    """A module's panel with the texts that its status line has shown."""

    def __init__(self, widget, processEvents):
        self.widget = widget
        self.ui = widget.ui
        self.processEvents = processEvents
        self.texts = []

    @property
    def status(self):
        return self.ui.statusLabel.text

    @property
    def hint(self):
        """Why the panel's button cannot be clicked."""
        return "" if self.ui.hintLabel.isHidden() else self.ui.hintLabel.text

    def waitFor(self, condition):
        def look():
            if not self.texts or self.texts[-1] != self.status:
                self.texts.append(self.status)
            return condition()

        self.processEvents(DEADLINE, until=look)
        assert condition(), self.texts

    def saveAndCloseScene(self, folder, *nodes):
        """Write the scene and these nodes; afterwards it is empty."""
        for node in nodes:
            suffix = "seg.nrrd" if node.IsA("vtkMRMLSegmentationNode") else "nrrd"
            node.AddDefaultStorageNode()
            node.GetStorageNode().SetFileName(str(folder / f"{node.GetName()}.{suffix}"))
            assert node.GetStorageNode().WriteData(node)
        slicer.mrmlScene.SetURL(str(folder / "scene.mrml"))
        assert slicer.mrmlScene.Commit()
        slicer.mrmlScene.Clear(0)
        self.processEvents()

    def loadScene(self, folder):
        """Load what was saved into the folder."""
        slicer.mrmlScene.SetURL(str(folder / "scene.mrml"))
        assert slicer.mrmlScene.Import()
        self.processEvents()
