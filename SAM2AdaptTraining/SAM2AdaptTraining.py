import importlib
import os
import sys
from typing import Annotated

import numpy as np
import qt
import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper, WithinRange

from slicer import vtkMRMLSegmentationNode

from SAM2AdaptLib.Engine import Client
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Check
from SAM2AdaptLib.Panels import Connectors, Dialogs
from SAM2AdaptLib.Panels.InstallSection import InstallSection
from SAM2AdaptLib.Panels.Segmenting.DeviceList import DeviceList
from SAM2AdaptLib.Panels.Training import TrainingControl
from SAM2AdaptLib.Panels.Training.RankingSection import TrainingRanking
from SAM2AdaptLib.Panels.Training.StartFrom import TrainingStart
from SAM2AdaptLib.Panels.Training.TrainingInputs import TrainingInputs
from SAM2AdaptLib.Panels.Training.TrainingResults import TrainingResults
from SAM2AdaptLib.Panels.Training.UnfinishedList import TrainingUnfinished
from SAM2AdaptLib.Scene import SegmentationBridge
from SAM2AdaptLib.Training import Cases, Classes, FolderCases, Options, RankingJob, RunFolders, TrainingJob


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
    skippedClasses - Structures of the cases that are not to be learned.
    startModel - NAME@VERSION of the model to continue; "" begins with the base network.
    preset - Base network and method in one word.
    quick - Only the last layers of the model learn.
    modelName, description, license - What the new model's file says.
    The others are the settings under Expert; 0 and "" leave them to the engine.
    """

    exampleSegmentation: vtkMRMLSegmentationNode
    caseFolders: list[str]
    fileUses: list[str]
    skippedClasses: list[str]
    startModel: str
    preset: Options.Preset = Options.Preset.NANO
    quick: bool = False
    modelName: str
    description: str
    license: str
    device: str = "auto"
    base: str
    method: str
    methodSettings: str
    epochs: Annotated[int, WithinRange(1, 100000)] = 100
    maxMinutes: Annotated[int, WithinRange(0, 100000)] = 0
    patience: Annotated[int, WithinRange(0, 1000)] = 10
    batchSize: Annotated[int, WithinRange(1, 1024)] = 8
    learningRate: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    axis: str
    imageSize: Annotated[int, WithinRange(0, 1024)] = 0
    rotation: Annotated[float, WithinRange(0.0, 180.0)] = 20.0
    scale: Annotated[float, WithinRange(0.0, 0.9)] = 0.25
    mirrorRows: bool = False
    mirrorColumns: bool = False
    allForTraining: bool = False
    seed: Annotated[int, WithinRange(0, 1000000)] = 0
    furtherSettings: str
    showPlots: bool = True
    preview: bool = True


#
# SAM2AdaptTrainingWidget
#


class SAM2AdaptTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: cases, structures, what to start from, one button, the result."""

    def __init__(self, parent=None) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTags = []
        self._reason = ""

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SAM2AdaptTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SAM2AdaptTrainingLogic()
        self._start = TrainingStart(self.ui)
        self._deviceList = DeviceList(self.ui.deviceComboBox, self.logic.engine, self._showStatus)
        self._installSection = InstallSection(self.ui, self._update)
        self._inputs = TrainingInputs(self.ui, self._onChanged)
        self._unfinished = TrainingUnfinished(self.ui, self.onResume)
        self._run = TrainingControl.TrainingControl(
            self.logic, self._onProgress, self._onMessage, self._onFinished, self._onStopped, self._onEstimated
        )
        self._results = TrainingResults(self.ui, lambda: self._run.addedModel, self._onExport)
        self._ranking = TrainingRanking(self.ui, self.logic.startRanking, self._start.rankingModel)
        self.ui.startButton.connect("clicked()", self.onStartButton)
        self.ui.estimateButton.connect("clicked()", self.onEstimateButton)
        self.ui.pauseButton.connect("clicked()", self._run.pauseOrProceed)
        self.ui.stopButton.connect("clicked()", self._run.stop)
        self.ui.cancelButton.connect("clicked()", self._run.cancel)
        self.ui.expertCollapsibleButton.connect("contentsCollapsed(bool)", self._onExpertCollapsed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self._run.leave()
        self._ranking.cancel()
        self._installSection.cancel()
        self.setParameterNode(None)
        self.removeObservers()
        self._inputs.cleanup()
        self.logic.stopEngine()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self._start.read()
        self._unfinished.read()
        self._installSection.show(self.logic.engineProblem())
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Called by the Reload button; the helper package must be read anew as well."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "SAM2AdaptLib"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed; a training goes on with its own copies of the cases."""
        self.setParameterNode(None)
        self._ranking.cancel()
        self._ranking.clear()
        self._results.clear()
        self._run.sceneClosed()
        if not self._run.isRunning():
            self._showStatus("")

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.modelName:
            parameterNode.modelName = self._start.freeName()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, inputParameterNode: SAM2AdaptTrainingParameterNode | None) -> None:
        """Set and observe parameter node, so that the panel shows each change of it at once."""
        if self._parameterNode:
            for tag in self._parameterNodeGuiTags:
                self._parameterNode.disconnectGui(tag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onChanged)
        self._parameterNode = inputParameterNode
        self._inputs.setParameterNode(inputParameterNode)
        if self._parameterNode:
            connectors = {
                "startModel": Connectors.UserDataConnector(self.ui.startComboBox),
                "device": Connectors.UserDataConnector(self.ui.deviceComboBox),
                "base": Connectors.UserDataConnector(self.ui.baseComboBox),
                "method": Connectors.UserDataConnector(self.ui.methodComboBox),
                "axis": Connectors.UserDataConnector(self.ui.axisComboBox),
            }
            self._parameterNodeGuiTags = [
                self._parameterNode.connectGui(self.ui),
                self._parameterNode.connectParametersToGui(connectors),
            ]
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onChanged)
            self._update()

    def onStartButton(self) -> None:
        """Train with the cases and parameters of the panel."""
        inputs = self._inputs.cases, self._inputs.classes
        self._clearResults()
        self._run.start(*inputs, self._parameterNode.modelName.strip(), self._options(), self._parameterNode.showPlots)
        self._unfinished.read()
        self._update()

    def onEstimateButton(self) -> None:
        """Measure how long the training would take."""
        self._run.estimate(self._inputs.cases, self._inputs.classes, self._options())
        self._update()

    def onResume(self, run) -> None:
        """Go on with an unfinished training."""
        self._clearResults()
        self._run.resume(run, self.logic.getParameterNode().showPlots)
        self._unfinished.read()
        self._update()

    def _options(self):
        return Options.engineOptions(self._parameterNode)

    def _showStatus(self, text):
        self.ui.statusLabel.text = text

    def _onProgress(self, fraction, text):
        self.ui.progressBar.value = round(1000 * fraction)
        self._showStatus(text)
        self._updateButtons()

    def _onMessage(self, text):
        self.ui.messagesEdit.appendPlainText(text)
        self.ui.messagesEdit.visible = True

    def _clearResults(self):
        self._results.clear()
        self.ui.messagesEdit.plainText = ""
        self.ui.messagesEdit.visible = False

    def _onFinished(self, job):
        """Show the result; the panel may have been left in the meantime."""
        self._showStatus(job.message)
        self._start.read()
        parameterNode = self.logic.getParameterNode()
        parameterNode.modelName = self._start.freeName(parameterNode.modelName)
        self._results.show(job)
        self._update()

    def _onStopped(self, error):
        """Say why there is no result."""
        self._showStatus(str(error))
        if error.kind == "EngineMissing":
            self._installSection.show(error)
        self._unfinished.read()
        self._update()

    def _onEstimated(self, text):
        self.ui.estimateLabel.text = text
        self._showStatus("")
        self._update()

    def _onExport(self, path):
        def exported(result):
            self._showStatus(_("The model was exported."))

        def failed(error):
            self._showStatus(str(error))
            Dialogs.showError(error)

        self._run.export(path, exported, failed)

    def _onExpertCollapsed(self, collapsed):
        if not collapsed and not self._installSection.problem:
            self._deviceList.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node):
        if self._parameterNode and not caller.IsClosing():
            self._inputs.nodeRemoved(node)

    def _onChanged(self, caller=None, event=None) -> None:
        """Something that the training depends on is different."""
        self.ui.estimateLabel.text = ""
        self._update()

    def _update(self) -> None:
        """Show what the parameters, the run and the engine allow now."""
        if self._parameterNode:
            self._inputs.update()
            self._start.update(self._parameterNode)
            self._results.update()
            self._updateButtons()

    def _updateButtons(self):
        """Show what can be done with the run, or why there is none."""
        if not self._parameterNode:
            return
        running, reason = self._run.isRunning(), self._whyNot()
        if not running and self.ui.statusLabel.text in ("", self._reason):
            self._reason = self.ui.statusLabel.text = reason
        self.ui.startButton.visible = not running
        self.ui.startButton.enabled = self.ui.estimateButton.enabled = not reason and not running
        self.ui.startButton.toolTip = reason or _("Train; Slicer can be used meanwhile.")
        for widget in (self.ui.runWidget, self.ui.progressBar):
            widget.visible = running
        for button in (self.ui.pauseButton, self.ui.stopButton):
            button.enabled = self._run.canBeStopped()
        self.ui.pauseButton.text = _("Resume") if self._run.isPaused() else _("Pause")
        self._unfinished.setEnabled(not running and not self._installSection.problem)
        self._ranking.update(_("Install the engine first.") if self._installSection.problem else "")

    def _whyNot(self):
        """Why the training cannot start now; "" when it can."""
        if self._installSection.problem:
            return _("Install the engine first.")
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


