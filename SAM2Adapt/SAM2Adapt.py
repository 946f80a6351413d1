import numpy as np
import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLVectorVolumeNode

from sam2adapt.shared.requests.actions import Segment

from SAM2AdaptLib.Correcting.CorrectLogic import CorrectLogic
from SAM2AdaptLib.Engine import Client, ProgressTexts
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Filling.FillLogic import FillLogic
from SAM2AdaptLib.Install import Check
from SAM2AdaptLib.Models.ModelsLogic import ModelsLogic
from SAM2AdaptLib.Panels import Connectors, Editor, Effects
from SAM2AdaptLib.Panels.ModulePanel import ModulePanel
from SAM2AdaptLib.Panels.Segmenting.BatchSection import BatchSection
from SAM2AdaptLib.Panels.Segmenting.ExportSection import ExportSection
from SAM2AdaptLib.Panels.Segmenting.ModelList import ModelList, mismatch
from SAM2AdaptLib.Panels.Segmenting.ModelMenu import ModelMenu
from SAM2AdaptLib.Panels.Segmenting.ProposalSection import ProposalSection
from SAM2AdaptLib.Panels.Segmenting.ResultsSection import ResultsSection
from SAM2AdaptLib.Panels.Segmenting.RunControl import RunControl
from SAM2AdaptLib.Report.ReportLogic import ReportLogic
from SAM2AdaptLib.Scene import NewNodes, Sequences, Volumes
from SAM2AdaptLib.Segmenting.SegmentingLogic import SegmentingLogic
from SAM2AdaptLib.Segmenting import SampleImages
from SAM2AdaptLib.Segmenting.Choices import ExistingSegments, TimePoints


#
# SAM2Adapt
#


class SAM2Adapt(ScriptedLoadableModule):
    """What the application knows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SAM2 Auto-Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["SAM2Adapt contributors (SlicerSAM2Adapt)"]
        self.parent.helpText = _("""
Finds anatomical structures in a CT or MR volume without clicks or boxes, by a SAM2 network that was adapted for them.
See more information in the <a href="https://github.com/SAM2Adapt/SlicerSAM2Adapt#readme">documentation</a>.
""")
        self.parent.acknowledgementText = _("""
