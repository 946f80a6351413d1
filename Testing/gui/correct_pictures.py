"""Pictures of the effect Correct with the model: before and after a click on the chest CT, panel and slice.

python Testing/gui/correct_pictures.py [FOLDER]          without FOLDER: Resources/panel
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "gui"), str(TESTING / "host"), str(TESTING.parent / "SAM2Adapt")]
import host  # noqa: E402
import matplotlib as mpl  # noqa: E402
import numpy as np  # noqa: E402
from fill_pictures import loadDrawings, wait  # noqa: E402
from training_pictures import REPOSITORY, save  # noqa: E402

WIDTH = 400
SLICE, VOXEL = 16, (90, 80, 16)  # I, J, K of the click, in the part of the lung that is erased first


def main() -> None:
    """Take the pictures, with the engine of this Python."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "Resources" / "panel")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.environ["SAM2ADAPT_ENGINE_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAM2ADAPT_HOME"] = home
        slicerHost = host.boot()
        slicerHost.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        panel = openPanel(*loadDrawings())

        def take(name: str) -> None:
            slicerHost.processEvents(0.1)
            frame = panel.effect.scriptedEffect.optionsFrame()
            path = slicerHost.screenshot(frame, arguments.folder / f"correct-{name}.png", WIDTH)
            save(path)
            print(f"{path}: {panel.message}")

        erased = panel.mask("right lung")[SLICE]
        take("before")
        panel.click(VOXEL)
        wait(slicerHost, lambda: not panel.effect.isRunning())
        take("after")
        drawSlices(panel, erased, arguments.folder / "correct-slices.png")
        panel.editor.setActiveEffectByName("")
        slicerHost.unloadModule("SAM2Adapt")
        if slicerHost.records.slotErrors:
            sys.exit("\n".join(slicerHost.records.slotErrors))


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
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
