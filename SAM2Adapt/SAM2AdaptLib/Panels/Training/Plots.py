"""Loss and Dice of a training as plots of Slicer, and a layout that shows them."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

_LAYOUT = 50611  # unlikely to be in use; Slicer's layouts are below 1000
_VIEW = """<item splitSize="500"><view class="vtkMRMLPlotViewNode" singletontag="{tag}">
<property name="viewlabel" action="default">{label}</property></view></item>"""
_SLICE = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
<property name="orientation" action="default">{orientation}</property>
<property name="viewlabel" action="default">{letter}</property></view></item>"""
LOSS, DICE = "SAM2AdaptLoss", "SAM2AdaptDice"


class Plots:
    """The curves of one run; nodes that the user removes, or that go with the scene, are made again."""

    def __init__(self):
        self._name, self._history = "", []
        self._nodeIds = []
        self._wasShown, self._formerLayout = False, None

    def begin(self, name):
        """Forget the curves of the run before; its nodes stay in the scene.

        :param name: of the model that is trained.
        """
        self._name, self._history, self._nodeIds, self._wasShown = name, [], [], False

    def draw(self, history):
        """Draw what is known now; it takes no time where nothing is new.

        :param history: see ``RunFolders.Run.history``.
        """
        if history == self._history:
            return
        self._history = history
        losses = [entry for entry in history if entry["loss"] is not None]
        if losses:
            self._draw(LOSS, _("loss"), _("Loss"), losses, {_("loss"): [entry["loss"] for entry in losses]})
        scores = [entry for entry in history if entry["dice"]]
        if scores:
            columns = {
                _("mean") if name == "mean" else name: [entry["dice"].get(name, np.nan) for entry in scores]
                for name in scores[-1]["dice"]
            }
            self._draw(DICE, _("Dice"), _("Dice"), scores, columns)

    def show(self):
        """Show the curves beside slice views, once a run: the user may choose another layout.

        Without a main window nothing is there to show them.
        """
        manager = slicer.app.layoutManager()
        if self._wasShown or not self._nodeIds or manager is None or slicer.util.mainWindow() is None:
            return
        self._wasShown = True
        if manager.layout != _LAYOUT:
            _registerLayout()
            self._formerLayout = manager.layout
            manager.layout = _LAYOUT

    def hide(self):
        """Go back to the layout before."""
        manager = slicer.app.layoutManager()
        if manager is not None and self._formerLayout is not None and manager.layout == _LAYOUT:
            manager.layout = self._formerLayout
        self._formerLayout = None

    def _draw(self, tag, name, title, entries, columns):
        """Write a table with one row for each epoch, a series for each column, and a chart with all of them."""
        table = self._node("vtkMRMLTableNode", f"{self._name} {name}")
        content = vtk.vtkTable()
        for header, values in {_("epoch"): [entry["epoch"] for entry in entries], **columns}.items():
            array = vtk.vtkDoubleArray()
            array.SetName(header)
            for value in values:
                array.InsertNextValue(value)
            content.AddColumn(array)
        table.SetAndObserveTable(content)
        chart = self._node("vtkMRMLPlotChartNode", f"{self._name} {name} chart")
        chart.SetTitle(self._name)
        chart.SetXAxisTitle(_("Epoch"))
        chart.SetYAxisTitle(title)
        chart.SetLegendVisibility(len(columns) > 1)
        for number, header in enumerate(columns):
            series = self._node("vtkMRMLPlotSeriesNode", f"{self._name} {name} {header}")
            if not chart.HasPlotSeriesNodeID(series.GetID()):
                _setUpSeries(series, table, header, number)
                chart.AddAndObservePlotSeriesNodeID(series.GetID())
        _plotView(tag).SetPlotChartNodeID(chart.GetID())

    def _node(self, className, name):
        """The node of this run with that name, made where it is missing."""
        for node in map(slicer.mrmlScene.GetNodeByID, self._nodeIds):
            if node and node.GetClassName() == className and node.GetAttribute("SAM2Adapt.Plot") == name:
                return node
        node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute("SAM2Adapt.Plot", name)
        self._nodeIds.append(node.GetID())
        return node


def _setUpSeries(series, table, header, number):
    series.SetName(header)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(_("epoch"))
    series.SetYColumnName(header)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    colors = vtk.vtkColorSeries()
    colors.SetColorScheme(colors.BREWER_QUALITATIVE_DARK2)
    color = colors.GetColorRepeating(number)
    series.SetColor([color.GetRed() / 255, color.GetGreen() / 255, color.GetBlue() / 255])


def _plotView(tag):
    """The plot view of that name; it is drawn as soon as a layout has it."""
    node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLPlotViewNode")
    if node is None:
        node = slicer.vtkMRMLPlotViewNode()
        node.SetSingletonTag(tag)
        node.SetName(tag)
        node.SetLayoutName(tag)
        node = slicer.mrmlScene.AddNode(node)
    return node


def _registerLayout():
    layoutNode = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    slices = [("Red", "Axial", "R"), ("Yellow", "Sagittal", "Y"), ("Green", "Coronal", "G")]
    upper = "".join(_SLICE.format(tag=tag, orientation=way, letter=letter) for tag, way, letter in slices)
    lower = "".join(_VIEW.format(tag=tag, label=label) for tag, label in ((LOSS, _("Loss")), (DICE, _("Dice"))))
    text = (
        '<layout type="vertical" split="true">'
        f'<item splitSize="500"><layout type="horizontal">{upper}</layout></item>'
        f'<item splitSize="500"><layout type="horizontal">{lower}</layout></item></layout>'
    )
    if not layoutNode.SetLayoutDescription(_LAYOUT, text):
        layoutNode.AddLayoutDescription(_LAYOUT, text)