Built on SAM 2 (Meta, Apache-2.0). The papers behind each adaptation method are listed in the documentation.
""")
        # Other modules can be used only when all are there.
        slicer.app.connect("startupCompleted()", SampleImages.register)
        slicer.app.connect("startupCompleted()", Effects.register)


#
# SAM2AdaptParameterNode
#


@parameterNodeWrapper
class SAM2AdaptParameterNode:
    """
    The parameters needed by module.

    inputVolume - The volume to segment.
    model - NAME@VERSION of the model.
    outputSegmentation - Where the structures go; None makes a new segmentation.
    device - What computes: auto, cpu, cuda:0 and the like.
    skippedStructures - Structures of the model to leave out.
    roi - Box that limits the segmentation.
    existingSegments - What happens to segments that are there already.
    timePoints - Which volumes of a sequence are segmented.
    postProcessing - Remove specks and fill holes as the model says.
    testTimeAugmentation - Mean of three scales: slower, often a little better.
    uncertainty - Make a volume that says where the model was not sure.
    """

    inputVolume: vtkMRMLScalarVolumeNode | vtkMRMLVectorVolumeNode | None
    model: str
    outputSegmentation: vtkMRMLSegmentationNode
    device: str = Segment.device
    skippedStructures: list[str]
    roi: vtkMRMLMarkupsROINode
    existingSegments: ExistingSegments = ExistingSegments.REPLACE
    timePoints: TimePoints = TimePoints.CURRENT
    postProcessing: bool = Segment.post_process
    testTimeAugmentation: bool = Segment.tta
    uncertainty: bool = False


#
# SAM2AdaptWidget
#


class SAM2AdaptWidget(ModulePanel, ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: a volume, a model, one button, the result."""

    def __init__(self, parent=None) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._volumeId = ""

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)
        self.openPanel(SAM2AdaptLogic())
        self._proposal = ProposalSection(self.ui, self.logic, self._mayTry, self._onTried)
        self._modelList = ModelList(self.ui, self._proposal.best)
        self._modelMenu = ModelMenu(self.ui, self.logic.engine, self._chosenModel, self._onModelsChanged)
        self._results = ResultsSection(self.ui, self._onResultChanged, self._statusLine.show)
        self._run = RunControl(self.logic, self.showProgress, self._onFinished, self._onStopped)
        self._batch = BatchSection(
            self.ui, self.logic, self._batchParameters, self._whyNoModel, self._showResult, self.offerInstallation
        )
        self._export = ExportSection(self.ui, self.logic, self._exportedNodes, self._statusLine.show)
        self.ui.applyButton.connect("clicked()", self.onApplyButton)
        self.ui.fillButton.connect("clicked()", self.onFillButton)
        self.ui.advancedCollapsibleButton.connect("contentsCollapsed(bool)", self.offerDevices)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self._proposal.cancel()
        self._run.cancel()
        self._batch.cleanup()
        self._export.cleanup()
        super().cleanup()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self._modelList.read()
        super().enter()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        self._proposal.cancel()
        super().exit()

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self._proposal.cancel()
        super().onSceneStartClose(caller, event)
        self._results.clear()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.inputVolume:
            parameterNode.inputVolume = self.logic.firstVolume()
        self._volumeId = parameterNode.inputVolume.GetID() if parameterNode.inputVolume else ""
        self._results.follow(parameterNode.inputVolume)
        self.setParameterNode(parameterNode)

    def connectors(self):
        """Connectors for the parameters whose widgets Slicer has none for."""
        return {
            "model": Connectors.CurrentItemConnector(self.ui.modelTree),
            "device": Connectors.UserDataConnector(self.ui.deviceComboBox),
            "skippedStructures": Connectors.UncheckedItemsConnector(self.ui.structureList),
        }

    def onApplyButton(self) -> None:
        """Run the model, or stop the run; without a model that fits, the user draws."""
        if self._run.isRunning():
            self._run.cancel()
        elif self._mustDraw():
            self.onFillButton()
        else:
            self._run.start(self._parameterNode, self._chosenModel(), self._modelList.modality)
        self.update()

    def onFillButton(self) -> None:
        """Open the Segment Editor with the effect that fills the slices between drawn ones."""
        volumeNode, segmentationNode = self._parameterNode.inputVolume, self._parameterNode.outputSegmentation
        segmentationNode = segmentationNode or Volumes.segmentationOf(volumeNode)
        segmentationNode = segmentationNode or NewNodes.createSegmentationNode(volumeNode)
        Editor.show(volumeNode, segmentationNode, Effects.FILL)

    def _chosenModel(self):
        return self._modelList.chosen(self._parameterNode) if self._parameterNode else None

    def _exportedNodes(self):
        node = self._parameterNode
        return (node.inputVolume, node.outputSegmentation) if node else (None, None)

    def _batchParameters(self):
        return self._parameterNode or self.logic.getParameterNode(), self._chosenModel()

    def isRunning(self):
        """Whether there is a run to cancel."""
        return self._run.isRunning()

    def _onFinished(self, job, volumeNode):
        """Show the result; the panel may have been left in the meantime."""
        if job.segmentationNode:
            parameterNode = self.logic.getParameterNode()
            self._proposal.noteTrust(job, volumeNode, self._modelList.models)
            if parameterNode.inputVolume is volumeNode:
                parameterNode.outputSegmentation = job.segmentationNode
                self._results.show(volumeNode, job.segmentationNode)
        took = _("This took {time}.").format(time=ProgressTexts.duration(job.seconds["total"]))
        self._statusLine.show("\n".join([f"{job.message} {took}", *job.result["warnings"]]))
        self._onModelsChanged()

    def _onStopped(self, error):
        """Say why there is no result."""
        self.showError(error)
        self._onModelsChanged()  # the reason may be that the file of the model is gone

    def _onModelsChanged(self, row=None):
        """Update models and times; ``row`` is the engine's description of a model that was added."""
        self._modelList.read()
        if row and self._parameterNode:
            self._parameterNode.model = f"{row['name']}@{row['version']}"
        elif self._parameterNode and not self._chosenModel():
            self._parameterNode.model = ""
        self.update()

    def update(self) -> None:
        """Show what the parameters, the run and the engine allow now."""
        node = self._parameterNode
        if not node:
            return
        self._observeVolume(node.inputVolume)
        self._followVolume(node)
        self._modelList.update(node)
        self._proposal.show(node.inputVolume, self._chosenModel())
        self._results.update()
        self._batch.update()
        self._export.update()
        self.updateButtons()
        self.ui.show3DButton.setSegmentationNode(node.outputSegmentation)
        self.ui.timePointsComboBox.enabled = bool(node.inputVolume) and Sequences.timePoints(node.inputVolume) > 1

    def updateButtons(self) -> None:
        """Show whether there is a run to cancel, a run to start, or what is missing for it."""
        if not self._parameterNode:
            return
        running, reason, mustDraw = self.isRunning(), self.whyNot(), self._mustDraw()
        model = self._chosenModel()
        warning = mismatch(model, self._modelList.modality) if model else ""
        self._statusLine.hint("" if running else reason or warning)
        ready = _("Open the Segment Editor to draw by hand.") if mustDraw else _("Find the structures.")
        start = _("Draw a few slices…") if mustDraw else _("Auto-segment")
        self.ui.applyButton.text = _("Cancel") if running else start
        self.ui.applyButton.enabled = running or not reason
        self.ui.applyButton.toolTip = _("Stop; nothing is changed.") if running else reason or ready
        self.ui.progressBar.visible = running
        self.ui.fillButton.visible = not mustDraw
        self.ui.fillButton.enabled = Volumes.hasVoxels(self._parameterNode.inputVolume)

    def _observeVolume(self, volumeNode):
        """Follow the volume until it has voxels, which may arrive after the node itself."""
        self.removeObservers(self._onVolumeModified)
        if volumeNode and not Volumes.hasVoxels(volumeNode):
            for event in (vtk.vtkCommand.ModifiedEvent, volumeNode.ImageDataModifiedEvent):
                self.addObserver(volumeNode, event, self._onVolumeModified)

    def _followVolume(self, node):
        """When another volume is chosen, its own result is shown and is the output again."""
        volumeId = node.inputVolume.GetID() if node.inputVolume else ""
        if volumeId != self._volumeId:
            formerIsThere = slicer.mrmlScene.GetNodeByID(self._volumeId) if self._volumeId else None
            self._volumeId = volumeId
            if formerIsThere and not self.isRunning():
                self._statusLine.show("")  # it was about the other volume
            node.outputSegmentation = self._results.follow(node.inputVolume)

    def _onResultChanged(self, volumeNode, segmentationNode):
        """After undo or redo."""
        if self._parameterNode and self._parameterNode.inputVolume is volumeNode:
            self._parameterNode.outputSegmentation = segmentationNode
        self.update()

    def _onVolumeModified(self, caller, event):
        if Volumes.hasVoxels(caller):
            self.update()

    def whyNot(self) -> str:
        """Why the model cannot run now; "" when it can."""
        if not self._installSection.problem and not Volumes.hasVoxels(self._parameterNode.inputVolume):
            return _("Load a volume, or choose one.")
        return self.whyNoEngine() if self._mustDraw() else self._whyNoModel()

    def _mustDraw(self):
        """Whether the way to a result is to draw, because no model fits the volume and the user has chosen none."""
        return not self._parameterNode.model and Volumes.hasVoxels(self._parameterNode.inputVolume)

    def _mayTry(self):
        return bool(self._parameterNode) and not self.isRunning() and not self._installSection.problem

    def _onTried(self, hasVerdict):
        """Propose what was tried, or say that it is being tried."""
        if hasVerdict:
            self._modelList.read()
        self.update()

    def _whyNoModel(self):
        """Why the model cannot run on any volume; "" when it can."""
        model = self._chosenModel()
        if problem := self.whyNoEngine():
            return problem
        if model is None or model.problem:
            return _("Choose a model.")
        if set(model.structures) <= set(self._parameterNode.skippedStructures):
            return _("Check at least one structure under Advanced.")
        return ""

    def _showResult(self, volumeNode, segmentationNode):
        """Show a study of a batch as the result of a run."""
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
        if segmentationNode:
            if self._parameterNode:
                self._parameterNode.inputVolume = volumeNode
                self._parameterNode.outputSegmentation = segmentationNode
            self._results.show(volumeNode, segmentationNode)


