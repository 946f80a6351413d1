"""Pictures of the effect Correct with the model: before and after a click on the chest CT, panel and slice.

python Testing/gui/correct_pictures.py [FOLDER]          without FOLDER: Resources/panel
"""

import os
import sys
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "gui"), str(TESTING / "host"), str(TESTING.parent / "SAM2Adapt")]
import matplotlib as mpl  # noqa: E402
import numpy as np  # noqa: E402
from fill_pictures import loadDrawings, photograph, session, wait  # noqa: E402

SLICE, VOXEL = 16, (90, 80, 16)  # I, J, K of the click, in the part of the lung that is erased first


def main() -> None:
    """Take the pictures, with the engine of this Python."""
    with session() as (slicerHost, folder):
        panel = openPanel(*loadDrawings())
        erased = panel.mask("right lung")[SLICE]
        photograph(slicerHost, panel.effect, folder / "correct-before.png")
        panel.click(VOXEL)
        wait(slicerHost, lambda: not panel.effect.isRunning())
        photograph(slicerHost, panel.effect, folder / "correct-after.png")
        drawSlices(panel, erased, folder / "correct-slices.png")
        panel.editor.setActiveEffectByName("")


def openPanel(volumeNode, segmentationNode):
    """The effect on the right lung, of which the front part is missing in one slice."""
    import slicer
    from correcting_testing import CorrectPanel

    segmentId = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName("right lung")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
    mask[SLICE, 62:] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentId, volumeNode)
    logic = slicer.util.getModuleLogic("SAM2Adapt")
    return CorrectPanel(volumeNode, segmentationNode, logic.engine, "right lung")


def drawSlices(panel, before: np.ndarray, path: Path) -> None:
    """The slice before and after the click."""
    import slicer

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    grey = slicer.util.arrayFromVolume(panel.volume)[SLICE]
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.6))
    for axis, mask, title in zip(
        axes, (before, panel.mask("right lung")[SLICE]), ("Before", "After one click"), strict=True
    ):
        axis.imshow(grey, cmap="gray", vmin=-1000, vmax=400)
        axis.contour(mask, [0.5], colors="#12b5a0", linewidths=1.5)
        axis.plot(*VOXEL[:2], "+", color="#ffc74d", markersize=12, markeredgewidth=2)
        axis.set_title(title)
        axis.axis("off")
        turn(axis, panel.volume)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def turn(axis, volumeNode) -> None:
    """Show an axial slice as Slicer does: anterior at the top, the patient's right at the left."""
    import vtk

    directions = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASDirectionMatrix(directions)
    if directions.GetElement(0, 0) > 0:  # columns go to the right
        axis.invert_xaxis()
    if directions.GetElement(1, 1) > 0:  # rows go to the front
        axis.invert_yaxis()


if __name__ == "__main__":
    main()
