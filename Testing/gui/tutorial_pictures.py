"""Pictures of the tutorial: both modules on the extension's own sample data, beside Slicer's views.

python Testing/gui/tutorial_pictures.py [FOLDER]          without FOLDER: Resources/tutorial

The panels are real and do what the tutorial says: the bundled model segments the sample, then a model is trained on its
drawn slices for five minutes and segments the whole volume. Slicer's libraries draw the views. The frame around them is
drawn, because there is no Slicer here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "gui"), str(TESTING / "host"), str(TESTING.parent / "SAM2Adapt")]

REPOSITORY, SAMPLE, WIDTH, PATIENCE = TESTING.parent, "SAM2AdaptTraining", 460, 1800
MODEL, MINUTES = "my chest", 5
SIZE = (500, 440)  # of a view, pixels
COLOURS = ((0.35, 0.7, 0.45), (0.75, 0.35, 0.5), (0.9, 0.8, 0.5))
#: Window pictures: name, panel, segmentation shown beside it ("" for none), title.
WINDOWS = (
    ("segment", "segment-panel", "segmented", "SAM2 Auto-Segment: after a run"),
    ("train", "train-panel", "drawn", "SAM2 Adapter Training: the drawn slices"),
    ("result", "result-panel", "trained", "SAM2 Auto-Segment: the new model"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "Resources" / "tutorial")
    parser.add_argument("--views", type=Path, help=argparse.SUPPRESS)  # of what the first process has made here
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.views:
        drawWindows(arguments.views, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAM2ADAPT_HOME"], os.environ["SAM2ADAPT_ENGINE_PYTHON"] = home, sys.executable
        Walk(Path(home)).run()
        # One process has one scene: the views get one of their own.
        subprocess.run([sys.executable, __file__, str(arguments.folder), "--views", home], check=True)


class Walk:
    """The two panels, used as the tutorial says.

    :param folder: where pictures of the panels and segmentations go.
    """

    def __init__(self, folder: Path):
        import host

        self._folder, self._host = folder, host.boot()
        self._segmenting = self._host.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        self._training = self._host.loadModule(REPOSITORY / "SAM2AdaptTraining" / "SAM2AdaptTraining.py")
        from SAM2AdaptLib.Segmenting import SampleImages

        self._volumeNode, self._drawnNode = SampleImages.load(SAMPLE)
        colour(self._drawnNode)
        self._save(self._drawnNode, "drawn")

    def run(self) -> None:
        """Segment with the bundled model, train, and segment with the new model."""
        import slicer

        self._enter("SAM2Adapt", self._segmenting)
        self._segmenting._parameterNode.model = "torso-ct@1.0.0"
        slicer.mrmlScene.RemoveNode(self._segment("segment"))  # which also loads the engine
        found = self._segment("segment")
        self._save(found, "segmented")
        slicer.mrmlScene.RemoveNode(found)
        self._train()
        self._enter("SAM2Adapt", self._segmenting)
        self._save(self._segment("result"), "trained")
        if self._host.records.slotErrors:
            sys.exit("\n".join(self._host.records.slotErrors))

    def _segment(self, name: str):
        panel = self._segmenting
        panel._parameterNode.inputVolume, panel._parameterNode.outputSegmentation = self._volumeNode, None
        self._waitFor(lambda: panel.ui.applyButton.enabled and panel.ui.applyButton.text != "Cancel", panel)
        panel.ui.applyButton.click()
        self._waitFor(lambda: panel._parameterNode.outputSegmentation and not panel.isRunning(), panel)
        self._take(panel, f"{name}-panel")
        return panel._parameterNode.outputSegmentation

    def _train(self) -> None:
        panel = self._training
        self._enter("SAM2AdaptTraining", panel)
        panel.ui.addSceneButton.click()
        panel._parameterNode.modelName = MODEL
        choice = panel.ui.durationComboBox
        choice.setCurrentIndex(next(n for n in range(choice.count) if choice.itemText(n).startswith(f"{MINUTES} ")))
        self._waitFor(lambda: panel.ui.startButton.enabled, panel)
        panel.ui.caseTable.selectRow(0)
        self._host.processEvents()
        self._take(panel, "train-panel")
        panel.ui.startButton.click()
        self._waitFor(lambda: not panel.ui.startButton.isHidden(), panel)
        self._take(panel, "trained-panel")
        panel.ui.useButton.click()

    def _enter(self, name: str, widget) -> None:
        import slicer

        slicer.util.selectModule(name)
        widget.enter()
        self._host.processEvents()

    def _waitFor(self, condition, widget) -> None:
        if not self._host.processEvents(PATIENCE, until=condition):
            sys.exit(f"The panel does not get on: {widget.ui.statusLabel.text}")

    def _take(self, widget, name: str) -> None:
        self._host.screenshot(widget.parent, self._folder / f"{name}.png", WIDTH)
        print(f"{name}: {widget.ui.statusLabel.text}", flush=True)

    def _save(self, node, name: str) -> None:
        import slicer

        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(self._folder / f"{name}.seg.nrrd"))
        if not storage.WriteData(node):
            sys.exit(f"Slicer could not write {name}")


def colour(segmentationNode) -> None:
    """Make segments easy to tell apart: Slicer has one colour for both lungs."""
    for segmentId, values in zip(segmentationNode.GetSegmentation().GetSegmentIDs(), COLOURS, strict=False):
        segmentationNode.GetSegmentation().GetSegment(segmentId).SetColor(*values)


def drawWindows(made: Path, folder: Path) -> None:
    """Put panels beside Slicer's views."""
    sys.path.insert(0, str(TESTING))  # not before slicer is imported: it takes the folder of that name for its own
    import picture
    import render
    from PIL import Image

    image = str(REPOSITORY / "SAM2Adapt" / "Resources" / "Samples" / "chest.nrrd")
    app = render.openApp(made / "vtk.log")
    volumeNode = app.volumesLogic.AddArchetypeVolume(image, "chest", 0)
    render.showVolume(volumeNode)
    views = render.SceneViews(app, volumeNode, SIZE)
    for name, panelName, segmentation, title in WINDOWS:
        path = str(made / f"{segmentation}.seg.nrrd")
        node = app.segmentationsLogic.LoadSegmentationFromFile(path, True)
        colour(node)
        render.showSegmentation(node, 0.0 if segmentation == "drawn" else 0.5)
        panel = Image.open(made / f"{panelName}.png").convert("RGB")
        box = render.segmentBounds(node)
        drawn = [[("", views.slice("axial", box)), ("", views.surface(box))],
                 [("", views.slice("coronal", box)), ("", views.slice("sagittal", box))]]  # fmt: skip
        beside = picture.compose(drawn, title, render.segmentLegend(node))
        window = Image.new("RGB", (panel.width + beside.width, max(panel.height, beside.height)), (239, 239, 239))
        window.paste(panel, (0, 0))
        window.paste(beside, (panel.width, 0))
        window.quantize(192, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)
        print(folder / f"{name}.png", window.size)
        app.scene.RemoveNode(node)
    panel = Image.open(made / "trained-panel.png").convert("RGB")
    panel.save(folder / "trained.png", optimize=True)


if __name__ == "__main__":
    main()