#
# SAM2AdaptLogic
#


class SAM2AdaptLogic(SegmentingLogic, FillLogic, CorrectLogic, ModelsLogic, ReportLogic, ScriptedLoadableModuleLogic):
    """All that the panel does, for the Python console and other modules too.

    No dialog opens from here; what goes wrong raises ``EngineError``, which says what is wrong and what to do.
    Segmenting: ``segment``, ``segmentVolumes``, ``segmentFolder``; filling: ``fill``; clicks: ``correct``; model files:
    ``models``, ``addModel`` and others. ``startSegment`` and the like return at once.
    """

    def __init__(self, engine=None) -> None:
        """
        :param engine: ``EngineClient``; without it the one that all modules share. Nothing is started here.
        """
        ScriptedLoadableModuleLogic.__init__(self)
        self.engine = engine or Client.sharedEngine()

    @property
    def modelEngine(self):
        """The engine for model files."""
        return self.engine

    def getParameterNode(self):
        return SAM2AdaptParameterNode(super().getParameterNode())

    def engineProblem(self) -> EngineError | None:
        """What keeps the engine from starting, seen without starting it."""
        return Check.findProblem()

    def stopEngine(self) -> None:
        """Kill the engine at once; it starts again when it is needed."""
        self.engine.stop()
        self.stopBatch()


