"""Pictures of a MRML scene as Slicer's own slice and 3-D views draw it, on a machine without a screen.

The package slicer-core brings Slicer's libraries without Qt; VTK renders with EGL, in software where there is no GPU. A
machine that lacks the OpenGL libraries ends the process at the first view: ask `renderingProblem()` before.

    python Testing/render.py VOLUME SEGMENTATION PICTURE [--views axial coronal surface]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import picture
import vtk
from import_slicer import slicer
from mrml_views import Application, SliceView, SurfaceView

#: What Debian and Ubuntu call the libraries that VTK opens at its first view.
LIBRARIES = ("libegl1", "libgl1-mesa-dri", "libx11-6")
ORIENTATIONS = {"axial": "Axial", "coronal": "Coronal", "sagittal": "Sagittal"}
#: Width and level in HU: air, lung vessels, soft tissue and bone stay apart in one picture.
WINDOW, LEVEL = 1500, -450


def openApp(logFile: Path) -> Application:
    """A Slicer application without Qt. VTK's messages go to `logFile`: without a screen they are a page of warnings."""
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    output = vtk.vtkFileOutputWindow()
    output.SetFileName(str(logFile))
    output.FlushOn()
    vtk.vtkOutputWindow.SetInstance(output)
    return Application()


def renderingProblem() -> str | None:
    """None when this machine renders, otherwise one sentence. Tried in a child process, which VTK may end."""
    child = subprocess.run([sys.executable, __file__, "--check"], capture_output=True, encoding="utf-8", check=False)
    if child.returncode == 0:
        return None
    return (
        f"Slicer's views cannot be drawn on this machine (the trial ended with status {child.returncode}). "
        f"On Debian and Ubuntu: apt-get install {' '.join(LIBRARIES)}"
    )


class SceneViews:
    """Slicer's views of one volume and its segmentations; every picture is an array (height, width, 3) of uint8."""

    def __init__(self, app: Application, volumeNode, size: tuple[int, int] = (640, 560)):
        """`size`: width and height of a picture in pixels."""
        self.app = app
        self.size = size
        self._slices = {name: SliceView(app, name, orientation, size) for name, orientation in ORIENTATIONS.items()}
        for view in self._slices.values():
            view.setVolume(volumeNode)
        self._surface: SurfaceView | None = None

    def slice(self, name: str, bounds: np.ndarray, margin: float = 18.0) -> np.ndarray:
        """The slice through the middle of a box, with `margin` mm around it.

        :param name: a key of ORIENTATIONS.
        :param bounds: (3, 2), lowest and highest R, A and S in mm; see `segmentBounds`.
        """
        view = self._slices[name]
        view.node.JumpSliceByCentering(*bounds.mean(axis=1))
        toRas = slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())[:3, :3]
        extent = np.abs(toRas.T) @ (bounds[:, 1] - bounds[:, 0]) + 2 * margin
        pixel = max(extent[0] / self.size[0], extent[1] / self.size[1])
        view.node.SetFieldOfView(self.size[0] * pixel, self.size[1] * pixel, view.node.GetFieldOfView()[2])
        view.logic.SnapSliceOffsetToIJK()
        return picture.withLetters(view.pixels(), _edgeLetters(toRas))

    def surface(self, bounds: np.ndarray, azimuth: float = -25.0, elevation: float = 18.0) -> np.ndarray:
        """The closed surfaces within a box, from the front, turned by `azimuth` and `elevation` degrees."""
        self._surface = self._surface or SurfaceView(self.app, "surface", self.size)
        self._surface.lookFromFront(bounds, azimuth, elevation)
        return self._surface.pixels()


def showVolume(volumeNode, window: float = WINDOW, level: float = LEVEL) -> None:
    """Displays the volume with a fixed window, in its own units."""
    display = volumeNode.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(window, level)


def showSegmentation(segmentationNode, smoothing: float = 0.5, fill: float = 0.4) -> None:
    """Filled and outlined in the slices; `smoothing`: Slicer's smoothing factor of the closed surfaces, 0 to 1.

    The slice views cut the surfaces too, so that outline and 3-D view agree.
    """
    segmentationNode.CreateDefaultDisplayNodes()
    segmentation = segmentationNode.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", str(smoothing))
    segmentationNode.RemoveClosedSurfaceRepresentation()  # loading has made one with the file's own factor
    segmentationNode.CreateClosedSurfaceRepresentation()
    display = segmentationNode.GetDisplayNode()
    display.SetPreferredDisplayRepresentationName2D("Closed surface")
    display.SetAllSegmentsVisibility2DFill(True)
    display.SetAllSegmentsVisibility2DOutline(True)
    display.SetAllSegmentsOpacity2DFill(fill)
    display.SetAllSegmentsOpacity2DOutline(1.0)
    display.SetOpacity2DFill(1.0)
    display.SetSliceIntersectionThickness(3)


