import os
from typing import Annotated

import numpy as np
import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper, WithinRange

from slicer import vtkMRMLSegmentationNode

from sam2adapt.shared.labels.overlaps import LAST
from sam2adapt.shared.requests.actions import Train

from SAM2AdaptLib.Engine import Client
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Check
from SAM2AdaptLib.Models.ModelsLogic import ModelsLogic
from SAM2AdaptLib.Panels import Connectors, Dialogs
from SAM2AdaptLib.Panels.ModulePanel import ModulePanel
from SAM2AdaptLib.Panels.Training.InputsSection import InputsSection
from SAM2AdaptLib.Panels.Training.RankingSection import RankingSection
from SAM2AdaptLib.Panels.Training.ResultsSection import ResultsSection
from SAM2AdaptLib.Panels.Training.RunControl import RunControl
from SAM2AdaptLib.Panels.Training.StartSection import StartSection
from SAM2AdaptLib.Panels.Training.UnfinishedSection import UnfinishedSection
from SAM2AdaptLib.Panels.Training.WorklistSection import WorklistSection
from SAM2AdaptLib.Scene import LabelImport
from SAM2AdaptLib.Training import Cases, Classes, Options
from SAM2AdaptLib.Training.TrainingLogic import TrainingLogic


#
# SAM2AdaptTraining
#


class SAM2AdaptTraining(ScriptedLoadableModule):
    """What the application knows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SAM2 Adapter Training")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["SAM2Adapt"]
        self.parent.contributors = ["SAM2Adapt contributors (SlicerSAM2Adapt)"]
        self.parent.helpText = _("""
Adapts a SAM2 network to structures of your own, from volumes and segmentations that you have corrected. The adaptation
is one small file that SAM2 Auto-Segment then uses.
See more information in the <a href="https://github.com/SAM2Adapt/SlicerSAM2Adapt#readme">documentation</a>.
""")
        self.parent.acknowledgementText = _("""