class SAM2AdaptTrainingLogic(ScriptedLoadableModuleLogic):
    """All that the panel does, for the Python console and other modules too.

    No dialog opens from here; what goes wrong raises ``EngineError``, which says what is wrong and what to do. Options
    are those of the engine's ``train``: preset, base, method, init, quick, epochs, maxMinutes, batchSize, seed, ...
    """

    def __init__(self, engine=None, modelEngine=None) -> None:
        """
        :param engine: ``EngineClient`` that trains; without it one of its own, so that Auto-segment stays free.
        :param modelEngine: the one for all else; without it the one that all modules share. Nothing is started here.
        """
        ScriptedLoadableModuleLogic.__init__(self)
        self.engine = engine or Client.EngineClient()
        self.modelEngine = modelEngine or Client.sharedEngine()

    def getParameterNode(self):
        return SAM2AdaptTrainingParameterNode(super().getParameterNode())

    def train(self, cases, name="my-model", allowForgetting=False, **options):
        """Train and wait for it; Slicer stays alive. The model is added to the user's models.

        :param cases: list of (volume node, segmentation node), list of ``TrainingCase``, or a folder.
        :param allowForgetting: also add a continued model that lost some of what it could before.
        :return: path of the model file.
        """
        loop = qt.QEventLoop()
        callbacks = {"onFinished": lambda job: loop.quit(), "onError": lambda job, error: loop.quit()}
        job = self.startTraining(cases, None, name, **callbacks, **options)
        loop.exec_()
        job.cancel()  # the loop also ends when the application quits
        if job.error:
            raise job.error
        if TrainingControl.forgets(job.result.get("former")) and not allowForgetting:
            message = _("The new model is worse at what it could before.")
            remedy = _("It was not added; its file is {path}.").format(path=job.result["bundle"])
            raise EngineError("ForgettingError", message, remedy)
        row = self.modelEngine.wait(self.addModel(job.result["bundle"]))
        return row["path"]

    def startTraining(self, cases, classes=None, name="my-model", onProgress=None, onFinished=None, onError=None,
                      onLog=None, **options):  # fmt: skip
        """Begin a training; returns a ``TrainingJob`` at once.

        :param cases: as of ``train``.
        :param classes: what ``TrainingClasses.match`` gave for the cases; without it all structures are learned.
        :param onFinished: called with the job; the model is not among the user's yet, see ``addModel``.
        """
        cases = self.cases(cases)
        classes = classes or Classes.match(cases)
        callbacks = {"onProgress": onProgress, "onFinished": onFinished, "onError": onError, "onLog": onLog}
        return TrainingJob.start(self.engine, cases, classes, name, options, **callbacks)

    def startEstimate(self, cases, classes=None, onProgress=None, onFinished=None, onError=None, **options):
        """Begin to measure what a training would cost, by a few real steps; returns a ``TrainingJob`` at once."""
        cases = self.cases(cases)
        callbacks = {"onProgress": onProgress, "onFinished": onFinished, "onError": onError}
        return TrainingJob.estimate(self.engine, cases, classes or Classes.match(cases), options, **callbacks)

    def cases(self, cases) -> list:
        """A list of ``TrainingCase`` from such a list, from pairs of nodes, or from a folder."""
        if isinstance(cases, str | os.PathLike):
            return FolderCases.fromFolder(cases)
        return [Cases.SceneCase(*case) if isinstance(case, tuple) else case for case in cases]

    def unfinishedRuns(self) -> list[dict]:
        """Trainings that were interrupted, the newest first."""
        return RunFolders.unfinishedRuns()

    def resumeTraining(self, folder, **callbacks):
        """Go on with an unfinished training; returns a ``TrainingJob`` at once."""
        return TrainingJob.resume(self.engine, folder, **callbacks)

    def rankUnlabelled(self, volumes, model, **options) -> list:
        """Rank volumes by how unsure a model is of them, and wait for it.

        :param volumes: volume nodes, or a folder of images; None: the volumes of the scene without a segmentation.
        :return: list of ``CaseRanking.RankedVolume``, the least sure first.
        """
        loop = qt.QEventLoop()
        callbacks = {"onFinished": lambda job: loop.quit(), "onError": lambda job, error: loop.quit()}
        job = self.startRanking(RankingJob.unlabelledVolumes() if volumes is None else volumes, model, **callbacks,
                                **options)  # fmt: skip
        loop.exec_()
        job.cancel()
        if job.error:
            raise job.error
        return job.ranked

    def startRanking(self, volumes, model, **options):
        """Begin to rank volumes; returns a ``CaseRanking.RankingJob`` at once."""
        return RankingJob.start(self.modelEngine, volumes, model, **options)

    def addModel(self, path, onResult=None, onError=None):
        """Add a model file to the user's models, so that Auto-segment has it; returns the request."""
        return self.modelEngine.request("addModel", {"path": str(path)}, onResult=onResult, onError=onError)

    def exportModel(self, name, path, onResult=None, onError=None):
        """Copy a model to a file; returns the request."""
        parameters = {"name": name, "path": os.path.abspath(path)}
        return self.modelEngine.request("exportModel", parameters, onResult=onResult, onError=onError)

    def downloadBase(self, base, onResult=None, onError=None, onProgress=None):
        """Download the weights of a base network; returns the request."""
        callbacks = {"onResult": onResult, "onError": onError, "onProgress": onProgress}
        return self.modelEngine.request("downloadBase", {"base": base}, **callbacks)

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
        return volume, SegmentationBridge.importLabels(volume, labels, [{"id": 1, "name": "box"}])

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
        loop = qt.QEventLoop()
        job = logic.startTraining(
            [self.makeCase()],
            name="self-test",
            steps=2,
            base="nano",
            method="head",
            allForTraining=True,
            onFinished=lambda job: loop.quit(),
            onError=lambda job, error: loop.quit(),
        )
        loop.exec_()
        logic.stopEngine()
        self.assertEqual(job.error, None)
        self.assertTrue(os.path.isfile(job.result["bundle"]))
