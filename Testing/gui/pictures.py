"""Pictures of the panels for the README: Auto-segment idle, running, done, failed, without engine; the training panel.

python Testing/gui/pictures.py [--training] [FOLDER]          without FOLDER: Resources/panel

--training: the training panel only.
"""

import argparse
import os
import sys
import tempfile
import venv
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "gui"), str(TESTING / "host"), str(TESTING.parent / "SAM2Adapt")]
import host  # noqa: E402
from training_pictures import DEADLINE, HALFWAY, REPOSITORY, WIDTH, TrainingPhotographer, save  # noqa: E402


def main() -> None:
    """Take all pictures; as a user who has no models of his own and never ran one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "Resources" / "panel")
    parser.add_argument("--training", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAM2ADAPT_HOME"] = home
        os.environ["SAM2ADAPT_ENGINE_PYTHON"] = sys.executable
        slicerHost = host.boot()
        if not arguments.training:
            photographer = Photographer(slicerHost, arguments.folder)
            photographer.run()
            photographer.batch(Path(home) / "studies")
            photographer.fail()
            photographer.loseEngine(Path(home) / "python")
            slicerHost.unloadModule("SAM2Adapt")
            os.environ["SAM2ADAPT_ENGINE_PYTHON"] = sys.executable
        TrainingPhotographer(slicerHost, arguments.folder).run()
        for module in ("SAM2AdaptTraining", "SAM2Adapt"):
            slicerHost.unloadModule(module)
    if slicerHost.records.slotErrors:
        sys.exit("\n".join(slicerHost.records.slotErrors))


class Photographer:
    """The panel with the chest CT, brought from state to state.

    :param host: the small Slicer.
    :param folder: where the pictures go.
    """

    def __init__(self, host, folder: Path):
        self.host, self._folder = host, folder
        self._widget = host.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        self._ui = self._widget.ui
        self._begin()

    def run(self) -> None:
        """Idle, running and done; of the second run, because the first one also loads the engine."""
        self._click()
        self._waitFor(lambda: not self._isRunning())
        self._begin()
        self._take("idle")
        self._click()
        self._waitFor(lambda: not self._isRunning())
        self._take("done")
        self._begin()
        self._runHalf()
        self._take("running")
        self._ui.applyButton.click()  # cancels

    def batch(self, source: Path) -> None:
        """The section Batch idle, running and done, one below the other; one of the studies is cut off.

        :param source: folder to put studies into.
        """
        import slicer
        import slicerio
        from PySide6 import QtGui

        chest, ui, pictures = Path(slicerio.get_testdata_file("CTChest4.nrrd")), self._ui, []
        for name in ("patient1/chest", "patient2/chest", "patient3/chest"):
            (source / name).parent.mkdir(parents=True)
            (source / f"{name}.nrrd").write_bytes(chest.read_bytes())
        (source / "patient2" / "chest.nrrd").write_bytes(chest.read_bytes()[:100_000])
        ui.batchCollapsibleButton.collapsed = False
        ui.batchSourceComboBox.setCurrentIndex(1)
        ui.batchInputEdit.currentPath, ui.batchOutputEdit.currentPath = str(source), str(source.parent / "results")

        def take() -> None:
            self.host.screenshot(self._widget.parent, source.parent / "panel.png", WIDTH)
            pictures.append(ui.batchCollapsibleButton._checked().grab())

        take()
        ui.batchButton.click()
        self._waitFor(lambda: ui.batchProgressBar.value >= HALFWAY and ui.batchTable.rowCount)
        take()
        self._waitFor(lambda: ui.batchButton.text == "Segment all")
        take()
        whole = QtGui.QImage(WIDTH, sum(p.height() for p in pictures), QtGui.QImage.Format.Format_RGB888)
        whole.fill(QtGui.QColor("white"))
        painter, top = QtGui.QPainter(whole), 0
        for picture in pictures:
            painter.drawPixmap((WIDTH - picture.width()) // 2, top, picture)
            top += picture.height()
        painter.end()
        whole.save(str(self._folder / "batch.png"), "PNG", 0)
        print(f"{self._folder / 'batch.png'}: {ui.batchStatusLabel.text}")
        ui.batchCollapsibleButton.collapsed = True
        ui.batchSourceComboBox.setCurrentIndex(0)
        slicer.app.processEvents()

    def fail(self) -> None:
        """A killed engine, as when memory runs out."""
        self._begin()
        self._runHalf()
        os.kill(self._widget.logic.engine.processId(), 9)
        self._waitFor(lambda: not self._isRunning())
        self._take("failed")

    def loseEngine(self, python: Path) -> None:
        """A Python in which nothing is installed, as Slicer's is at first.

        :param python: folder to make it in.
        """
        venv.create(python, with_pip=False)
        program = python / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        os.environ["SAM2ADAPT_ENGINE_PYTHON"] = str(program)
        self._begin()
        self._widget.enter()
        self._take("engine-missing")

    def _begin(self) -> None:
        """The chest CT alone in the scene, without a result."""
        import slicer
        import slicerio

        slicer.mrmlScene.Clear(0)
        chest = slicerio.get_testdata_file("CTChest4.nrrd")
        slicer.modules.volumes.logic().AddArchetypeVolume(str(chest), "CTChest", 0)
        self.host.processEvents()

    def _click(self) -> None:
        self._ui.applyButton.click()

    def _runHalf(self) -> None:
        """Run until half is done; slowly, or it is all done before the picture is taken."""
        self._ui.testTimeAugmentationCheckBox.checked = True
        self._click()
        self._waitFor(lambda: self._ui.progressBar.value >= HALFWAY)
        self._ui.testTimeAugmentationCheckBox.checked = False

    def _isRunning(self) -> bool:
        return self._ui.applyButton.text == "Cancel"

    def _waitFor(self, condition) -> None:
        if not self.host.processEvents(DEADLINE, until=condition):
            sys.exit(f"The panel does not get on: {self._ui.statusLabel.text}")

    def _take(self, name: str) -> None:
        path = self.host.screenshot(self._widget.parent, self._folder / f"{name}.png", WIDTH)
        save(path)
        print(f"{path}: {self._ui.statusLabel.text or self._ui.installLabel.text}")


if __name__ == "__main__":
    main()
