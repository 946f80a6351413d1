"""The effect that fills drawn slices, driven by clicks under Slicer's own Python layer, with a real engine.

SLICERHOST=FOLDER SLICER_SOURCE_DIR=FOLDER python Testing/host/fill_clicks.py [--pictures FOLDER]

Says what was clicked and what the effect answered, and ends with slicerhost's report; fails where an answer is wrong or
the report is not empty. Slicer's own effects are clicked in the same editor, as proof that it behaves.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing" / "host"), str(REPOSITORY / "Testing" / "gui")]
sys.path[:0] = [str(REPOSITORY / "SAM2Adapt")]
import slicer_layer  # noqa: E402

sh = slicer_layer.boot()
import numpy as np  # noqa: E402
import slicer  # noqa: E402
from filling_testing import NAME, SHAPE, FillPanel, addDrawings, disc, stack  # noqa: E402

DEADLINE = 300  # seconds
TRUTH = {
    "cone": np.stack([disc(3 + 0.4 * k) for k in range(SHAPE[0])]).astype(np.uint8),
    "wall": np.stack([disc(5 + 0.4 * k) & ~disc(3 + 0.4 * k) for k in range(SHAPE[0])]).astype(np.uint8),
}
PLACES = [0, 4, 8, 11]
FAILED = []


def main() -> None:
    """Click through all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the options")
    pictures = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAM2ADAPT_HOME"], os.environ["SAM2ADAPT_ENGINE_PYTHON"] = home, sys.executable
        sources = Path(os.environ[slicer_layer.SOURCES])
        sh.load_module(sources / "Modules" / "Scripted" / "SampleData" / "SampleData.py", setup_widget=False)
        sh.load_module(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        for part in (openFromPanel, fillAndApply, editsAndCancel, choices, killedEngine, slicersOwn, closeScene):
            print(f"\n{part.__doc__}", flush=True)
            try:
                part(pictures)
            except Exception:  # the report says why
                traceback.print_exc()
                FAILED.append(part.__doc__)
        sh.unload_module("SAM2Adapt")
    report = sh.report
    print(f"\nreport: {report}")
    for kind in ("slot_errors", "problems", "dialogs", "qt_messages"):
        check(f"{kind} of the report are empty", not getattr(report, kind))
        for entry in getattr(report, kind):
            print(f"    {entry}")
    check("the stand-ins show Python nothing that Slicer does not", sh.audit() == AUDIT)
    print(f"\n{len(FAILED)} failed" if FAILED else "\nAll as it should be.", flush=True)
    sh.quit(bool(FAILED))


AUDIT = {"qSlicerApplication": ["testingEnabled"]}  # real, as slicerhost says


def openFromPanel(pictures) -> None:
    """From the panel to the effect"""
    volumeNode, segmentationNode = drawings()
    widget = slicer.modules.SAM2AdaptWidget
    widget.ui.inputSelector.setCurrentNode(volumeNode)
    widget.ui.fillButton.click()
    check("the panel's button opens the Segment Editor", slicer.util.selectedModule() == "SegmentEditor")
    editor = editorWidget()
    check("the effect is active", editor.activeEffect() is not None and editor.activeEffect().name == NAME)
    check("on the drawn segmentation", editor.segmentationNode() is segmentationNode)
    check("and its volume", editor.sourceVolumeNode() is volumeNode)
    button = toolButton(NAME)
    check(
        "its button is pressed, and has text and picture", button.checked and button.text and not button.icon.isNull()
    )
    for name in editor.availableEffectNames():
        toolButton(name).click()
        check(f"a click on its button activates {name}", editor.activeEffect().name == name)


def fillAndApply(pictures) -> None:
    """Fill, preview, Apply, Undo"""
    panel = openEffect()
    before = panel.masks()
    picture(panel, pictures, "before")
    click(panel, "previewButton")
    check("Apply waits for the result", not panel.widget("applyButton").enabled)
    wait("a first guess is shown", lambda: panel.previewNode() is not None)
    waitForResult(panel)
    picture(panel, pictures, "after")
    check("accuracy and next slice are told", panel.message.startswith("Expected accuracy"))
    check("the segments are as they were", np.array_equal(panel.masks(), before))
    panel.widget("previewShow3DButton").click()
    check("Show 3D makes surfaces of the preview", panel.effect.getPreviewShow3D())
    panel.widget("previewOpacitySlider").value = 0.3
    check("the slider fades the preview", abs(panel.previewNode().GetDisplayNode().GetOpacity() - 0.3) < 1e-6)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    offset = red.GetSliceOffset()
    panel.options.nextSliceButton.click()
    check(f"“{panel.options.nextSliceButton.text}” moves the view", red.GetSliceOffset() != offset)
    click(panel, "applyButton")
    after = panel.masks()
    check("drawn slices are unchanged", np.array_equal(after[:, PLACES], before[:, PLACES]))
    check("Dice of all slices is above 0.9", min(dice(after)) > 0.9)
    check("the preview is gone", panel.previewNode() is None)
    check("what was filled can be used for training", panel.options.trainButton.enabled)
    button = editorWidget().findChild("QPushButton", "UndoButton")
    button.click()
    check("one Undo takes all of it back", np.array_equal(panel.masks(), before) and not button.enabled)
    check("and there is nothing to train on", not panel.options.trainButton.enabled)


def editsAndCancel(pictures) -> None:
    """Edits during and after a run, Auto-update, Cancel"""
    panel = openEffect()
    click(panel, "previewButton")
    first = panel.effect._job
    panel.draw("cone", stack([6], 5))
    wait("an edit during a run starts it again", lambda: panel.effect._job not in (None, first))
    waitForResult(panel)
    job = panel.effect._job
    panel.draw("cone", stack([2], 4))
    wait("an edit after it fills again", lambda: panel.effect._job not in (None, job))
    waitForResult(panel)
    click(panel, "autoUpdateCheckBox")
    job, before = panel.effect._job, panel.masks()
    panel.draw("cone", stack([9], 6))
    sh.process_events(1.5)
    check("without Auto-update an edit starts nothing", panel.effect._job is job)
    before = panel.masks()
    click(panel, "applyButton")
    check("and what is outdated is not applied", np.array_equal(panel.masks(), before))
    click(panel, "autoUpdateCheckBox")
    click(panel, "cancelButton")
    check("Cancel removes the preview", panel.previewNode() is None and np.array_equal(panel.masks(), before))
    check("and leaves nothing to cancel", not panel.widget("cancelButton").enabled)
    click(panel, "previewButton")
    click(panel, "cancelButton")
    check("Cancel stops a run", not panel.effect.isRunning() and np.array_equal(panel.masks(), before))


def choices(pictures) -> None:
    """Nothing here, direction, region, a new segment"""
    panel = openEffect()
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetSliceOffset(7.25 + 3 * 6)
    panel.chooseStructure("wall")
    panel.options.emptyButton.click()
    check("Nothing here", panel.message == "Slice 7 holds nothing of 'wall'.")
    click(panel, "previewButton")
    waitForResult(panel)
    click(panel, "applyButton")
    cone, wall = panel.masks()
    check("an empty slice stays empty, and only that of the structure", not wall[6].any() and cone[6].any())
    editorWidget().findChild("QPushButton", "UndoButton").click()
    panel.options.emptyButton.click()
    check("Nothing here again takes it back", panel.message == "Slice 7 of 'wall' is to be filled again.")
    red.SetSliceOffset(7.25 + 3 * 4)
    panel.options.emptyButton.click()
    check("a drawn slice is not declared empty", "is drawn in slice 5" in panel.message)
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "middle")
    region.SetCenter(8, -48, 16)
    region.SetSize(100, 100, 12)
    panel.options.directionComboBox.setCurrentIndex(1)
    panel.options.regionSelector.setCurrentNode(region)
    click(panel, "previewButton")
    waitForResult(panel)
    filled = panel.previewMasks()[0]
    check("only the region is filled", filled[3].any() and not filled[9].any())
    slicer.mrmlScene.RemoveNode(region)
    check("a region that is removed is chosen no longer", panel.options.region is None)
    waitForResult(panel)
    check("and all is filled again", panel.previewMasks()[0][9].any())
    count = panel.options.structureComboBox.count
    editorWidget().findChild("QPushButton", "AddSegmentButton").click()
    check("a segment that is added is offered", panel.options.structureComboBox.count == count + 1)
    click(panel, "cancelButton")