def segmentBounds(segmentationNode) -> np.ndarray:
    """(3, 2): lowest and highest R, A and S in mm of the closed surfaces; of the image for an empty segmentation."""
    box = vtk.vtkBoundingBox()
    surface = vtk.vtkPolyData()
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        if segmentationNode.GetClosedSurfaceRepresentation(segmentId, surface) and surface.GetNumberOfPoints():
            box.AddBounds(surface.GetBounds())
    bounds = [0.0] * 6
    if box.IsValid():
        box.GetBounds(bounds)
    else:
        segmentationNode.GetRASBounds(bounds)
    return np.reshape(bounds, (3, 2))


def _edgeLetters(toRas: np.ndarray) -> tuple[str, str, str, str]:
    """The patient's directions at the left, right, bottom and top edge of a slice view, from its axes in RAS."""

    def letter(direction: np.ndarray) -> str:
        axis = int(np.argmax(np.abs(direction)))
        return ("RAS" if direction[axis] > 0 else "LPI")[axis]

    return letter(-toRas[:, 0]), letter(toRas[:, 0]), letter(-toRas[:, 1]), letter(toRas[:, 1])


def _check() -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = openApp(Path(folder) / "vtk.log")
        view = SliceView(app, "check", "Axial", (64, 64))
        view.pixels()
        if not view.window.SupportsOpenGL():
            sys.exit("No OpenGL.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", type=Path, nargs="?")
    parser.add_argument("segmentation", type=Path, nargs="?", help=".seg.nrrd")
    parser.add_argument("picture", type=Path, nargs="?", help=".png")
    choices = [*ORIENTATIONS, "surface"]
    parser.add_argument("--views", nargs="+", default=["axial", "coronal", "surface"], choices=choices)
    parser.add_argument("--segments", nargs="+", help="names to show; default all")
    parser.add_argument("--title", default="")
    parser.add_argument("--check", action="store_true", help="only tries whether this machine renders")
    parser.add_argument("--libraries", action="store_true", help="only prints the Debian packages that rendering needs")
    arguments = parser.parse_args()
    if arguments.libraries:
        print(*LIBRARIES)
        return
    if arguments.check:
        _check()
        return
    if arguments.picture is None:
        parser.error("VOLUME, SEGMENTATION and PICTURE are needed")
    app = openApp(arguments.picture.with_suffix(".log"))
    volume = app.volumesLogic.AddArchetypeVolume(str(arguments.volume), arguments.volume.stem, 0)
    if volume is None:
        sys.exit(f"{arguments.volume} cannot be read.")
    views = SceneViews(app, volume)
    segmentation = app.segmentationsLogic.LoadSegmentationFromFile(str(arguments.segmentation), True)
    if segmentation is None:
        sys.exit(f"{arguments.segmentation} cannot be read.")
    keepSegments(segmentation, arguments.segments)
    showVolume(volume)
    showSegmentation(segmentation)
    bounds = segmentBounds(segmentation)
    panels = [
        (name, views.surface(bounds) if name == "surface" else views.slice(name, bounds)) for name in arguments.views
    ]
    picture.compose([panels], arguments.title, segmentLegend(segmentation)).save(arguments.picture)


def keepSegments(segmentationNode, names: list[str] | None) -> None:
    """Removes every segment whose name is not in `names`; None keeps all."""
    segmentation = segmentationNode.GetSegmentation()
    for segmentId in list(segmentation.GetSegmentIDs()):
        if names is not None and segmentation.GetSegment(segmentId).GetName() not in names:
            segmentation.RemoveSegment(segmentId)


def segmentLegend(segmentationNode) -> list[tuple[str, tuple[int, int, int]]]:
    """Name and colour (0..255) of every segment, in order."""
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
    return [(s.GetName(), tuple(round(255 * c) for c in s.GetColor())) for s in segments]


if __name__ == "__main__":
    main()
