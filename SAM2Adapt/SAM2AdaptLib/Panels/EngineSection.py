"""The section “Engine on”: where the engine is, whether it answers, and what runs and is kept there."""

import time

import ctk
import qt
from sam2adapt.shared import protocol
from sam2adapt.shared.errors import RemoteError
from sam2adapt.shared.files import megabytes
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import Client
from SAM2AdaptLib.Engine.Error import fromUserError
from SAM2AdaptLib.Engine.Remote import Place, Ssh, Trainings
from SAM2AdaptLib.Panels import Dialogs, Widgets

_HOURS = "SAM2Adapt/GoOnHours"
_DEFAULT_HOURS, _MOST_HOURS = 12, 336


class EngineSection:
    """Chooses the place of the engine for this user; nothing of it is kept in a scene.

    :ivar button: ctkCollapsibleButton; ``placeComboBox``, ``placeEdit``, ``testButton``, ``resultLabel``,
      ``installEdit``, ``copyButton``, ``table``, ``stopButton``, ``deleteButton``; ``goOnCheckBox``,
      ``hoursSpinBox`` of trainings.
    """

    def __init__(self, layout, onChanged, offersGoingOn):
        """
        :param layout: of the panel's sections.
        :param onChanged: called when another place was chosen.
        :param offersGoingOn: whether the panel trains, so that a training can go on without Slicer.
        """
        self._onChanged, self._client, self._runs, self._isFilling = onChanged, None, [], False
        self._answers = False
        self.button = ctk.ctkCollapsibleButton()
        inside = qt.QVBoxLayout(self.button)
        for widget in (*self._placeWidgets(), *self._widgetsOfThere()):
            inside.addWidget(widget)
        self.goOnCheckBox, self.hoursSpinBox = _goingOn(inside)
        self._offersGoingOn = offersGoingOn
        layout.addWidget(self.button)
        self._connect()
        self.update()
        self.button.collapsed = True

    def _placeWidgets(self):
        self.placeComboBox, self.placeEdit = qt.QComboBox(), qt.QLineEdit()
        for kind, text in _titles().items():
            self.placeComboBox.addItem(text, kind)
        self.testButton = qt.QPushButton(_("Test connection"))
        self.resultLabel = _wrapped()
        self.installLabel = _wrapped(
            _(
                "To install the engine there, press “Test connection”, which sends its files. Then type, once, in a"
                " shell of that computer:"
            )
        )
        self.installEdit = qt.QLineEdit(Ssh.INSTALL_LINE)
        self.installEdit.readOnly = True
        self.installEdit.setCursorPosition(0)
        self.copyButton = qt.QPushButton(_("Copy this line"))
        return (
            self.placeComboBox,
            self.placeEdit,
            self.testButton,
            self.resultLabel,
            self.installLabel,
            self.installEdit,
            self.copyButton,
        )

    def _widgetsOfThere(self):
        self.table = qt.QTableWidget()
        self.table.setColumnCount(3)
        self.table.setHorizontalHeaderLabels([_("Training there"), _("State"), _("Ends after")])
        self.table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self.table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self.table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        self.table.verticalHeader().hide()
        Widgets.fitColumns(self.table.horizontalHeader(), 3, stretched=(1,))
        self.stopButton = qt.QPushButton(_("Stop training there"))
        self.stopButton.toolTip = _("It ends with the best that it reached; “Resume” fetches the model.")
        self.keptLabel = _wrapped()
        self.deleteButton = qt.QPushButton(_("Delete what is kept there…"))
        return self.table, self.stopButton, self.keptLabel, self.deleteButton

    def _connect(self):
        self.placeComboBox.connect("currentIndexChanged(int)", lambda index: self._onKind())
        self.placeEdit.connect("editingFinished()", self._onPlace)
        self.testButton.connect("clicked()", self.test)
        self.copyButton.connect("clicked()", self._onCopy)
        self.table.connect("itemSelectionChanged()", self._onSelected)
        self.stopButton.connect("clicked()", self._onStop)
        self.deleteButton.connect("clicked()", self._onDelete)
        self.goOnCheckBox.connect("toggled(bool)", lambda isOn: self._keepHours())
        self.hoursSpinBox.connect("valueChanged(int)", lambda hours: self._keepHours())

    def update(self):
        """Show the choice, which another panel may have changed."""
        place = Place.chosen()
        self._isFilling = True
        self.placeComboBox.setCurrentIndex(self.placeComboBox.findData(place.kind))
        self.placeEdit.text = place.text
        hours = int(qt.QSettings().value(_HOURS) or 0)
        self.goOnCheckBox.checked = hours > 0
        self.hoursSpinBox.value = hours or _DEFAULT_HOURS
        self._isFilling = False
        self._show(place)

    def cleanup(self):
        """End what asks there."""
        if self._client:
            self._client.stop()
            self._client = None

    def trainingOptions(self):
        """Options of a training: how long it may go on without this Slicer."""
        isOn = self._offersGoingOn and self.goOnCheckBox.checked and Place.chosen().isElsewhere
        return {Trainings.HOURS: float(self.hoursSpinBox.value)} if isOn else {}

    def test(self):
        """Start an engine there and say what it is, or why there is none."""
        self._onPlace()
        self._say(_("Connecting…"))
        self._ask("devices", self._onDevices)

    def _onKind(self):
        if not self._isFilling:
            self.placeEdit.text = Place.remembered(self._kind())
            self._onPlace()

    def _onPlace(self):
        """Keep the choice, unless nothing can be run with it."""
        if self._isFilling:
            return
        place = Place.Place(self._kind(), self.placeEdit.text.strip() if self._kind() != Place.HERE else "")
        self._show(place)
        if place == Place.chosen():
            return
        try:
            place.require()
        except RemoteError as error:
            self._say(str(fromUserError(error)))
            return
        Place.choose(place)
        self.cleanup()
        self._forget()
        self._onChanged()

    def _kind(self):
        return self.placeComboBox.itemData(self.placeComboBox.currentIndex)

    def _show(self, place):
        where = _("this computer") if not place.isElsewhere else place.text or "…"
        self.button.text = _("Engine on: {place}").format(place=where if len(where) < 40 else f"{where[:38]}…")
        self.placeEdit.visible = place.isElsewhere
        self.placeEdit.placeholderText = _placeholders().get(place.kind, "")
        for widget in (self.installLabel, self.installEdit, self.copyButton):
            widget.visible = place.kind == Place.HOST and not self._answers
        for widget in (self.goOnCheckBox, self.hoursSpinBox):
            widget.visible = self._offersGoingOn and place.isElsewhere
        self._showThere()

    def _forget(self):
        self._runs, self._answers, self.keptLabel.text, self.resultLabel.text = [], False, "", ""
        self._showThere()

    def _showThere(self):
        self.table.setRowCount(len(self._runs))
        for row, run in enumerate(self._runs):
            for column, text in enumerate(_rowOf(run)):
                self.table.setItem(row, column, Widgets.tableItem(text, text))
        self._fitTable()
        for widget in (self.table, self.stopButton):
            widget.visible = bool(self._runs)
        for widget in (self.keptLabel, self.deleteButton):
            widget.visible = bool(self.keptLabel.text)
        self._onSelected()

    def _fitTable(self):
        """Make the table as high as its rows, and of many rows as high as four."""
        self.table.resizeRowsToContents()
        rows = [self.table.rowHeight(row) for row in range(min(4, len(self._runs)))]
        self.table.setFixedHeight(
            self.table.horizontalHeader().sizeHint.height() + sum(rows) + 2 * self.table.frameWidth
        )

    def _onCopy(self):
        self.installEdit.selectAll()
        self.installEdit.copy()

    def _ask(self, method, onResult, **params):
        if self._client is None:
            self._client = Client.EngineClient(place=Place.chosen())
        self.testButton.enabled = False
        self._client.request(method, params, onResult=onResult, onError=self._onError)

    def _onError(self, error):
        self.testButton.enabled = True
        if error.kind != "CancelledError":
            self._answers = False
            self._say(str(error))
            self._show(Place.chosen())

    def _onDevices(self, devices):
        facts, device = self._client.facts(), devices[0]
        where = facts.get("host") or _("this computer")
        texts = [_("The engine answers: version {version} on “{host}”.").format(version=facts["version"], host=where)]
        if facts["version"] != protocol.VERSION:
            texts.append(_("This computer has version {version}; results may differ.").format(version=protocol.VERSION))
        if len(devices) == 2:  # "auto" and the CPU
            texts.append(_("It has no GPU that can be used ({reason}).").format(reason=device["reason"]))
        else:
            texts.append(device["reason"] + ".")
        self._answers = True
        self._say(" ".join(texts))
        self._show(Place.chosen())
        self._look()

    def _look(self):
        """See what runs and is kept there."""
        if Place.chosen().isElsewhere:
            self._ask("trainings", self._onTrainings)
        else:
            self._endAsking()

    def _onTrainings(self, runs):
        self._runs = runs
        self._ask("kept", self._onKept)

    def _onKept(self, kept):
        size, days = sum(row["bytes"] for row in kept), min(row["days"] for row in kept if row["days"] is not None)
        text = _("Kept there for you: {size}; training cases until {days} days after their last use.")
        self.keptLabel.text = text.format(size=megabytes(size), days=f"{days:g}")
        self._showThere()
        self._endAsking()

    def _endAsking(self):
        self.testButton.enabled = True
        self.cleanup()

    def _onSelected(self):
        run = self._selected()
        self.stopButton.enabled = bool(run) and run["state"] == "working" and run["hours"] is not None

    def _selected(self):
        row = self.table.currentRow()
        return self._runs[row] if self.table.selectedItems() and 0 <= row < len(self._runs) else None

    def _onStop(self):
        if run := self._selected():
            self._ask("stopTraining", lambda facts: self._look(), run=run["run"])

    def _onDelete(self):
        consequences = _(
            "Training cases, models and trainings that are not at work are deleted there. What you need of them again"
            " is sent again; trainings that were not fetched are lost."
        )
        if Dialogs.confirm(_("Delete what is kept there?"), consequences, _("Delete")):
            self._ask("deleteKept", self._onKept)

    def _keepHours(self):
        if not self._isFilling:
            qt.QSettings().setValue(_HOURS, self.hoursSpinBox.value if self.goOnCheckBox.checked else 0)
        self.hoursSpinBox.enabled = self.goOnCheckBox.checked

    def _say(self, text):
        self.resultLabel.text = text


