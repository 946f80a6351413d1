"""The choice of the device that computes, with the reason for the automatic one."""

from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Widgets


class DeviceList:
    """Fills the box of devices, which the engine knows; which one is chosen is a parameter."""

    def __init__(self, comboBox, engine, showStatus):
        """
        :param comboBox: QComboBox with the devices' ids as user data.
        :param engine: ``EngineClient``.
        :param showStatus: function that shows a sentence in the panel.
        """
        self._comboBox = comboBox
        self._engine = engine
        self._showStatus = showStatus
        self._isKnown = False
        self._fill([{"id": "auto", "reason": ""}, {"id": "cpu", "reason": _("CPU")}])

    def update(self):
        """Ask the engine once which devices there are; starts it."""
        if not self._isKnown:
            self._isKnown = True
            self._engine.request("devices", {}, onResult=self._fill, onError=self._onError)

    def forget(self):
        """Ask again when the list is needed, because the engine is on another computer now."""
        self._isKnown = False

    def _onError(self, error):
        self._isKnown = False
        self._showStatus(str(error))

    def _fill(self, devices):
        Widgets.fillComboBox(self._comboBox, [(_text(device), device["id"]) for device in devices])


def _text(device):
    if device["id"] != "auto":
        return device["reason"]
    return _("Automatic ({reason})").format(reason=device["reason"]) if device["reason"] else _("Automatic")
