"""Pictures of the section Engine on, light and dark: closed, no engine there, key refused, connected with a training.

python Testing/gui/engine_pictures.py [FOLDER]          without FOLDER: Resources/panel

The engine is a real one on this computer; a program named ssh stands in the way to another computer.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from fill_pictures import session, wait  # first: it finds Slicer's side and chooses Qt's platform
from host.pythonqt import unwrap
from PySide6 import QtGui, QtWidgets
from test_reading import DARK, LIGHT
from training_pictures import REPOSITORY, save

WIDTH, SPACE = 400, 16
PLACE = "reader@gpu-room"
ENGINE = """exec '{python}' -c '
import os, socket
os.environ["SAM2ADAPT_HOME"] = "{home}"
socket.gethostname = lambda: "gpu-room"
from sam2adapt.server.remote.gateway import serve_stream
serve_stream()'
"""
REFUSED = f"echo '{PLACE}: Permission denied (publickey).' >&2; exit 255\n"
MISSING = "case $* in *.whl*) cat >/dev/null; exit 0;; esac; echo 'sh: 1: exec: sam2adapt: not found' >&2; exit 127\n"


def main() -> None:
    """Take both pictures, each with all states."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        with session() as (slicerHost, target):
            widget = slicerHost.loadModule(REPOSITORY / "SAM2AdaptTraining" / "SAM2AdaptTraining.py")
            for name, colors in (("engine-on", LIGHT), ("engine-on-dark", DARK)):
                paint(colors)
                photographer = Photographer(slicerHost, widget, Path(folder))
                columns = photographer.states()
                whole(columns).save(str(target / f"{name}.png"))
                save(str(target / f"{name}.png"))
                print(target / f"{name}.png")
            slicerHost.unloadModule("SAM2AdaptTraining")


class Photographer:
    """The section in the panel of trainings.

    :param folder: where the program ssh lies, and the home of the engine there.
    """

    def __init__(self, host, widget, folder: Path):
        self._host, self._widget, self._section, self._folder = host, widget, widget._engineSection, folder

    def states(self) -> list[list[QtGui.QPixmap]]:
        """Two columns of pictures."""
        self._section.goOnCheckBox.checked = False
        self._choose("here")
        self._section.button.collapsed = True
        closed = self._picture()
        self._section.button.collapsed = False
        missing, refused = self._tested(MISSING), self._tested(REFUSED)
        home = self._folder / "far"
        with working(home):
            there = self._tested(ENGINE.format(python=sys.executable, home=home))
        self._choose("here")
        return [[closed, missing], [refused, there]]

    def _choose(self, kind: str, text: str = "") -> None:
        section = self._section
        section.placeComboBox.setCurrentIndex(section.placeComboBox.findData(kind))
        section.placeEdit.text = text
        unwrap(section.placeEdit).editingFinished.emit()

    def _tested(self, ssh: str) -> QtGui.QPixmap:
        """The section after Test connection, with a program in the place of ssh."""
        (self._folder / "ssh").write_text(f"#!/bin/sh\n{ssh}", "utf-8")
        (self._folder / "ssh").chmod(0o755)
        self._choose("here")
        self._choose("host", PLACE)
        section = self._section
        section.testButton.click()
        wait(self._host, lambda: section.testButton.enabled)
        if section.table.visible:
            section.table.selectRow(0)
            section.goOnCheckBox.checked = True
        return self._picture()

    def _picture(self) -> QtGui.QPixmap:
        self._host.processEvents()
        self._host.screenshot(self._widget.parent, self._folder / "panel.png", WIDTH)
        return unwrap(self._section.button).grab()


class working:  # a context
    """A training that is at work there, by itself.

    :param home: of the engine there.
    """

    def __init__(self, home: Path):
        self._folder = home / "remote" / "runs" / "0123456789abcdef"

    def __enter__(self):
        from sam2adapt.shared.safety.private import Lock

        self._folder.mkdir(parents=True, exist_ok=True)
        run = {"name": "my lungs", "started": time.time() - 5400, "hours": 12}
        (self._folder / "run.json").write_text(json.dumps(run), "utf-8")
        (self._folder / "progress.json").write_text(json.dumps({"done": 14, "total": 40, "bestDice": 0.9}), "utf-8")
        self._lock = Lock(self._folder / "lock")

    def __exit__(self, *error):
        self._lock.release()


def paint(colors: dict[str, str]) -> None:
    """Give the application one of its two looks."""
    application = QtWidgets.QApplication.instance()
    palette = application.style().standardPalette()
    for role, color in colors.items():
        palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(color))
    application.setPalette(palette)


def whole(columns: list[list[QtGui.QPixmap]]) -> QtGui.QImage:
    """One picture of columns of pictures."""
    height = max(sum(one.height() + SPACE for one in column) for column in columns) - SPACE
    wide = max(one.width() for column in columns for one in column) + SPACE
    width = wide * len(columns) - SPACE
    image = QtGui.QImage(width, height, QtGui.QImage.Format.Format_RGB888)
    image.fill(QtWidgets.QApplication.palette().color(QtGui.QPalette.Window))
    painter = QtGui.QPainter(image)
    for number, column in enumerate(columns):
        top = 0
        for one in column:
            painter.drawPixmap(number * wide, top, one)
            top += one.height() + SPACE
    painter.end()
    return image


if __name__ == "__main__":
    main()
