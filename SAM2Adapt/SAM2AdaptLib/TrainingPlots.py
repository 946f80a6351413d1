"""Loss and Dice of a training as Slicer's own plots, and a layout that shows them."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

_LAYOUT = 50611  # a number of our own; Slicer's layouts are below 1000
_VIEW = """<item splitSize="500"><view class="vtkMRMLPlotViewNode" singletontag="{tag}">
<property name="viewlabel" action="default">{label}</property></view></item>"""
_SLICE = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
<property name="orientation" action="default">{orientation}</property>
<property name="viewlabel" action="default">{letter}</property></view></item>"""
LOSS, DICE = "SAM2AdaptLoss", "SAM2AdaptDice"


class TrainingPlots:
    """The curves of one run; nodes that the user removes, or that go with the scene, are made anew."""

    def __init__(self):
        self._name = ""
        self._losses, self._scores = [], []  # (epoch, loss), (epoch, {structure: Dice})
        self._nodeIds = []
        self._formerLayout = None

    def begin(self, name):
        """Forget the curves of the run before; its nodes stay in the scene.

        :param name: of the model that is trained.
        """
        self._name, self._losses, self._scores, self._nodeIds = name, [], [], []

    def add(self, epoch, loss=None, scores=None):
        """Add what is known after an epoch.

        :param scores: dict from structure to Dice, "mean" among them.
        """
        if loss is not None and (not self._losses or epoch > self._losses[-1][0]):
            self._losses.append((epoch, loss))
            self._draw(LOSS, _("loss"), _("Loss"), self._losses, {_("loss"): [loss for _epoch, loss in self._losses]})
        if scores and (not self._scores or scores != self._scores[-1][1]):
            self._scores.append((epoch, dict(scores)))
            names = [_("mean") if name == "mean" else name for name in scores]
            columns = zip(names, scores, strict=True)
            values = {shown: [entry.get(name, np.nan) for _e, entry in self._scores] for shown, name in columns}
            self._draw(DICE, _("Dice"), _("Dice"), self._scores, values)

    def show(self):
        """Show the curves beside slice views; without a main window nothing is there to show them."""
        if not self._nodeIds or slicer.app.layoutManager() is None or slicer.util.mainWindow() is None:
            return
        manager = slicer.app.layoutManager()
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

    def _draw(self, tag, name, title, points, columns):
        """Write a table with one row for each epoch, a series for each column, and a chart with all of them."""
        table = self._node("vtkMRMLTableNode", f"{self._name} {name}")
        content = vtk.vtkTable()
        for header, values in {_("epoch"): [epoch for epoch, _value in points], **columns}.items():
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
                _describe(series, table, header, number)
                chart.AddAndObservePlotSeriesNodeID(series.GetID())
        _plotView(tag).SetPlotChartNodeID(chart.GetID())

    def _node(self, className, name):
        """The node of this run with that name, made where it is missing."""
        found = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in self._nodeIds]
        for node in found:
            if node and node.GetClassName() == className and node.GetAttribute("SAM2Adapt.Plot") == name:
                return node
        node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute("SAM2Adapt.Plot", name)
        self._nodeIds.append(node.GetID())
        return node


def _describe(series, table, header, number):
    series.SetName(header)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(_("epoch"))
    series.SetYColumnName(header)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    colors = slicer.mrmlScene.GetNodeByID("vtkMRMLColorTableNodeFileMediumChartColors.txt")
    color = [0.2, 0.4, 0.8, 1.0]
    if colors:
        colors.GetColor(number % colors.GetNumberOfColors(), color)
    series.SetColor(color[:3])


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
