"""The panels can be read and reached: nothing is cut at 400 and 600 pixels, the keyboard gets everywhere, contrast.

Light and dark as Slicer has them: the panels use no colour of their own, so the application's palette decides. The
scale of a display is Qt's own factor: what one process sees on one display is what it sees on a second one.
"""

import os
import re
import subprocess
import sys

import pytest
import slicer
from filling_testing import addDrawings, stack
from panel_testing import REPOSITORY
from PySide6 import QtGui, QtWidgets

LIGHT = {}
DARK = {"Window": "#2b2b2b", "WindowText": "#dddddd", "Base": "#1e1e1e", "AlternateBase": "#262626", "Text": "#dddddd",
        "Button": "#3a3a3a", "ButtonText": "#dddddd", "Highlight": "#2a6fb0", "HighlightedText": "#ffffff"}  # fmt: skip
#: A text and what it stands on.
PAIRS = (("WindowText", "Window"), ("Text", "Base"), ("Text", "AlternateBase"), ("ButtonText", "Button"))
#: Widgets that a mouse can use; the keyboard must reach them, too.
CONTROLS = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QLineEdit, QtWidgets.QAbstractSpinBox,
            QtWidgets.QAbstractItemView, QtWidgets.QPlainTextEdit)  # fmt: skip


EFFECTS = ("Fill from drawn slices", "Correct with the model")


@pytest.fixture(params=["SAM2Adapt", "SAM2AdaptTraining", *EFFECTS])
def panel(request, loadModule, scene, monkeypatch):
    """A module's panel, or the options of an effect of the Segment Editor."""
    if request.param not in EFFECTS:
        yield loadModule(request.param).parent
        return
    from SAM2AdaptLib.Install import Check
    from SAM2AdaptLib.Panels import Editor

    monkeypatch.setattr(Check, "findProblem", lambda: "no engine is needed to look at the options")
    loadModule("SAM2Adapt")
    Editor.show(*addDrawings({"heart": stack([2, 6]), "a wall with a long name": stack([2, 6], 7)}), request.param)
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    effect = editor.activeEffect().self()
    if request.param == EFFECTS[1]:
        effect._options.nodeSelector.setCurrentNode(slicer.util.getNode("CT segmentation"))  # its segments are offered
    yield effect.scriptedEffect.optionsFrame()
    editor.setActiveEffectByName("")


@pytest.fixture(params=[LIGHT, DARK], ids=["light", "dark"])
def palette(request):
    """The application in one of its two looks."""
    application = QtWidgets.QApplication.instance()
    former, palette = application.palette(), application.style().standardPalette()
    for role, color in request.param.items():
        palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(color))
    application.setPalette(palette)
    yield palette
    application.setPalette(former)


def shown(widget):
    """The native widgets that are visible, without the parts of others, which are scroll bars and the like."""
    native = widget._checked()
    return [child for child in native.findChildren(QtWidgets.QWidget) if child.isVisible()]


@pytest.mark.parametrize("width", [400, 600])
def test_no_text_is_cut_and_every_text_stands_out(panel, palette, screenshot, tmp_path, width):
    screenshot(panel, tmp_path / "panel.png", width=width, expand=True)
    assert panel.width <= width
    cut, children = [], shown(panel)
    assert len(children) > 10
    for child in children:
        if isinstance(child, QtWidgets.QLabel) and child.wordWrap():
            continue  # it takes the lines that it needs
        if isinstance(child, QtWidgets.QLabel | QtWidgets.QPushButton | QtWidgets.QCheckBox) and child.text():
            needed = child.fontMetrics().horizontalAdvance(child.text().replace("&", ""))
            if needed > child.width():
                cut.append((child.objectName(), child.text(), needed, child.width()))
        for role, ground in PAIRS:
            group = QtGui.QPalette.Active
            colors = [child.palette().color(group, getattr(QtGui.QPalette, name)) for name in (role, ground)]
            assert contrast(*colors) >= 4.5, (child.objectName(), role)
    assert cut == []


def test_the_keyboard_reaches_every_control(panel, screenshot, tmp_path):
    from PySide6.QtCore import Qt

    screenshot(panel, tmp_path / "panel.png", width=400, expand=True)
    unreachable = []
    for child in shown(panel):
        inside = any(isinstance(parent, CONTROLS) for parent in ancestors(child))  # of an arrow of a spin box
        if isinstance(child, CONTROLS) and not inside and child.isEnabled():
            if not child.focusPolicy() & Qt.FocusPolicy.TabFocus:
                unreachable.append(child.objectName() or type(child).__name__)
    assert [name for name in unreachable if not name.startswith("qt_")] == []


def ancestors(widget):
    while (widget := widget.parentWidget()) is not None:
        yield widget


@pytest.mark.parametrize("factor", ["1.5", "2"])
def test_all_of_this_holds_on_displays_of_other_scales(factor):
    if "QT_SCALE_FACTOR" in os.environ:
        pytest.skip("this is such a display")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "light-400", __file__]
    run = subprocess.run(
        command, env=os.environ | {"QT_SCALE_FACTOR": factor}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-3000:]


def test_the_panels_have_no_colours_of_their_own():
    """So the palette of Slicer decides, light or dark, and its users' settings for low vision hold."""
    files = [*REPOSITORY.glob("SAM2Adapt*/Resources/UI/*.ui"), *(REPOSITORY / "SAM2Adapt/SAM2AdaptLib").rglob("*.py")]
    words = re.compile(r"styleSheet|<palette|setForeground|setBackground|QBrush|</?font color")
    assert len(files) > 100
    assert [str(path) for path in files if words.search(path.read_text("utf-8"))] == []


def contrast(one, other):
    """Contrast of two colours as WCAG defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
