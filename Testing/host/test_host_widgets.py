"""The stand-in for Slicer: .ui files, widgets, parameter nodes and the life of a module."""

import enum
import pathlib
from typing import Annotated

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    GuiConnector,
    WithinRange,
    createGuiConnector,
    parameterNodeWrapper,
    parameterPack,
)

UI = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
{widgets}</layout></widget><connections>{connections}</connections></ui>"""
SELECTOR = '<item><widget class="qMRMLNodeComboBox" name="selector">{}</widget></item>'
CONNECTION = """<connection><sender>Panel</sender><signal>{}</signal><receiver>selector</receiver><slot>{}</slot>
</connection>"""


@pytest.fixture
def loadUi(tmp_path):
    def load(widgets="", connections=""):
        path = tmp_path / "panel.ui"
        path.write_text(UI.format(widgets=widgets, connections=connections))
        return slicer.util.loadUI(str(path))

    return load


def property_(name, value, attributes=""):
    return f'<property name="{name}"{attributes}>{value}</property>'


def test_ui_file_with_slicers_widgets(loadUi, scene):
    types = property_("nodeTypes", "<stringlist><string>vtkMRMLModelNode</string></stringlist>")
    bound = property_("SlicerParameterName", "<string>model</string>", ' stdset="0"')
    path = property_("filters", "<set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set>")
    widgets = SELECTOR.format(types + bound)
    widgets += f'<item><widget class="ctkPathLineEdit" name="folder">{path}</widget></item>'
    panel = loadUi(widgets, CONNECTION.format("mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"))
    ui = slicer.util.childWidgetVariables(panel)
    assert ui.selector.nodeTypes == ("vtkMRMLModelNode",) and ui.selector.property("SlicerParameterName") == "model"
    assert not ui.selector.enabled and ui.folder.filters == 17
    panel.setMRMLScene(scene)
    assert ui.selector.enabled and ui.selector.mrmlScene() is scene


def test_ui_file_with_an_unknown_class(loadUi, slotErrors):
    with pytest.raises(ValueError, match="qMRMLNothing"):
        loadUi('<item><widget class="qMRMLNothing" name="x"/></item>')


@pytest.mark.parametrize(
    ("widgets", "connections", "sentence"),
    [
        (property_("nodeType", "<string>a</string>"), "", "no property nodeType"),
        (property_("SlicerParameterName", "<string>a</string>"), "", "no property SlicerParameterName"),
        ("", CONNECTION.format("mrmlSceneChanged(vtkObject*)", "setMRMLScene(vtkMRMLScene*)"), "no signal"),
        ("", CONNECTION.format("mrmlSceneChanged(vtkMRMLScene*)", "setNothing()"), "slot selector.setNothing"),
    ],
)
def test_ui_files_with_mistakes_that_qt_hides(loadUi, problems, widgets, connections, sentence):
    loadUi(SELECTOR.format(widgets), connections)
    assert len(problems) == 1 and sentence in problems[0]


def test_collapsed_sections_hide_what_is_in_them(processEvents):
    section, inner, hidden = ctk.ctkCollapsibleButton(), qt.QLabel("a"), qt.QLabel("b")
    layout = qt.QVBoxLayout(section)
    layout.addWidget(inner)
    layout.addWidget(hidden)
    hidden.visible = False
    section.collapsed = True
    states = []
    section.connect("contentsCollapsed(bool)", states.append)
    section.show()
    processEvents()
    assert not inner.visible and not section.checked
    section.collapsed = False
    assert inner.visible and not hidden.visible
    section.checked = False
    hidden.visible = True
    assert not hidden.visible and states == [False, True]
    section.click()
    assert hidden.visible


def selector(scene, nodeType="vtkMRMLModelNode", **properties):
    """A node selector with everything off that changes what it chooses by itself."""
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = [nodeType]
    for name, value in ({"addEnabled": False, "removeEnabled": False} | properties).items():
        setattr(box, name, value)
    box.setMRMLScene(scene)
    return box


def test_node_selector_chooses_by_itself(scene):
    assert not slicer.qMRMLNodeComboBox().enabled and slicer.qMRMLNodeComboBox().addEnabled
    plain, withNone, withAdd = selector(scene), selector(scene, noneEnabled=True), selector(scene, addEnabled=True)
    changes = []
    plain.connect("currentNodeChanged(vtkMRMLNode*)", changes.append)
    plain.connect("currentNodeChanged(bool)", changes.append)
    plain.connect("currentNodeIDChanged(QString)", changes.append)
    first = scene.AddNewNodeByClass("vtkMRMLModelNode", "first")
    assert changes == [first, True, first.GetID()]
    assert [box.currentNode() for box in (plain, withNone, withAdd)] == [first, None, None]
    later, laterWithNone = selector(scene, addEnabled=True), selector(scene, noneEnabled=True)
    assert [later.currentNode(), laterWithNone.currentNode()] == [first, None]
    second = scene.AddNewNodeByClass("vtkMRMLModelNode", "second")
    plain.setCurrentNode(second)
    changes.clear()
    second.SetName("renamed")
    assert changes == [second, True, second.GetID()]
    scene.RemoveNode(second)
    assert plain.currentNode() is first
    scene.Clear(0)
    assert plain.currentNode() is None and plain.nodeCount() == 0


def test_node_selector_filters(scene):
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    box = selector(scene, "vtkMRMLScalarVolumeNode", noneEnabled=True)
    box.setCurrentNode(label)
    assert box.currentNode() is label
    box.showChildNodeTypes = False
    assert box.currentNode() is None and box.nodeCount() == 0
    box.nodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    box.addAttribute("vtkMRMLLabelMapVolumeNode", "kind", "mask")
    assert box.nodeCount() == 0
    label.SetAttribute("kind", "mask")
    box.currentNodeID = label.GetID()
    assert box.currentNode() is label
    box.setCurrentNode(None)
    assert box.currentNodeID == ""


def test_node_selector_creates_and_renames(scene, answers, dialogs):
    box = selector(scene, addEnabled=True, baseName="Result", renameEnabled=True)
    node = box.addNode()
    assert box.currentNode() is node and node.GetName() == "Result"
    answers.append(lambda dialog: "Other")
    box.renameCurrentNode()
    assert node.GetName() == "Other" and len(dialogs) == 1


@pytest.fixture
def segmentation(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    volume = slicer.util.addVolumeFromArray(np.zeros((6, 6, 6), np.uint8))
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("cube", "cube")
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, node, "cube", volume)
    return node


def test_widgets_of_a_segmentation(segmentation):
    button = slicer.qMRMLSegmentationShow3DButton()
    assert not button.enabled
    button.setSegmentationNode(segmentation)
    assert button.enabled and not button.checked
    button.click()
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface") and button.checked
    button.click()
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    table = slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(segmentation)
    assert table.segmentCount == 1
    table.setSelectedSegmentIDs(["cube"])
    assert table.selectedSegmentIDs() == ("cube",)


def test_checkable_combo_box():
    box, changes = ctk.ctkCheckableComboBox(), []
    box.addItems(["a", "b"])
    box.connect("checkedIndexesChanged()", lambda: changes.append(1))
    box.setCheckState(box.model().index(1, 0), qt.Qt.Checked)
    assert [index.row() for index in box.checkedIndexes()] == [1] and changes == [1] and not box.allChecked()


def test_path_widgets(answers, dialogs, tmp_path):
    answers.append(lambda dialog: str(tmp_path))
    edit, button, paths = ctk.ctkPathLineEdit(), ctk.ctkDirectoryButton(), []
    edit.filters = ctk.ctkPathLineEdit.Dirs
    edit.connect("currentPathChanged(QString)", paths.append)
    button.directoryChanged.connect(paths.append)
    edit.browse()
    assert button.browse() == str(tmp_path) == button.directory == edit.currentPath
    assert paths == [str(tmp_path)] * 2 and {known["kind"] for known in dialogs} == {"QFileDialog.getExistingDirectory"}


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


@parameterPack
class Box:
    size: Annotated[int, Default(3)]


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    anyVolume: slicer.vtkMRMLScalarVolumeNode | slicer.vtkMRMLVectorVolumeNode | None
    text: str = "a"
    count: Annotated[int, WithinRange(1, 9), Default(4)]
    ratio: float
    on: bool = True
    mode: Mode
    choice: Annotated[str, Choice(["x", "y"]), Default("y")]
    names: list[str]
    folder: pathlib.Path
    box: Box


@pytest.fixture
def parameters(scene):
    return Parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_parameters_are_stored_in_the_node(parameters, scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert (parameters.volume, parameters.text, parameters.count, parameters.on) == (None, "a", 4, True)
    assert (parameters.mode, parameters.choice, parameters.names, parameters.box.size) == (Mode.FAST, "y", [], 3)
    parameters.volume, parameters.mode, parameters.folder = volume, Mode.EXACT, pathlib.Path("/a")
    parameters.names = ["one"]
    parameters.names.append("two")
    parameters.box.size = 5
    parameters.setValue("ratio", 0.5)
    again = Parameters(parameters.parameterNode)
    assert (again.volume, again.mode, again.folder) == (volume, Mode.EXACT, pathlib.Path("/a"))
    assert (again.names, again.getValue("box.size"), again.ratio) == (["one", "two"], 5, 0.5)
    scene.RemoveNode(volume)
    assert again.volume is None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("count", 10, ValueError), ("count", 1.5, TypeError), ("choice", "z", ValueError), ("text", None, ValueError),
     ("names", ["a", 1], TypeError), ("mode", "FAST", TypeError), ("folder", "/a", TypeError), ("x", 1, ValueError)],
)  # fmt: skip
def test_parameters_of_wrong_type_or_value(parameters, name, value, error):
    with pytest.raises(error):
        parameters.setValue(name, value)


def test_parameter_types_that_cannot_be_stored():
    with pytest.raises(Exception, match="set"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"values": set}}))
    with pytest.raises(ValueError, match="reserved"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {}, "getValue": None}))


class TextConnector(GuiConnector):
    def __init__(self, edit):
        super().__init__()
        self.edit = edit

    canRepresent = create = staticmethod(lambda widget, datatype: None)

    def widget(self):
        return self.edit

    def _connect(self):
        self.edit.connect("textChanged()", self.changed)

    def _disconnect(self):
        self.edit.disconnect("textChanged()", self.changed)

    def read(self):
        return self.edit.plainText

    def write(self, value):
        if value != self.edit.plainText:
            self.edit.plainText = value


def test_parameters_and_widgets_follow_each_other(parameters, scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    box, spin, combo, check = slicer.qMRMLNodeComboBox(), qt.QSpinBox(), qt.QComboBox(), qt.QCheckBox()
    box.setMRMLScene(scene)
    widgets = {"anyVolume": box, "count": spin, "mode": combo, "on": check}
    ui = type("Ui", (), {})()
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
        setattr(ui, name, widget)
    ui.plain = qt.QLabel()
    tag = parameters.connectGui(ui)
    edit = qt.QPlainTextEdit()
    parameters.connectParametersToGui({"text": TextConnector(edit)})
    assert box.nodeTypes == ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode") and spin.maximum == 9
    assert (combo.count, combo.currentText, check.checked, edit.plainText) == (2, "FAST", True, "a")
    box.setCurrentNode(volume)
    spin.value, combo.currentIndex, check.checked, edit.plainText = 7, 1, False, "b"
    assert (parameters.anyVolume, parameters.count, parameters.mode) == (volume, 7, Mode.EXACT)
    assert (parameters.on, parameters.text) == (False, "b")
    parameters.count, parameters.anyVolume = 2, None
    assert spin.value == 2 and box.currentNode() is None
    parameters.disconnectGui(tag)
    spin.value = 5
    parameters.text = "c"
    assert parameters.count == 2 and edit.plainText == "c"


def test_widgets_that_do_not_fit_a_type():
    widgets = [qt.QPlainTextEdit(), qt.QLineEdit(), qt.QSlider(), qt.QComboBox(), ctk.ctkSliderWidget()]
    for widget, datatype in zip(widgets, [str, int, int, str, float], strict=True):
        with pytest.raises(RuntimeError):
            createGuiConnector(widget, datatype)


MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *
calls = []

class Probe(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Probe"
        calls.append("module")
        slicer.app.connect("startupCompleted()", lambda: calls.append("startup"))

class ProbeWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        calls.append("widget")
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        calls.append("setup")
    def enter(self):
        calls.append(("enter", self.parent.isEntered, self.parent.visible))
    def exit(self):
        calls.append(("exit", self.parent.isEntered))
    def cleanup(self):
        calls.append("cleanup")

class ProbeTest(ScriptedLoadableModuleTest):
    def setUp(self):
        calls.append("setUp")
    def test_nothing(self):
        calls.append("test")
"""


def test_life_of_a_module(slicerHost, scene, tmp_path):
    path = tmp_path / "Probe.py"
    path.write_text(MODULE)
    widget = slicerHost.loadModule(path)
    calls = __import__("Probe").calls
    assert calls == ["module", "startup", "widget", "setup", ("enter", True, True)]
    assert slicer.modules.probe.title == "Probe" and slicer.util.modulePath("Probe") == str(path)
    calls.clear()
    slicer.util.selectModule("SegmentEditor")
    assert calls == [("exit", False)] and slicer.util.getModuleWidget("Probe") is widget
    widget.onReload()
    assert calls == [("exit", False), "cleanup"]
    calls = __import__("Probe").calls
    assert calls == ["widget", "setup"] and slicer.modules.ProbeWidget is not widget
    slicer.selfTests["Probe"]()
    assert calls[2:] == ["setUp", "test"]
    slicerHost.unloadModule("Probe")
    assert calls[-1] == "cleanup" and not hasattr(slicer.modules, "probe")
