"""Slicer's Segment Editor as far as other modules open it."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentEditor(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Segment Editor"


class SegmentEditorWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        slicer.qSlicerSegmentEditorEffectFactory.instance().connect(
            "effectRegistered(PyObject)", lambda effect: self.editor.updateEffectList()
        )

    def enter(self):
        """As Slicer's: the parameters are those of the scene, made where there are none."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentEditorNode")
        node = node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.editor.setMRMLSegmentEditorNode(node)

    def exit(self):
        pass
