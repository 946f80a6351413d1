"""The stand-in for Slicer is as strict as PythonQt: each rule once. Widgets and modules: test_host_widgets.py."""

import pathlib
import subprocess

import ctk
import pytest
import qt
import slicer
import vtk


def test_properties_are_attributes():
    button = qt.QPushButton("Apply")
    assert button.text == "Apply" and button.enabled and not button.visible
    button.text = "Cancel"
    button.setText("Stop")
    assert button.text == "Stop"
    with pytest.raises(TypeError):
        button.text()
    tree = qt.QTreeWidget()
    item = qt.QTreeWidgetItem(tree)
    assert tree.topLevelItemCount == 1 and item.text(0) == "" and tree.topLevelItem(0) == item


@pytest.mark.parametrize(
    ("widget", "name", "value", "stored"),
    [
        ("QLabel", "text", None, "None"),
        ("QLabel", "text", pathlib.PurePosixPath("a/b"), "a/b"),
        ("QProgressBar", "value", 33.9, 33),
        ("QCheckBox", "checked", "no", True),
        ("QDoubleSpinBox", "value", 3, 3.0),
        ("QSlider", "orientation", 2, 2),
        ("QLabel", "textFormat", "RichText", 1),
        ("QLabel", "alignment", 0x0002, 0x0002),
    ],
)
def test_written_values_are_converted(widget, name, value, stored):
    object_ = getattr(qt, widget)()
    setattr(object_, name, value)
    assert getattr(object_, name) == stored


@pytest.mark.parametrize(
    ("widget", "name", "value"),
    [("QProgressBar", "value", None), ("QProgressBar", "value", "3"), ("QDoubleSpinBox", "value", "3"),
     ("QLabel", "pixmap", 5), ("QLabel", "textFormat", "NoSuchKey"), ("QLabel", "hasSelectedText", True)],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(widget, name, value):
    with pytest.raises(AttributeError, match=name):
        setattr(getattr(qt, widget)(), name, value)


def test_text_for_a_list_becomes_characters(problems):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    assert selector.nodeTypes == ("vtkMRMLModelNode",)
    selector.nodeTypes = "ab"
    assert selector.nodeTypes == ("a", "b") and len(problems) == 1


@pytest.mark.parametrize("name", ["newAttribute", "click", "toggled", "connect", "_private"])
def test_cpp_objects_take_no_new_attributes(name):
    with pytest.raises(AttributeError):
        setattr(qt.QPushButton(), name, 1)


@pytest.mark.parametrize(
    ("module", "name"),
    [(qt, "QNothing"), (qt, "QtCore"), (qt, "os"), (ctk, "ctkNothing"), (ctk, "QLabel"), (slicer, "qMRMLNothing"),
     (slicer, "ctkSearchBox"), (qt.QPushButton, "nothing"), (qt.Qt, "NoSuchKey")],
)  # fmt: skip
def test_what_the_host_does_not_know_is_missing(module, name):
    with pytest.raises(AttributeError):
        getattr(module, name)


@pytest.mark.parametrize("name", ["setNodeTypes", "setBaseName", "setNoneEnabled", "nodeTypesChanged", "_ids"])
def test_of_slicers_classes_only_slots_and_properties_are_there(name):
    selector = slicer.qMRMLNodeComboBox()
    assert selector.className() == "qMRMLNodeComboBox" and selector.inherits("QWidget")
    with pytest.raises(AttributeError):
        getattr(selector, name)


def test_methods_take_no_keywords_and_no_functions():
    menu = qt.QMenu()
    with pytest.raises(TypeError):
        qt.QLabel(text="a")
    with pytest.raises(TypeError):
        menu.addAction(text="a")
    with pytest.raises(ValueError, match="takes no Python function"):
        menu.addAction("a", lambda: None)
    with pytest.raises(ValueError, match="overload"):
        menu.addAction(5)


def test_enum_values_are_in_the_class_around_them():
    assert qt.Qt.Vertical == 2 and qt.QMessageBox.Ok | qt.QMessageBox.Cancel == 0x00400400
    assert qt.Qt.CheckState(2) == qt.Qt.Checked
    with pytest.raises(AttributeError):
        qt.Qt.CheckState.Checked  # noqa: B018


def test_classes_do_not_inherit_from_each_other():
    button = qt.QPushButton()
    assert type(button) is qt.QPushButton and not isinstance(button, qt.QWidget)


def test_names_children_and_dynamic_properties():
    parent = qt.QWidget()
    button = qt.QPushButton(parent)
    button.name = "apply"
    assert button.objectName == "apply" and parent.apply is button and parent.children() == (button,)
    assert parent.findChildren("QPushButton") == (button,) and parent.findChild(qt.QPushButton, "apply") is button
    parent.setProperty("SlicerParameterName", "x")
    parent.SlicerParameterName = "y"
    assert parent.property("SlicerParameterName") == "y"


def test_values_of_qt_have_methods_only():
    size = qt.QSize(3, 4)
    assert size.width() == 3
    with pytest.raises(AttributeError):
        size.width = 5
    with pytest.raises(AttributeError):
        size.area  # noqa: B018
    process = qt.QProcess()
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("A", "ü")
    process.setProcessEnvironment(environment)
    assert process.processEnvironment().value("A") == "ü"


def test_signals_need_the_exact_signature(problems):
    button = qt.QPushButton()
    assert button.connect("clicked( bool )", print)
    assert not problems
    assert not button.connect("clicked(int)", print) and not button.connect("pressed(bool)", print)
    selector = slicer.qMRMLNodeComboBox()
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", print)
    assert not selector.connect("currentNodeChanged(vtkObject*)", print)
    assert not selector.disconnect("nothing()", print)
    assert len(problems) == 4


def test_slots_get_as_many_arguments_as_they_take():
    button, calls = qt.QPushButton(), []

    class Receiver:
        def none(self):
            calls.append(())

        def optional(self, checked=None):
            calls.append((checked,))

    button.clicked.connect(Receiver().none)
    button.connect("clicked(bool)", Receiver().optional)
    button.connect("clicked()", Receiver().optional)
    button.connect("clicked(bool)", lambda *arguments: calls.append(arguments))
    button.click()
    assert calls == [(), (False,), (None,), (False,)]


def test_disconnected_slots_are_not_called():
    button, calls = qt.QPushButton(), []

    def onClicked():
        calls.append(1)

    button.clicked.connect(onClicked)
    button.connect("clicked()", onClicked)
    assert button.disconnect("clicked()", onClicked) and button.clicked.disconnect(onClicked)
    assert not button.disconnect("clicked()", onClicked)
    button.click()
    assert calls == []


def test_exceptions_in_slots_and_observers_are_kept(slotErrors, scene):
    button, calls = qt.QPushButton(), []
    button.connect("clicked()", lambda: 1 / 0)
    button.connect("clicked()", lambda: calls.append(1))
    button.click()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode")
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: [].pop())
    node.SetName("name")
    assert calls == [1]
    assert ["ZeroDivisionError" in slotErrors[0], "IndexError" in slotErrors[1], len(slotErrors)] == [True, True, 2]


