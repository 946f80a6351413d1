"""Slicer's Segment Editor as far as other modules open it."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin


class SegmentEditor(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Segment Editor"


class SegmentEditorWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self._chooseParameters()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        slicer.qSlicerSegmentEditorEffectFactory.instance().connect(
            "effectRegistered(QString)", self.editor.updateEffectList
        )
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda *_: self.editor.setSegmentationNode(None))
        self.addObserver(scene, scene.EndCloseEvent, lambda *_: self._update() if self.parent.isEntered else None)

    def cleanup(self):
        self.removeObservers()

    def enter(self):
        self._update()

    def exit(self):
        self.editor.setActiveEffect(None)

    def _update(self):
        self._chooseParameters()
        self.editor.updateWidgetFromMRML()

    def _chooseParameters(self):
        """As Slicer's: the scene has one set of parameters, which stays when the scene is closed."""
        tag, kind = "SegmentEditor", "vtkMRMLSegmentEditorNode"
        node = slicer.mrmlScene.GetSingletonNode(tag, kind)
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(tag)
            node = slicer.mrmlScene.AddNode(node)
        self.editor.setMRMLSegmentEditorNode(node)