def killedEngine(pictures) -> None:
    """The engine is killed while it fills"""
    panel = openEffect()
    panel.engine.stop()
    click(panel, "previewButton")
    wait("the engine starts", panel.engine.processId)
    os.kill(panel.engine.processId(), signal.SIGKILL)
    wait("the effect hears of it", lambda: not panel.effect.isRunning())
    check("and says so", "engine" in panel.message and panel.previewNode() is None)
    click(panel, "previewButton")
    waitForResult(panel)
    slicer.util.selectModule("SAM2Adapt")
    check("leaving the module closes the effect", editorWidget().activeEffect() is None)
    slicer.util.selectModule("SegmentEditor")
    toolButton(NAME).click()
    check("the preview is still there", panel.previewNode() is not None and panel.widget("applyButton").enabled)
    click(panel, "applyButton")
    check("and is applied", min(dice(panel.masks())) > 0.9)


def slicersOwn(pictures) -> None:
    """Slicer's own effects, unmodified, in this editor"""
    panel = openEffect()
    before = panel.masks()
    for name, low in (("Fill between slices", 0.9), ("Grow from seeds", 0.5)):
        toolButton(name).click()
        effect = editorWidget().activeEffect().self()
        effect.previewButton.click()
        wait(f"{name} shows a preview", lambda effect=effect: effect.getPreviewNode() is not None)
        check("and ours takes none of it", panel.effect.getPreviewNode() is None)
        if name == "Grow from seeds":
            effect.cancelButton.click()
            check("it is cancelled", effect.getPreviewNode() is None)
            continue
        effect.applyButton.click()
        check(f"Dice after Apply is above {low}", dice(panel.masks())[0] > low)
        editorWidget().findChild("QPushButton", "UndoButton").click()
    check("the segments are as they were", np.array_equal(panel.masks(), before))


