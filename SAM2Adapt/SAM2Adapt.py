import importlib
import os
import shlex
import subprocess
import sys

import numpy as np
import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

from SAM2AdaptLib import SegmentationBridge

VOLUME_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")


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


#
# SAM2AdaptParameterNode
#


@parameterNodeWrapper
class SAM2AdaptParameterNode:
    """
    The parameters needed by module.

    inputVolume - The volume to segment.
    outputSegmentation - The segmentation that gives the result its name.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode


#
# SAM2AdaptWidget
#


class SAM2AdaptWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: which volume, and the command that segments it."""

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
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SAM2Adapt.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SAM2AdaptLogic()
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

    def onReload(self) -> None:
        """Called by the Reload button; the helper package must be read anew as well."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "SAM2AdaptLib"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)

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
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = self.logic.firstVolume()

    def setParameterNode(self, inputParameterNode: SAM2AdaptParameterNode | None) -> None:
        """Set and observe parameter node, so that the panel shows each change of it at once."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateCommand)
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateCommand)
            self._updateCommand()

    def _updateCommand(self, caller=None, event=None) -> None:
        """Show the command for the chosen volume, or what is missing."""
        volumeNode = self._parameterNode.inputVolume
        if not volumeNode:
            self.ui.commandTextEdit.plainText = ""
            self.ui.hintLabel.text = _("Load a volume, or choose one above.")
        elif not self.logic.savedFile(volumeNode):
            self.ui.commandTextEdit.plainText = ""
            self.ui.hintLabel.text = _(
                "The engine reads files: save the volume to a file, then open this module again."
            )
        else:
            self.ui.commandTextEdit.plainText = self.logic.segmentCommand(
                volumeNode, self._parameterNode.outputSegmentation
            )
            self.ui.hintLabel.text = _(
                "Put one of the names that “python -m sam2adapt models list” prints in the place of MODEL, "
                "then drag the resulting file into Slicer."
            )


#
# SAM2AdaptLogic
#


class SAM2AdaptLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, without the panel."""

    def __init__(self) -> None:
        """Called when the logic class is instantiated. Can be used for initializing member variables."""
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        return SAM2AdaptParameterNode(super().getParameterNode())

    def firstVolume(self) -> vtkMRMLScalarVolumeNode | None:
        """The first image volume of the scene; label maps are volumes too, but nothing to segment."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((volume for volume in volumes if volume.GetClassName() in VOLUME_CLASSES), None)

    def savedFile(self, volumeNode: vtkMRMLScalarVolumeNode) -> str:
        """Path of the file that holds the volume as it is now, or "" if there is none."""
        storageNode = volumeNode.GetStorageNode()
        if not storageNode or not storageNode.GetFileName() or volumeNode.GetModifiedSinceRead():
            return ""
        return storageNode.GetFullNameFromFileName()

    def segmentCommand(
        self, volumeNode: vtkMRMLScalarVolumeNode, segmentationNode: vtkMRMLSegmentationNode | None = None
    ) -> str:
        """
        The command line that segments a volume, with MODEL in the place of the model's name.
        :param volumeNode: volume that is stored in a file
        :param segmentationNode: gives the output file its name, else the volume does
        """
        inputFile = self.savedFile(volumeNode)
        if not inputFile:
            raise ValueError(f"Volume '{volumeNode.GetName()}' is not stored in a file")
        name = segmentationNode.GetName() if segmentationNode else f"{volumeNode.GetName()} segmentation"
        outputFile = os.path.join(os.path.dirname(inputFile), name.replace("/", "_").replace("\\", "_") + ".seg.nrrd")
        words = ["python", "-m", "sam2adapt", "segment", inputFile, "-o", outputFile, "--model", "MODEL"]
        return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


#
# SAM2AdaptTest
#


class SAM2AdaptTest(ScriptedLoadableModuleTest):
    """Quick checks that need neither torch nor a network connection."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_labelsReturnUnchanged()
        self.setUp()
        self.test_commandNamesTheFiles()

    def test_labelsReturnUnchanged(self):
        """Labels become named segments on an anisotropic left-handed grid and come back voxel for voxel."""
        self.delayDisplay("Labels to segments and back")
        ijkToRAS = np.diag([-0.8, 0.8, 2.5, 1.0])
        ijkToRAS[:3, 3] = (40.0, -30.0, 12.0)
        volume = slicer.util.addVolumeFromArray(np.zeros((6, 8, 10), np.int16), ijkToRAS=ijkToRAS, name="volume")
        labels = np.zeros((6, 8, 10), np.uint8)
        labels[1:3, 2:7, 1:4] = 1
        labels[3:5, 2:7, 5:9] = 5
        structures = [{"id": 1, "name": "right lung"}, {"id": 5, "name": "left lung", "color": (0.8, 0.7, 0.6)}]
        segmentation = SegmentationBridge.importLabels(volume, labels, structures)
        segmentIds = segmentation.GetSegmentation().GetSegmentIDs()
        names = [segmentation.GetSegmentation().GetSegment(segmentId).GetName() for segmentId in segmentIds]
        self.assertEqual(names, ["right lung", "left lung"])
        exported = SegmentationBridge.exportLabels(volume, segmentation, segmentIds)
        np.testing.assert_array_equal(exported, np.where(labels == 5, 2, labels))
        self.delayDisplay("Test passed")

    def test_commandNamesTheFiles(self):
        """The command names the stored file, and there is none for a volume that is not stored."""
        self.delayDisplay("Command line")
        logic = SAM2AdaptLogic()
        volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="chest CT")
        self.assertIs(logic.firstVolume(), volume)
        self.assertRaises(ValueError, logic.segmentCommand, volume)
        path = os.path.join(slicer.app.temporaryPath, "SAM2AdaptTest chest.nrrd")
        try:
            self.assertTrue(slicer.util.saveNode(volume, path))
            command = logic.segmentCommand(volume)
        finally:
            if os.path.exists(path):
                os.remove(path)
        self.assertIn("SAM2AdaptTest chest.nrrd", command)
        self.assertIn("chest CT segmentation.seg.nrrd", command)
        self.delayDisplay("Test passed")
