"""Pictures of the training panel in each of its states; taken by ``pictures.py``."""

import os
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH = 460
DEADLINE = 300  # seconds, on a machine that does much else
HALFWAY = 500  # of the progress bar's thousand
QUICK = "size=96, crop=96, steps=96, axis=axial, validateEvery=1"
CHART = (WIDTH, 300)  # pixels


class TrainingPhotographer:
    """The training panel with chest CTs on which both lungs are drawn, brought from state to state.

    :param host: the small Slicer; its scene is cleared.
    :param folder: where the pictures go.
    """

    def __init__(self, host, folder: Path):
        import slicer

        self._host, self._folder = host, folder
        host.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        slicer.mrmlScene.Clear(0)
        self._load()

    def run(self) -> None:
        """Take all pictures."""
        self._take("training-empty")
        self._fill()
        self._take("training-problems")
        self._leaveOut()
        self._take("training-ambiguous")
        self._mend()
        self._ui.estimateButton.click()
        self._waitFor(lambda: self._ui.estimateLabel.text)
        self._take("training")
        self._train()
        self._continue()
        self._fail()
        self._host.unloadModule("SAM2AdaptTraining")
        self._load()
        self._take("training-resume")

    def _load(self) -> None:
        import slicer

        self._widget = self._host.loadModule(REPOSITORY / "SAM2AdaptTraining" / "SAM2AdaptTraining.py")
        self._ui = self._widget.ui
        slicer.util.selectModule("SAM2AdaptTraining")
        self._widget.enter()
        self._host.processEvents()

    def _fill(self) -> None:
        """Three cases: one with few slices drawn, one with two segments of one name, and one with nothing drawn."""
        addChest("CTChest", drawn=(6, 12, 18, 24, 30))
        self._twice = addChest("CTChest 2")
        self._twice.GetSegmentation().GetNthSegment(1).SetName("left lung")
        self._nothing = addChest("CTChest 3", drawn=())
        self._ui.addSceneButton.click()
        self._widget._parameterNode.modelName = "my lungs"
        self._widget._parameterNode.furtherSettings = QUICK
        self._host.processEvents()
        self._ui.caseTable.selectRow(0)
        self._host.processEvents()

    def _leaveOut(self) -> None:
        """Take the segmentation away in which nothing is drawn, and look at the case with two segments of one name."""
        import slicer

        slicer.mrmlScene.RemoveNode(self._nothing)
        self._host.processEvents()
        self._ui.caseTable.selectRow(1)
        self._host.processEvents()

    def _mend(self) -> None:
        """Give both segments names of their own, and add a case to validate on."""
        self._twice.GetSegmentation().GetNthSegment(1).SetName("right lung")
        addChest("CTChest 4", seed=4)
        self._ui.addSceneButton.click()
        box = self._ui.caseTable.cellWidget(2, 2)
        box.setCurrentIndex(box.findData("validate"))
        self._waitFor(lambda: self._ui.startButton.enabled)
        self._ui.caseTable.selectRow(0)
        self._host.processEvents()

    def _train(self) -> None:
        """Running, paused, done, and the curves."""
        self._ui.startButton.click()
        self._waitFor(lambda: self._ui.progressBar.value >= HALFWAY and "Training" in self._ui.statusLabel.text)
        self._take("training-running")
        self._ui.pauseButton.click()
        self._waitFor(lambda: self._ui.pauseButton.text == "Resume")
        self._take("training-paused")
        self._ui.pauseButton.click()
        self._waitFor(self._isOver)
        self._take("training-done")
        drawCurves("my lungs", self._folder / "training-curves.png")

    def _continue(self) -> None:
        """The model that was trained goes on with one more case, by quick adapt."""
        self._widget._parameterNode.startModel = "my lungs@1.0.0"
        self._widget._parameterNode.quick = True
        self._widget._clearResults()
        self._ui.statusLabel.text = ""
        self._host.processEvents()
        self._take("training-quick")
        self._widget._parameterNode.startModel = ""
        self._widget._parameterNode.quick = False

    def _fail(self) -> None:
        """A killed engine, as when memory runs out."""
        self._ui.startButton.click()
        self._waitFor(lambda: "pass 3" in self._ui.statusLabel.text)
        os.kill(self._widget.logic.engine.processId(), 9)
        self._waitFor(self._isOver)
        self._take("training-failed")

    def _isOver(self) -> bool:
        return not self._ui.startButton.isHidden()

    def _waitFor(self, condition) -> None:
        if not self._host.processEvents(DEADLINE, until=condition):
            sys.exit(f"The training panel does not get on: {self._ui.statusLabel.text}")

    def _take(self, name: str) -> None:
        save(self._host.screenshot(self._widget.parent, self._folder / f"{name}.png", WIDTH))
        print(f"{self._folder / name}.png: {self._ui.statusLabel.text}")