def closeScene(pictures) -> None:
    """The scene is closed while it fills"""
    panel = openEffect()
    click(panel, "previewButton")
    wait("a first guess is shown", lambda: panel.previewNode() is not None)
    job = panel.effect._job
    slicer.mrmlScene.Clear(0)
    sh.process_events(1)
    check("the run ends", job.isOver and not panel.effect.isRunning())
    check("and no effect is active", editorWidget().activeEffect() is None)
    panel = openEffect()
    click(panel, "previewButton")
    waitForResult(panel)


#
# What the user does and sees
#


def drawings():
    """Two structures beside each other, drawn in four slices of a volume that shows them, in an empty scene."""
    slicer.mrmlScene.Clear(0)
    masks = {name: np.zeros(SHAPE, np.uint8) for name in TRUTH}
    for name, mask in masks.items():
        mask[PLACES] = TRUTH[name][PLACES]
    volumeNode, segmentationNode = addDrawings(masks)
    slicer.util.arrayFromVolume(volumeNode)[:] += 200 * TRUTH["cone"] + 100 * TRUTH["wall"]
    slicer.util.arrayFromVolumeModified(volumeNode)
    return volumeNode, segmentationNode


def openEffect() -> FillPanel:
    """New drawings, and the effect on them, by a click on its button."""
    volumeNode, segmentationNode = drawings()
    engine = slicer.util.getModuleLogic("SAM2Adapt").engine
    panel = FillPanel(volumeNode, segmentationNode, engine, sh.process_events)
    editorWidget().setActiveEffectByName("")
    toolButton(NAME).click()
    check("the effect offers to fill", panel.texts("previewButton") == "Fill" and panel.widget("previewButton").enabled)
    return panel


def editorWidget():
    return slicer.util.getModuleWidget("SegmentEditor").editor


def toolButton(name: str):
    return editorWidget().findChild("QToolButton", name)


def click(panel: FillPanel, name: str) -> None:
    """Click a control of the effect, and print what it answers."""
    widget = panel.widget(name)
    check(f"{name} can be clicked", widget.enabled)
    widget.click()
    print(f"  click on {name}: {panel.message}")


def waitForResult(panel: FillPanel) -> None:
    """Until the engine has answered."""
    started = time.monotonic()
    wait("the result comes", lambda: not panel.effect.isRunning() and panel.widget("applyButton").enabled)
    print(f"    after {time.monotonic() - started:.1f} s: {panel.message}")


def wait(what: str, condition) -> None:
    check(what, sh.process_events(DEADLINE, until=condition))


def check(what: str, isRight) -> None:
    """Print a statement and whether it holds."""
    print(f"  {'yes' if isRight else 'NO '}  {what}", flush=True)
    if not isRight:
        FAILED.append(what)


def dice(masks) -> list[float]:
    pairs = zip(masks, TRUTH.values(), strict=True)
    return [2 * (mask.astype(bool) & truth.astype(bool)).sum() / (mask.sum() + truth.sum()) for mask, truth in pairs]


def picture(panel: FillPanel, folder: Path | None, name: str) -> None:
    if folder:
        sh.screenshot(panel.effect.scriptedEffect.optionsFrame(), str(folder / f"fill-{name}.png"), width=400)


if __name__ == "__main__":
    main()