Built on SAM 2 (Meta, Apache-2.0). The papers behind each adaptation method are listed in the documentation.
""")


#
# SAM2AdaptTrainingParameterNode
#


@parameterNodeWrapper
class SAM2AdaptTrainingParameterNode:
    """
    The parameters needed by module. Which segmentations of the scene are cases, and for what, is kept with them.

    exampleSegmentation - A corrected segmentation that another module handed over as a case.
    caseFolders - Folders of which the cases are used.
    fileUses - Use and label file of those cases in folders that are not for training.
    overlap - Which segment a voxel of several gets: the first, the last, or none, so that the case is refused.
    channel - Which of nnU-Net's images of a case is used: 0 for _0000, 1 for _0001.
    labelNames - "1=liver, 2=spleen" for label maps that no file names.
    skippedClasses - Structures of the cases to leave out.
    startModel - NAME@VERSION of the model to continue; "" begins with the base network.
    preset - Base network and method in one word.
    duration - How long the training may take, unless Expert says it.
    quick - Only the last layers of the model learn.
    modelName, description, license - What the new model's file says.
    The others are the settings under Expert; 0 and "" leave them to the engine.
    """

    exampleSegmentation: vtkMRMLSegmentationNode
    caseFolders: list[str]
    fileUses: list[str]
    overlap: str = LAST
    channel: Annotated[int, WithinRange(0, 9999)] = Train.channel
    labelNames: str
    skippedClasses: list[str]
    startModel: str
    preset: Options.Preset = Options.Preset.NANO
    duration: Options.Duration = Options.Duration.MEDIUM
    quick: bool = Train.quick
    modelName: str
    description: str
    license: str
    device: str = Train.device
    base: str
    method: str
    methodSettings: str
    epochs: Annotated[int, WithinRange(1, 100000)] = Train.epochs
    maxMinutes: Annotated[int, WithinRange(0, 100000)] = 0
    patience: Annotated[int, WithinRange(0, 1000)] = 10
    batchSize: Annotated[int, WithinRange(1, 1024)] = Train.batch_size
    learningRate: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    axis: str
    imageSize: Annotated[int, WithinRange(0, 1024)] = 0
    rotation: Annotated[float, WithinRange(0.0, 180.0)] = Train.rotation
    scale: Annotated[float, WithinRange(0.0, 0.9)] = Train.scale
    mirrorRows: bool = False
    mirrorColumns: bool = False
    allForTraining: bool = Train.all_for_training
    keepPieces: bool = Train.keep_pieces
    seed: Annotated[int, WithinRange(0, 1000000)] = Train.seed
    furtherSettings: str
    showPlots: bool = True
    preview: bool = True


#
# SAM2AdaptTrainingWidget
#


class SAM2AdaptTrainingWidget(ModulePanel, ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: cases, structures, what to start from, one button, the result."""

    offersGoingOn = True

    def __init__(self, parent=None) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)
        self.openPanel(SAM2AdaptTrainingLogic())
        self._start = StartSection(self.ui)
        self._inputs = InputsSection(self.ui, self.onParameterChanged)
        self._unfinished = UnfinishedSection(self.ui, self.onResume)
        self._run = RunControl(
            self.logic, self.showProgress, self._onMessage, self._onFinished, self._onStopped, self._onEstimated
        )
        self._results = ResultsSection(self.ui, lambda: self._run.addedModel, self._onExport)
        self._ranking = RankingSection(
            self.ui, self.logic, self._start.rankingModel, self.whyNoEngine, self.offerInstallation
        )
        self._worklist = WorklistSection(
            self._worklistButton(), self.logic, self._options, self._start.freeName, self._isBusy
        )
        self.ui.startButton.connect("clicked()", self.onStartButton)
        self.ui.estimateButton.connect("clicked()", self.onEstimateButton)
        self.ui.pauseButton.connect("clicked()", self._run.pauseOrProceed)
        self.ui.stopButton.connect("clicked()", self._run.stop)
        self.ui.cancelButton.connect("clicked()", self._run.cancel)
        self.ui.expertCollapsibleButton.connect("contentsCollapsed(bool)", self.offerDevices)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self._worklist.leave()
        self._run.leave()
        self._ranking.leave()
        super().cleanup()
        self._inputs.cleanup()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self._start.read()
        self._unfinished.read()
        self._worklist.readModels()
        super().enter()
        self._worklist.update()

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed; a training goes on with its copies of the cases."""
        self._ranking.cancel()
        self._ranking.clear()
        self._results.clear()
        self._run.sceneClosed()
        self._worklist.sceneClosed()
        super().onSceneStartClose(caller, event)

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.modelName:
            parameterNode.modelName = self._start.freeName()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, inputParameterNode: SAM2AdaptTrainingParameterNode | None) -> None:
        """Set and observe parameter node; the cases of the scene are followed only while there is one."""
        self._inputs.setParameterNode(inputParameterNode)
        super().setParameterNode(inputParameterNode)

    def connectors(self):
        """Connectors for the parameters whose widgets Slicer has none for."""
        return {
            "startModel": Connectors.UserDataConnector(self.ui.startComboBox),
            "device": Connectors.UserDataConnector(self.ui.deviceComboBox),
            "base": Connectors.UserDataConnector(self.ui.baseComboBox),
            "method": Connectors.UserDataConnector(self.ui.methodComboBox),
            "overlap": Connectors.UserDataConnector(self.ui.overlapComboBox),
            "axis": Connectors.UserDataConnector(self.ui.axisComboBox),
        }

    def _worklistButton(self):
        """The section for a worklist, before that for the cases."""
        button = slicer.util.loadUI(self.resourcePath("UI/Worklist.ui"))
        layout = self.ui.casesCollapsibleButton.parent().layout()
        layout.insertWidget(layout.indexOf(self.ui.casesCollapsibleButton), button)
        return button

    def _isBusy(self):
        """Whether the panel trains, or the engine cannot run."""
        return self.isRunning() or bool(self.whyNoEngine())

    def onStartButton(self) -> None:
        """Train with the cases and parameters of the panel."""
        inputs = self._inputs.cases, self._inputs.classes
        self._clearResults()
        self._run.start(*inputs, self._parameterNode.modelName.strip(), self._options(), self._parameterNode.showPlots)
        self._unfinished.read()
        self.update()

    def onEstimateButton(self) -> None:
        """Measure how long the training would take."""
        self._run.estimate(self._inputs.cases, self._inputs.classes, self._options())
        self.update()

    def onResume(self, run) -> None:
        """Go on with an unfinished training."""
        self._clearResults()
        self._run.resume(run, self.logic.getParameterNode().showPlots)
        self._unfinished.read()
        self.update()

    def _options(self):
        return Options.engineOptions(self._parameterNode) | self._engineSection.trainingOptions()

    def isRunning(self):
        """Whether there is a training, an estimate or a download to cancel."""
        return self._run.isRunning()

    def _onMessage(self, text):
        self.ui.messagesEdit.appendPlainText(text)
        self.ui.messagesEdit.visible = True

    def _clearResults(self):
        self._results.clear()
        self.ui.messagesEdit.plainText = ""
        self.ui.messagesEdit.visible = False

    def _onFinished(self, job):
        """Show the result; the panel may have been left in the meantime."""
        self._statusLine.show(job.message)
        self._start.read(self._run.addedModel)
        parameterNode = self.logic.getParameterNode()
        parameterNode.modelName = self._start.freeName(parameterNode.modelName)
        self._results.show(job)
        self.update()

    def _onStopped(self, error):
        """Say why there is no result."""
        self.showError(error)
        self._unfinished.read()
        self.update()

    def _onEstimated(self, text):
        self.ui.estimateLabel.text = text
        self._statusLine.show("")
        self.update()

    def _onExport(self, path):
        def exported(result):
            self._statusLine.show(_("The model was exported."))

        def failed(error):
            self._statusLine.show(str(error))
            Dialogs.showError(error)

        self._run.export(path, exported, failed)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node):
        if self._parameterNode and not caller.IsClosing():
            self._inputs.nodeRemoved(node)

    def onParameterChanged(self, caller=None, event=None) -> None:
        """Called when a parameter or a case has changed: an estimate of the time holds no longer."""
        self.ui.estimateLabel.text = ""
        self.update()

    def update(self) -> None:
        """Show what the parameters, the run and the engine allow now."""
        if self._parameterNode:
            self._inputs.update()
            self._start.update(self._parameterNode)
            self._results.update()
            self.updateButtons()

    def updateButtons(self) -> None:
        """Show what can be done with the run, or why there is none."""
        if not self._parameterNode:
            return
        running, reason = self.isRunning(), self.whyNot()
        self._statusLine.hint("" if running else reason)
        self.ui.startButton.visible = not running
        self.ui.startButton.enabled = self.ui.estimateButton.enabled = not reason and not running
        self.ui.startButton.toolTip = reason or _("Train the model; Slicer stays usable.")
        for widget in (self.ui.runWidget, self.ui.progressBar):
            widget.visible = running
        for button in (self.ui.pauseButton, self.ui.stopButton):
            button.enabled = self._run.canBeStopped()
        self.ui.pauseButton.text = _("Resume") if self._run.isPaused() else _("Pause")
        self._unfinished.setEnabled(not running and not self._installSection.problem)
        self._ranking.update()

    def whyNot(self) -> str:
        """Why the training cannot start now; "" when it can."""
        if problem := self.whyNoEngine():
            return problem
        if problem := self._inputs.problem() or self._start.problem(self._parameterNode):
            return problem
        if problem := self._start.nameProblem(self._parameterNode.modelName):
            return problem
        try:
            self._options()
        except Options.SettingsError as error:
            return str(error)
        return ""


#
# SAM2AdaptTrainingLogic
#


class SAM2AdaptTrainingLogic(TrainingLogic, ModelsLogic, ScriptedLoadableModuleLogic):
    """All that the panel does, for the Python console and other modules too.

    No dialog opens from here; what goes wrong raises ``EngineError``, which says what is wrong and what to do. Options
    are those of the engine's ``train``: preset, base, method, init, quick, epochs, maxMinutes, batchSize, seed, ...
    """

    def __init__(self, engine=None, modelEngine=None) -> None:
        """
        :param engine: ``EngineClient`` that trains; without it a new one, so that Auto-segment stays free.
        :param modelEngine: the one for all else; without it the one that all modules share. Nothing is started here.
        """
        ScriptedLoadableModuleLogic.__init__(self)
        self.engine = engine or Client.EngineClient()
        self.modelEngine = modelEngine or Client.sharedEngine()

    def getParameterNode(self):
        return SAM2AdaptTrainingParameterNode(super().getParameterNode())

    def engineProblem(self) -> EngineError | None:
        """What keeps the engine from starting, seen without starting it."""
        return Check.findProblem()

    def stopEngine(self) -> None:
        """Kill the engine that trains; it starts again when it is needed."""
        self.engine.stop()


#
# SAM2AdaptTrainingTest
#


class SAM2AdaptTrainingTest(ScriptedLoadableModuleTest):
    """Quick checks inside Slicer; the run is left out where the engine is not installed."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_casesAndStructures, self.test_run):
            self.setUp()
            test()

    def makeCase(self):
        """A box in noise, annotated on six of eight slices."""
        voxels = np.random.default_rng(0).integers(-20, 20, (8, 64, 64)).astype(np.int16)
        voxels[:, 16:48, 20:44] += 300
        volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-1.0, -1.0, 5.0, 1.0]), name="phantom")
        labels = np.zeros(voxels.shape, np.uint8)
        labels[1:7, 16:48, 20:44] = 1
        return volume, LabelImport.importLabels(volume, labels, [{"id": 1, "name": "box"}])

    def test_casesAndStructures(self):
        """Volumes and segmentations of the scene belong together, and their segments are what is learned."""
        self.delayDisplay("Cases and structures")
        volume, segmentation = self.makeCase()
        cases = Cases.fromScene()
        self.assertEqual([(case.volumeNode, case.segmentationNode) for case in cases], [(volume, segmentation)])
        self.assertEqual([entry.name for entry in Classes.match(cases)], ["box"])

    def test_run(self):
        """Two steps of a training give a model file."""
        logic = SAM2AdaptTrainingLogic()
        if problem := logic.engineProblem():
            self.delayDisplay(f"Run left out: {problem}")
            return
        self.delayDisplay("A run of the engine")
        options = {"steps": 2, "base": "nano", "method": "head", "allForTraining": True}
        job = logic.startTraining([self.makeCase()], name="self-test", **options).wait()
        logic.stopEngine()
        self.assertTrue(os.path.isfile(job.result["bundle"]))