def save(path: str) -> None:
    """Make the file of a picture as small as it gets without loss."""
    from PySide6 import QtGui

    QtGui.QImage(path).convertToFormat(QtGui.QImage.Format.Format_RGB888).save(path, "PNG", 0)  # 0: smallest file


def addChest(name: str, drawn=None, seed: int = 0):
    """The chest CT, not quite the same for each seed, with its lungs drawn by threshold; returns the segmentation.

    :param drawn: numbers of the slices on which they are drawn; None: all.
    """
    import slicer
    import slicerio
    from SAM2AdaptLib.Scene import LabelImport

    chest = slicerio.get_testdata_file("CTChest4.nrrd")
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(chest), name, 0)
    voxels = slicer.util.arrayFromVolume(volume)
    inside = voxels < -400
    inside[:, :, :12] = inside[:, :, -12:] = inside[:, :16] = inside[:, -16:] = False  # the air around the body
    labels = inside.astype(np.uint8)
    labels[:, :, voxels.shape[2] // 2 :] *= 2
    labels[[k for k in range(len(labels)) if drawn is not None and k not in drawn]] = 0
    voxels += np.random.default_rng(seed).normal(0, 20 if seed else 0, voxels.shape).astype(voxels.dtype)
    slicer.util.arrayFromVolumeModified(volume)
    structures = [
        {"id": 1, "name": "left lung", "color": (0.3, 0.6, 0.9)},
        {"id": 2, "name": "right lung", "color": (0.9, 0.6, 0.3)},
    ]
    return LabelImport.importLabels(volume, labels, structures)


def drawCurves(name: str, path: Path) -> None:
    """Draw the chart nodes of a training with VTK's charts, as Slicer's plot views do, one below the other."""
    import slicer
    from PySide6 import QtGui

    charts = [slicer.util.getNode(f"{name} {part} chart") for part in ("loss", "Dice")]
    whole = QtGui.QImage(CHART[0], CHART[1] * len(charts), QtGui.QImage.Format.Format_RGB888)
    painter = QtGui.QPainter(whole)
    for number, chart in enumerate(charts):
        pixels = np.ascontiguousarray(_chartPixels(chart))
        image = QtGui.QImage(pixels.data, *CHART, 3 * CHART[0], QtGui.QImage.Format.Format_RGB888)
        painter.drawImage(0, number * CHART[1], image)
    painter.end()
    whole.save(str(path), "PNG", 0)
    print(path)


def _chartPixels(chart):
    """A chart node as an array (rows, columns, 3), uint8."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    view, drawing = vtk.vtkContextView(), vtk.vtkChartXY()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(*CHART)
    view.GetScene().AddItem(drawing)
    drawing.SetTitle(chart.GetTitle())
    drawing.SetShowLegend(chart.GetLegendVisibility())
    drawing.GetLegend().SetVerticalAlignment(vtk.vtkChartLegend.BOTTOM)
    drawing.GetAxis(vtk.vtkAxis.BOTTOM).SetTitle(chart.GetXAxisTitle())
    drawing.GetAxis(vtk.vtkAxis.LEFT).SetTitle(chart.GetYAxisTitle())
    for number in range(chart.GetNumberOfPlotSeriesNodes()):
        series, plot = chart.GetNthPlotSeriesNode(number), vtk.vtkPlotLine()
        plot.SetInputData(series.GetTableNode().GetTable(), series.GetXColumnName(), series.GetYColumnName())
        plot.SetColorF(*series.GetColor())
        plot.SetWidth(series.GetLineWidth())
        plot.SetMarkerStyle(series.GetMarkerStyle())
        plot.SetMarkerSize(series.GetMarkerSize())
        plot.SetLabel(series.GetName())
        drawing.AddPlot(plot)
    view.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(view.GetRenderWindow())
    grab.Update()
    image = grab.GetOutput()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(CHART[1], CHART[0], -1)[::-1, :, :3]