def _goingOn(layout):
    checkBox, spinBox = qt.QCheckBox(_("Go on without me, at most for (hours)")), qt.QSpinBox()
    checkBox.toolTip = _(
        "A training goes on there when Slicer is closed or the connection is lost. Its model is fetched with “Resume”."
    )
    spinBox.setRange(1, _MOST_HOURS)
    row = qt.QHBoxLayout()
    row.addWidget(checkBox)
    row.addWidget(spinBox)
    layout.addLayout(row)
    return checkBox, spinBox


def _wrapped(text=""):
    label = qt.QLabel(text)
    label.wordWrap = True
    label.textInteractionFlags = qt.Qt.TextSelectableByMouse
    return label


def _titles():
    return {
        Place.HERE: _("This computer"),
        Place.HOST: _("Another computer, by ssh"),
        Place.COMMAND: _("A command (docker, podman, srun …)"),
    }


def _placeholders():
    return {Place.HOST: _("user@host"), Place.COMMAND: "docker run -i --rm --gpus all sam2adapt-engine"}


def _rowOf(run):
    states = {"working": _("working"), "done": _("done: “Resume” fetches it"), "ended": _("interrupted")}
    passes = run["progress"].get("done")
    state = states[run["state"]]
    if run["state"] == "working" and passes is not None:
        state = _("pass {number} is done").format(number=passes)
    until = _("the connection")
    if run["hours"] is not None:
        until = time.strftime("%m-%d %H:%M", time.localtime(run["started"] + 3600 * run["hours"]))
    return run["name"], state, until
