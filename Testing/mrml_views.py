"""Slicer's application logic and its slice and 3-D views, without Qt and without a screen.

Slicer's displayable managers draw the segmentations, as in the application; its views, which are Qt widgets, have VTK
render windows in their place here.
"""

from __future__ import annotations

import numpy as np
import vtk
from import_slicer import slicer
from vtk.util.numpy_support import vtk_to_numpy


class Application:
    """One MRML scene with the module logics that read and show volumes and segmentations."""

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        self._added("Colors", self.logic.GetColorLogic()).AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)  # patient's right to the left
        self.volumesLogic = self._added("Volumes", slicer.vtkSlicerVolumesLogic())
        self.segmentationsLogic = self._added("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic())
        self._added("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic())

    def _added(self, name: str, moduleLogic):
        moduleLogic.SetMRMLApplicationLogic(self.logic)
        moduleLogic.SetMRMLScene(self.scene)
        self.logic.SetModuleLogic(name, moduleLogic)
        return moduleLogic


class View:
    """A render window in memory.

    :param size: width and height in pixels.
    """

    def __init__(self, size: tuple[int, int]):
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(8)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        # Displayable managers look for one; this kind opens no display.
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()

    def pixels(self) -> np.ndarray:
        """Draw; (height, width, 3) uint8."""
        self.window.Render()
        capture = vtk.vtkWindowToImageFilter()
        capture.SetInput(self.window)
        capture.ReadFrontBufferOff()
        capture.Update()
        image = capture.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return np.ascontiguousarray(pixels[::-1, :, :3])

    def _show(self, app: Application, viewNode, factory, managerNames: tuple[str, ...]) -> None:
        """Let these displayable managers draw into this view what `viewNode` shows."""
        factory.SetMRMLApplicationLogic(app.logic)
        for name in managerNames:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers.Initialize(factory, self.renderer)
        self._managers.SetMRMLDisplayableNode(viewNode)


class SliceView(View):
    """A slice of one volume, with the segmentations of the scene on it.

    :param name: of its slice node, which no other view may have.
    :param orientation: "Axial", "Coronal" or "Sagittal".
    """

    def __init__(self, app: Application, name: str, orientation: str, size: tuple[int, int]):
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        # Slicer's logic has applied window and level.
        self._image = vtk.vtkImageMapper()
        self._image.SetColorWindow(255)
        self._image.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._image)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._actor.VisibilityOff()
        self.renderer.AddViewProp(self._actor)  # first of all, so that segmentations are drawn over it
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(app.logic)
        self.logic.SetMRMLScene(app.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.logic.ResizeSliceNode(*size)
        managers = ("vtkMRMLModelSliceDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")
        self._show(app, self.node, slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), managers)

    def setVolume(self, volumeNode) -> None:
        """Show this volume, fitted to the view."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        self.logic.FitSliceToBackground()
        self._actor.VisibilityOn()

    def pixels(self) -> np.ndarray:
        self._image.SetInputConnection(self.logic.GetImageDataConnection())  # a new one whenever layers change
        return super().pixels()


class SurfaceView(View):
    """The closed surfaces of the scene's segmentations, on a gradient."""

    def __init__(self, app: Application, name: str, size: tuple[int, int]):
        super().__init__(size)
        self.renderer.UseDepthPeelingOn()
        self.renderer.GradientBackgroundOn()
        self.renderer.SetBackground(34 / 255, 38 / 255, 46 / 255)
        self.renderer.SetBackground2(74 / 255, 82 / 255, 96 / 255)
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(app.logic)
        self._logic.SetMRMLScene(app.scene)
        node = self._logic.AddViewNode(name)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._show(app, node, factory, ("vtkMRMLSegmentationsDisplayableManager3D",))

    def lookFromFront(self, bounds: np.ndarray, azimuth: float, elevation: float) -> None:
        """Fill the view with a box ((3, 2), RAS in mm), seen from the front and turned by these degrees."""
        camera = self.renderer.GetActiveCamera()
        middle = bounds.mean(axis=1)
        camera.SetFocalPoint(middle)
        camera.SetPosition(middle + np.array([0, 1, 0]))  # from anterior
        camera.SetViewUp(0, 0, 1)
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        camera.OrthogonalizeViewUp()
        self.renderer.ResetCamera(bounds.ravel().tolist())
        camera.Zoom(1.25)
        self.renderer.ResetCameraClippingRange()
