"""The curves of a training: the engine's log as nodes that Slicer draws, and the layout with them."""

from pathlib import Path

import numpy as np
import pytest
import slicer
from training_testing import RESULT, addCase

pytest_plugins = ["training_testing"]

HEADER = "epoch,loss,learning_rate,dice mean,dice box,seconds\n"
ROWS = ["0,,,0.1,0.1,\n", "1,0.5,0.01,0.3,0.3,2.0\n", "2,0.4,0.01,,,4.0\n", "3,0.3,0.01,0.3,0.3,6.0\n"]


def writeLog(engines, count):
    folder = Path(engines.training.last.params["output"]).with_suffix(".run")
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text(HEADER + "".join(ROWS[:count]))


@pytest.fixture
def curves(panel, pair, scripted):
    """Writes the log of so many rows, as the engine does, and reports that an epoch has ended."""
    layout = slicer.app.layoutManager().layout
    panel.ui.startButton.click()
    panel.waitFor(lambda: scripted.training.requests)

    def write(count):
        writeLog(scripted, count)
        scripted.training.last.sendProgress(
            {"stage": "training", "done": count, "total": 9, "unit": "epoch", "fraction": 0.1, "loss": 9.0}
        )

    yield write
    slicer.app.layoutManager().layout = layout


def table(name):
    node = slicer.util.getNode(f"boxes {name}")
    count = node.GetNumberOfColumns()
    return {node.GetColumnName(k): slicer.util.arrayFromTableColumn(node, node.GetColumnName(k)) for k in range(count)}


def test_one_point_for_each_epoch_with_its_mean_loss(curves):
    for count in (2, 3, 4):
        curves(count)
        assert table("loss")["epoch"].tolist() == list(range(1, count))
    assert table("loss")["loss"].tolist() == [0.5, 0.4, 0.3]
    dice = table("Dice")
    assert dice["epoch"].tolist() == [0, 1, 3], "a Dice that stays the same is a point too"
    assert dice["box"].tolist() == [0.1, 0.3, 0.3] == dice["mean"].tolist()


def test_last_epoch_is_drawn_when_the_run_ends(curves, scripted):
    curves(2)
    writeLog(scripted, 4)
    scripted.training.last.sendResult(RESULT)
    assert table("Dice")["epoch"].tolist() == [0, 1, 3]


def test_chart_says_what_it_shows(curves):
    curves(4)
    for name, lines in (("loss", ["loss"]), ("Dice", ["mean", "box"])):
        chart = slicer.util.getNode(f"boxes {name} chart")
        assert (chart.GetXAxisTitle(), chart.GetYAxisTitle().lower()) == ("Epoch", name.lower())
        assert chart.GetTitle() == "boxes"
        assert chart.GetLegendVisibility() == (len(lines) > 1)
        series = [chart.GetNthPlotSeriesNode(k) for k in range(chart.GetNumberOfPlotSeriesNodes())]
        assert [node.GetName() for node in series] == lines
        assert {node.GetXColumnName() for node in series} == {"epoch"}
        assert [node.GetYColumnName() for node in series] == lines
        assert len({node.GetColor() for node in series}) == len(lines)
        (view,) = (v for v in slicer.util.getNodesByClass("vtkMRMLPlotViewNode") if v.GetPlotChartNode() is chart)
        assert view.GetSingletonTag() == f"SAM2Adapt{name.capitalize()}"


def test_layout_shows_the_curves_once_and_the_user_may_change_it(curves, panel):
    manager = slicer.app.layoutManager()
    before = manager.layout
    curves(2)
    assert manager.layout != before
    text = manager.layoutLogic().GetLayoutNode().GetLayoutDescription(manager.layout)
    assert all(f'singletontag="{tag}"' in text for tag in ("SAM2AdaptLoss", "SAM2AdaptDice", "Red"))
    manager.layout = 1
    curves(3)
    assert manager.layout == 1


def test_curves_begin_anew_in_another_scene(curves):
    curves(3)
    slicer.mrmlScene.Clear(0)
    addCase("another")
    curves(4)
    assert table("loss")["epoch"].tolist() == [1, 2, 3]


def test_class_that_appears_later_is_a_curve_with_gaps(curves, panel):
    from SAM2AdaptLib.Panels.Training.Plots import Plots

    plots = Plots()
    plots.begin("boxes")
    plots.draw(
        [
            {"epoch": 1, "loss": 1.0, "dice": {"mean": 0.5, "box": 0.5}},
            {"epoch": 2, "loss": 1.0, "dice": {"mean": 0.5, "box": 0.5, "late": 0.5}},
        ]
    )
    np.testing.assert_array_equal(table("Dice")["late"], [np.nan, 0.5])