def test_messages_of_qt_and_vtk_are_problems(problems, scene):
    scene.AddNode(None)
    qt.QPixmap().scaled(3, 3)
    assert "unable to add a null node" in problems[0] and "null pixmap" in problems[1]


class Filter(qt.QObject):
    def __init__(self):
        qt.QObject.__init__(self)
        self.types = []

    def eventFilter(self, watched, event):
        self.types.append(event.type())
        return False


def test_classes_derived_in_python(slotErrors):
    class Dialog(qt.QDialog):
        def __init__(self):
            super().__init__()
            self.accepted_ = 0

        def accept(self):
            self.accepted_ += 1
            qt.QDialog.accept(self)

        def sizeHint(self):
            return 1 / 0

    dialog, watcher = Dialog(), Filter()
    dialog.installEventFilter(watcher)
    box = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok, dialog)
    box.connect("accepted()", dialog.accept)
    box.button(qt.QDialogButtonBox.Ok).click()
    assert dialog.accepted_ == 1 and dialog.result() == qt.QDialog.Accepted
    dialog.windowTitle = "title"
    assert qt.QEvent.WindowTitleChange in watcher.types
    dialog.adjustSize()
    assert "ZeroDivisionError" in slotErrors[0]


def test_objects_that_nobody_holds_are_gone(processEvents):
    calls, seen = [], []

    def forget():
        timer, watcher = qt.QTimer(), Filter()
        timer.connect("timeout()", lambda: calls.append(1))
        timer.start(1)
        watcher.types = seen
        button.installEventFilter(watcher)

    button = qt.QPushButton()
    forget()
    processEvents(0.05)
    button.text = "x"
    button.show()
    assert calls == [] and seen == []


def test_destroyed_objects_are_false(processEvents):
    button = qt.QPushButton()
    button.deleteLater()
    processEvents()
    assert not button
    with pytest.raises(ValueError, match="destroyed"):
        button.text  # noqa: B018


def test_dialogs_are_recorded_and_answered(dialogs, answers):
    slicer.util.errorDisplay("It failed.", detailedText="line 1")
    assert slicer.util.confirmOkCancelDisplay("Sure?")
    answers.append(lambda dialog: qt.QMessageBox.Cancel if dialog["text"] == "Sure?" else None)
    assert not slicer.util.confirmOkCancelDisplay("Sure?")
    answers.append(lambda dialog: "/a/b.txt" if dialog["kind"] == "QFileDialog.getOpenFileName" else None)
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.txt") == "/a/b.txt"
    assert qt.QInputDialog.getText(None, "Name", "Name:") == ""
    dialog = qt.QDialog()
    dialog.windowTitle = "Settings"
    assert dialog.exec_() == qt.QDialog.Accepted
    assert [known["title"] for known in dialogs][3:] == ["Open", "Name", "Settings"]
    assert [known["text"] for known in dialogs][:3] == ["It failed.", "Sure?", "Sure?"]
    assert dialogs[0]["detailedText"] == "line 1" and dialogs[2]["answer"] == qt.QMessageBox.Cancel


def test_single_shots_survive_exceptions(processEvents, slotErrors):
    calls = []
    qt.QTimer.singleShot(0, lambda: 1 / 0)
    qt.QTimer.singleShot(0, lambda: calls.append(1))
    assert processEvents(5, until=lambda: calls) and len(slotErrors) == 1


def test_settings_are_those_of_the_test():
    qt.QSettings().setValue("SAM2Adapt/key", "value")
    assert slicer.app.userSettings().value("SAM2Adapt/key") == "value"
    assert slicer.util.settingsValue("SAM2Adapt/absent", 5) == 5


def test_pip_is_asked_for_and_not_run(processEvents, dialogs, answers):
    from slicer import packaging

    codes = []
    packaging.pip_install("nothing-of-this-name", blocking=False, completedCallback=codes.append)
    assert codes == [] and processEvents(5, until=lambda: codes == [0])
    answers.append(lambda dialog: 1)
    with pytest.raises(subprocess.CalledProcessError):
        packaging.pip_install(["--no-index", "nothing-of-this-name"])
    assert [dialog["kind"] for dialog in dialogs] == ["pip_install"] * 2
