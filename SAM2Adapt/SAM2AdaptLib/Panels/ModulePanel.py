"""What the panels of both modules share: engine and installation, status line, parameter node, scene, and reload."""

import importlib
import sys

import slicer
import vtk
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels.DeviceList import DeviceList
from SAM2AdaptLib.Panels.EngineSection import EngineSection
from SAM2AdaptLib.Panels.InstallSection import InstallSection
from SAM2AdaptLib.Panels.KeptSection import KeptSection
from SAM2AdaptLib.Panels.Widgets import StatusLine

_LIBRARY = __name__.partition(".")[0]


class ModulePanel:
    """Comes before ``ScriptedLoadableModuleWidget`` and ``VTKObservationMixin`` in the bases of a module's widget.

    The widget calls ``openPanel`` at the start of its ``setup``, and has

    - ``connectors()``: dict from the names of parameters to connectors for them, see ``Connectors``;
    - ``initializeParameterNode()``: calls ``setParameterNode`` with the module's parameter node;
    - ``isRunning()``: whether the panel's button has started something that is not over;
    - ``whyNot()``: a sentence that says why that button cannot start anything now, "" if it can;
    - ``update()``: shows what parameters, run and engine allow now; ``updateButtons()``: the part of it about buttons.

    ``offersGoingOn`` is True in a panel that trains, which may go on on another computer without Slicer.

    The .ui file has what InstallSection and DeviceList need, "statusLabel", "hintLabel" and "progressBar".
    """

    offersGoingOn = False

    def openPanel(self, logic):
        """Load the widgets and make the parts of the panel that both modules have.

        :param logic: of the module; its ``engine`` is the one that the panel's button uses.
        """
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = logic
        self._parameterNode = None
        self._parameterNodeGuiTags = []
        self._statusLine = StatusLine(self.ui.statusLabel, self.ui.hintLabel)
        self._deviceList = DeviceList(self.ui.deviceComboBox, logic.engine, self._statusLine.show)
        self._installSection = InstallSection(self.ui, self.update)
        self._engineSection = EngineSection(uiWidget.layout(), self._onPlaceChanged, self.offersGoingOn)
        self._keptSection = KeptSection(uiWidget.layout())
        uiWidget.layout().addStretch(1)  # a panel higher than its sections leaves room below them
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self._installSection.cancel()
        self._engineSection.cleanup()
        self.setParameterNode(None)
        self.removeObservers()
        self.logic.stopEngine()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self._engineSection.update()
        self._installSection.show(self.logic.engineProblem())
        self._installSection.resume()
        self.initializeParameterNode()

    def _onPlaceChanged(self):
        """The engine is somewhere else from the next request on."""
        self._deviceList.forget()
        self._installSection.show(self.logic.engineProblem())
        self.update()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Called by the Reload button; the helper package must be reloaded as well."""
        for name in [name for name in sys.modules if name.partition(".")[0] == _LIBRARY]:
            del sys.modules[name]
        importlib.invalidate_caches()
        super().onReload()

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.setParameterNode(None)
        if not self.isRunning():
            self._statusLine.show("")

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event) -> None:
        """Called before a scene is loaded: boxes that lose their node meanwhile must not empty the parameters."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event) -> None:
        """Called after a scene was loaded, whose parameters the panel shows now."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def setParameterNode(self, inputParameterNode) -> None:
        """Set and observe parameter node, so that the panel shows each change of it at once."""
        if self._parameterNode:
            for tag in self._parameterNodeGuiTags:
                self._parameterNode.disconnectGui(tag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterChanged)
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTags = [
                self._parameterNode.connectGui(self.ui),
                self._parameterNode.connectParametersToGui(self.connectors()),
            ]
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterChanged)
            self.update()

    def onParameterChanged(self, caller=None, event=None) -> None:
        """Called when a parameter has another value."""
        self.update()

    def offerDevices(self, isCollapsed) -> None:
        """List the devices when the user opens the section that has them; the engine is asked only then."""
        if not isCollapsed and not self._installSection.problem:
            self._deviceList.update()

    def showProgress(self, fraction, text) -> None:
        """Show how far the run is (0 to 1), and say it."""
        self.ui.progressBar.value = round(1000 * fraction)
        self._statusLine.show(text)
        self.updateButtons()

    def showError(self, error) -> None:
        """Say why there is no result; an engine that does not start is offered for installation."""
        self._statusLine.show(str(error))
        if error.kind == "EngineMissing":
            self.offerInstallation(error)

    def offerInstallation(self, error) -> None:
        """Show the section that installs the engine, and why it is needed."""
        self._installSection.show(error)
        self.update()

    def whyNoEngine(self) -> str:
        """Why the engine cannot run; "" if nothing is known against it."""
        return _("Install the engine first.") if self._installSection.problem else ""
