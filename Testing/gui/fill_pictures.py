"""Pictures of the effect Fill from drawn slices for the README: before, during and after a run on the chest CT.

python Testing/gui/fill_pictures.py [FOLDER]          without FOLDER: Resources/panel
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "gui"), str(TESTING / "host"), str(TESTING.parent / "SAM2Adapt")]
import host  # noqa: E402
from filling_testing import NAME  # noqa: E402
from training_pictures import DEADLINE, REPOSITORY, save  # noqa: E402

WIDTH = 400
EVERY = 4  # slices; these are drawn


def main() -> None:
    """Take the pictures, with the engine of this Python."""
    with session() as (slicerHost, folder):
        effect = openEffect(*loadDrawings())

        def take(name: str) -> None:
            photograph(slicerHost, effect, folder / f"fill-{name}.png")

        take("before")
        effect.previewButton.click()
        wait(slicerHost, lambda: effect.getPreviewNode() is not None or not effect.isRunning())
        take("during")
        wait(slicerHost, lambda: not effect.isRunning())
        take("after")
        print({name: round(seconds, 1) for name, seconds in effect._job.seconds.items()}, "s after the click")
        effect.applyButton.click()


@contextlib.contextmanager
def session() -> Iterator[tuple]:
    """The small Slicer with the effects and without anything of the user, and the folder that the shell names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "Resources" / "panel")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SAM2ADAPT_ENGINE_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAM2ADAPT_HOME"] = home
        slicerHost = host.boot()
        slicerHost.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        yield slicerHost, folder
        slicerHost.unloadModule("SAM2Adapt")
        if slicerHost.records.slotErrors:
            sys.exit("\n".join(slicerHost.records.slotErrors))


def photograph(slicerHost, effect, path: Path) -> None:
    """Take a picture of what an effect shows."""
    slicerHost.processEvents(0.1)
    taken = slicerHost.screenshot(effect.scriptedEffect.optionsFrame(), path, WIDTH)
    save(taken)
    print(f"{taken}: {effect._options.messageLabel.text}")


def loadDrawings():
    """The chest CT of the package slicerio, and its segmentation in every fourth slice."""
    import numpy as np
    import slicer
    import slicerio
    from SAM2AdaptLib.Scene import LabelExport, LabelImport

    data = Path(slicerio.__file__).parent / "data"
    volumeNode = slicer.modules.volumes.logic().AddArchetypeVolume(str(data / "CTChest4.nrrd"), "CTChest", 0)
    whole = slicer.modules.segmentations.logic().LoadSegmentationFromFile(
        str(data / "Segmentation.seg.nrrd"), False, "whole"
    )
    ids = list(whole.GetSegmentation().GetSegmentIDs())
    labels = LabelExport.exportLabels(volumeNode, whole, ids)
    drawn = np.zeros_like(labels)
    places = sorted({*range(0, len(labels), EVERY), len(labels) - 1})
    drawn[places] = labels[places]
    names = [whole.GetSegmentation().GetSegment(segmentId).GetName() for segmentId in ids]
    slicer.mrmlScene.RemoveNode(whole)
    structures = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return volumeNode, LabelImport.importLabels(volumeNode, drawn, structures)


def openEffect(volumeNode, segmentationNode):
    """The effect in Slicer's Segment Editor."""
    from SAM2AdaptLib.Panels import Editor

    Editor.show(volumeNode, segmentationNode, NAME)
    import slicer

    return slicer.util.getModuleWidget("SegmentEditor").editor.activeEffect().self()


def wait(slicerHost, condition) -> None:
    """Until a condition holds; the program ends if it never does."""
    if not slicerHost.processEvents(DEADLINE, until=condition):
        sys.exit("The effect does not get on.")


if __name__ == "__main__":
    main()