#
# SAM2AdaptTest
#


class SAM2AdaptTest(ScriptedLoadableModuleTest):
    """Quick checks inside Slicer; the run is left out where the engine is not installed."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_models, self.test_run):
            self.setUp()
            test()

    def test_models(self):
        """The models that come with the extension are listed without the engine."""
        self.delayDisplay("Models")
        self.assertIn("torso-ct", [model.name for model in SAM2AdaptLogic().models() if not model.problem])

    def test_run(self):
        """A phantom of a chest is segmented, measured, and the run is undone."""
        logic = SAM2AdaptLogic()
        if problem := logic.engineProblem():
            self.delayDisplay(f"Run left out: {problem}")
            return
        self.delayDisplay("A run of the engine")
        z, y, x = np.ogrid[-1:1:24j, -1:1:96j, -1:1:128j]
        body = (x / 0.95) ** 2 + (y / 0.9) ** 2 < 1
        lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.6) ** 2 + (z / 0.95) ** 2 < 1
        voxels = np.where(lungs, -850, np.where(body, 40, -1000)).astype(np.int16)
        volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-3.0, -3.0, 6.0, 1.0]), name="phantom")
        segmentation = logic.segment(volume, "torso-ct", anyModality=True)
        rows = logic.statistics(volume, segmentation)
        self.assertEqual([row["structure"] for row in rows], ["right lung", "left lung"])
        self.assertTrue(all(row["mean"] < -500 for row in rows))
        self.assertTrue(logic.undo(segmentation))
