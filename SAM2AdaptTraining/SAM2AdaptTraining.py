import os
import shlex
import subprocess

import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper

from slicer import vtkMRMLSegmentationNode


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
    The parameters needed by module.

    exampleSegmentation - A corrected segmentation; its segments are the structures to learn.
    """

    exampleSegmentation: vtkMRMLSegmentationNode


#
# SAM2AdaptTrainingWidget
#


class SAM2AdaptTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: which structures, and the command that trains for them."""

    def __init__(self, parent=None) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        """Called when the user opens the module the first time and the widget is initialized."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SAM2AdaptTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SAM2AdaptTrainingLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """Called just before the scene is closed."""
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Called just after the scene is closed."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.exampleSegmentation:
            self._parameterNode.exampleSegmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")

    def setParameterNode(self, inputParameterNode: SAM2AdaptTrainingParameterNode | None) -> None:
        """Set and observe parameter node, so that the panel shows each change of it at once."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateCommand)
        self._parameterNode = inputParameterNode
        self._observeSegmentation()
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateCommand)
            self._updateCommand()

    def _observeSegmentation(self) -> None:
        """Follow the segments of the chosen segmentation: they are renamed and added while this panel is open."""
        self.removeObservers(self._onSegmentsChanged)
        segmentationNode = self._parameterNode.exampleSegmentation if self._parameterNode else None
        if segmentationNode:
            segmentation = segmentationNode.GetSegmentation()
            for event in (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified):
                self.addObserver(segmentation, event, self._onSegmentsChanged)

    def _onSegmentsChanged(self, caller, event) -> None:
        self._showCommand()

    def _updateCommand(self, caller=None, event=None) -> None:
        self._observeSegmentation()
        self._showCommand()

    def _showCommand(self) -> None:
        """Show the command for the chosen structures, or what is missing."""
        segmentationNode = self._parameterNode.exampleSegmentation
        if not segmentationNode or segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
            self.ui.commandTextEdit.plainText = ""
            self.ui.hintLabel.text = _("Load a segmentation with at least one segment, or choose one above.")
        else:
            self.ui.commandTextEdit.plainText = self.logic.trainCommand(segmentationNode)
            self.ui.hintLabel.text = _(
                "IMAGES and LABELS are folders with files of the same names; the label values are the numbers in the "
                "command. “python -m sam2adapt train --help” explains each option."
            )


#
# SAM2AdaptTrainingLogic
#


class SAM2AdaptTrainingLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, without the panel."""

    def __init__(self) -> None:
        """Called when the logic class is instantiated. Can be used for initializing member variables."""
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        return SAM2AdaptTrainingParameterNode(super().getParameterNode())

    def classes(self, segmentationNode: vtkMRMLSegmentationNode) -> str:
        """The segments as the command line wants them, "1=right lung,2=left lung", in the order of the segmentation."""
        segmentation = segmentationNode.GetSegmentation()
        names = [segmentation.GetNthSegment(k).GetName() for k in range(segmentation.GetNumberOfSegments())]
        return ",".join(f"{k}={name}" for k, name in enumerate(names, start=1))

    def trainCommand(self, segmentationNode: vtkMRMLSegmentationNode) -> str:
        """
        The command line that trains for the segments of a segmentation, with IMAGES and LABELS in the place of folders.
        :param segmentationNode: segmentation with at least one segment
        """
        words = ["python", "-m", "sam2adapt", "train", "--images", "IMAGES", "--labels", "LABELS"]
        words += ["--classes", self.classes(segmentationNode), "--base", "nano", "--method", "dual-lw"]
        words += ["-o", f"{segmentationNode.GetName()}.safetensors"]
        return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


#
# SAM2AdaptTrainingTest
#


class SAM2AdaptTrainingTest(ScriptedLoadableModuleTest):
    """Quick checks that need neither torch nor a network connection."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_commandNamesTheStructures()

    def test_commandNamesTheStructures(self):
        """The classes of the command are the segments, numbered in their order."""
        self.delayDisplay("Command line")
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lungs")
        for name in ("right lung", "left lung"):
            segmentation.GetSegmentation().AddEmptySegment("", name)
        logic = SAM2AdaptTrainingLogic()
        self.assertEqual(logic.classes(segmentation), "1=right lung,2=left lung")
        self.assertIn("1=right lung,2=left lung", logic.trainCommand(segmentation))
        self.delayDisplay("Test passed")
