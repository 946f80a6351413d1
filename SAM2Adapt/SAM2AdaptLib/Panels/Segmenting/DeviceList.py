"""The choice of the device that computes, with the reason for the automatic one."""

from slicer.i18n import tr as _


class DeviceList:
    """Fills the box of devices from what the engine finds; which one is chosen is a parameter."""

    def __init__(self, comboBox, engine, showStatus):
        """
        :param comboBox: QComboBox with the devices' ids as user data.
        :param engine: ``EngineClient``.
        :param showStatus: function that shows a sentence in the panel.
        """
        self._comboBox = comboBox
        self._engine = engine
        self._showStatus = showStatus
        self._known = False
        self._fill([{"id": "auto", "reason": ""}, {"id": "cpu", "reason": _("CPU")}])

    def update(self):
        """Ask the engine once which devices there are; starts it."""
        if not self._known:
            self._known = True
            self._engine.request("devices", {}, onResult=self._fill, onError=self._onError)

    def _onError(self, error):
        self._known = False
        self._showStatus(str(error))

    def _fill(self, devices):
        chosen = self._comboBox.currentData or "auto"
        # Nobody chose anything while the list is rebuilt, so the parameter must not change.
        self._comboBox.blockSignals(True)
        self._comboBox.clear()
        for device in devices:
            name = device["reason"]
            if device["id"] == "auto":
                name = _("Automatic ({reason})").format(reason=name) if name else _("Automatic")
            self._comboBox.addItem(name, device["id"])
        if self._comboBox.findData(chosen) < 0:
            self._comboBox.addItem(chosen, chosen)
        self._comboBox.setCurrentIndex(self._comboBox.findData(chosen))
        self._comboBox.blockSignals(False)
