"""How long Slicer has to wait for our part of the work, with a folder and a scene of 200 cases.

    python Testing/benchmarks/responsiveness.py --images DATA/acdc/images [--count 200]

For each action the longest stretch of our event handlers without a return to the event loop, in ms of the main
thread's processor time, so that other programs do not count. Slicer's own loading and writing of files is measured
apart. The engine is one that answers at once: only Slicer's side is measured, in the small Slicer of ``Testing/host``.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["QT_QPA_PLATFORM"] = "offscreen"
TESTING = Path(__file__).resolve().parents[1]
REPOSITORY = TESTING.parent
sys.path[:0] = [str(TESTING / name) for name in ("gui", "host", "support")] + [str(REPOSITORY / "SAM2Adapt")]
MODEL = "torso-ct@1.0.0"
_LOADING: list[float] = []  # ms of Slicer's own loading and writing since the last look


class Rounds:
    """Measures each round of the event loop, by a timer that is always due."""

    def __init__(self, qt):
        self._last = time.thread_time()
        self.longest = 0.0
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._tick)
        self._timer.start(0)

    def _tick(self):
        now = time.thread_time()
        self.longest = max(self.longest, 1000 * (now - self._last) - sum(_LOADING))
        _LOADING.clear()
        self._last = time.thread_time()

    def begin(self):
        """Forget what was."""
        _LOADING.clear()
        self._last, self.longest = time.thread_time(), 0.0


class Bench:
    """Actions on the panel of the training module."""

    def __init__(self, host, folder):
        import qt
        import slicer
        from example_engines import ScriptedEngine

        self.host, self.slicer, self.folder = host, slicer, folder
        self.engine = ScriptedEngine()
        host.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        self.widget = host.loadModule(REPOSITORY / "SAM2AdaptTraining" / "SAM2AdaptTraining.py")
        self.widget.logic.engine = self.widget.logic.modelEngine = self.engine
        slicer.util.selectModule("SAM2AdaptTraining")
        self.widget.enter()
        logics = slicer.modules.volumes.logic(), slicer.modules.segmentations.logic()
        slicer.util.loadVolume = apart(
            lambda path: logics[0].AddArchetypeVolume(path, Path(path).name.partition(".")[0], 0)
        )
        slicer.util.loadSegmentation = apart(logics[1].LoadSegmentationFromFile)
        self._rounds = Rounds(qt)
        self.rows = []

    def measure(self, name, action, until=lambda: True):
        """Do something, and note the longest stretch until it is over."""
        self._rounds.begin()
        action()
        self.host.processEvents(600, until=until)
        self.host.processEvents(0.2)
        self.rows.append((name, self._rounds.longest))
        print(f"{name}: {self._rounds.longest:.0f} ms", flush=True)

    def answer(self):
        """Let the engine answer what it was asked for."""
        for request in self.engine.requests[:]:
            self.engine.requests.remove(request)
            if request.method == "segment":
                labels = boxes(np.load(request.params["input"]["array"], mmap_mode="r").shape)
                request.answer(labels, [{"id": k, "name": f"s{k}"} for k in (1, 2, 3)])
            elif request.method == "rank":
                parts = {"uncertainty": 0.1, "disagreement": 0.1, "score": 0.1, "found": True, "slices": []}
                request.sendResult({"name": "x", **parts})
            elif request.method == "measureCase":
                request.sendResult({"dice": {"mean": 0.9}})


def apart(function):
    """The function, whose time does not count as ours."""

    def timed(*arguments):
        began = time.thread_time()
        try:
            return function(*arguments)
        finally:
            _LOADING.append(1000 * (time.thread_time() - began))

    return timed


def boxes(shape):
    """Labels of three boxes, on all slices."""
    labels = np.zeros(shape, np.uint8)
    for k in (1, 2, 3):
        labels[:, 20 * k : 20 * k + 15, 20:60] = k
    return labels


def worklist(bench, images):
    """A worklist from its beginning to a training."""
    from SAM2AdaptLib.Worklist import OpenCase

    storage = bench.slicer.vtkMRMLSegmentationStorageNode

    class Storage(storage):
        WriteData = apart(storage.WriteData)

    OpenCase.slicer.vtkMRMLSegmentationStorageNode = Storage
    section, slicer = bench.widget._worklist, bench.slicer
    ui = section.ui
    ui.worklistCollapsibleButton.collapsed = False
    ui.imagesEdit.currentPath, ui.folderEdit.currentPath = str(images), str(bench.folder / "work")
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.findData(MODEL))
    ui.afterSpinBox.value = 1000
    bench.measure("open a worklist", ui.openButton.click)

    def rank():
        section._work()
        bench.host.processEvents()
        bench.answer()

    bench.measure("note how unsure the model is of a case", rank)
    for entry in section.worklist.entries[3:]:
        entry.state = "learnt"
    section.update()
    bench.measure("open the next case", ui.nextButton.click)
    bench.measure("send it for segmenting", ui.segmentButton.click)
    bench.measure("import the result", bench.answer)
    slicer.util.selectModule("SAM2AdaptTraining")
    bench.measure("Done", ui.doneButton.click)
    bench.measure("note the accuracy", bench.answer)
    correction = section.worklist.correction(section.worklist.inState("done")[0])
    for entry in section.worklist.entries[3:]:
        os.link(correction, section.worklist.correction(entry))
        entry.isComplete = True
    bench.measure("prepare a training with all corrections", ui.trainButton.click,
                  lambda: any(request.method == "train" for request in bench.engine.requests))  # fmt: skip
    section.leave()
    slicer.mrmlScene.Clear(0)


def scene(bench, images, count):
    """The table of cases, filled from the scene and from a folder."""
    from SAM2AdaptLib.Scene import LabelImport

    slicer, widget, pairs = bench.slicer, bench.widget, []
    for path in sorted(images.iterdir())[:count]:
        volume = slicer.util.loadVolume(str(path))
        labels = boxes(slicer.util.arrayFromVolume(volume).shape)
        pairs.append(
            (volume, LabelImport.importLabels(volume, labels, [{"id": k, "name": f"s{k}"} for k in (1, 2, 3)]))
        )
    inputs = widget._inputs

    def isOver():
        return not inputs.isLooking and len(inputs.cases) == count

    bench.measure("Add from scene", widget.ui.addSceneButton.click, isOver)
    segmentation = pairs[0][1].GetSegmentation()
    bench.measure("an edit of a segment", lambda: segmentation.GetNthSegment(0).Modified())
    bench.host.processEvents(1)
    bench.measure("leave the module", widget.exit)
    bench.measure("enter it again", widget.enter, isOver)
    slicer.mrmlScene.Clear(0)


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAM2ADAPT_HOME"], os.environ["SAM2ADAPT_ENGINE_PYTHON"] = home, sys.executable
        import host

        images = Path(home) / "images"
        images.mkdir()
        files = sorted(path for path in arguments.images.iterdir() if path.name.endswith((".nii.gz", ".nrrd")))
        for number in range(arguments.count):
            source = files[number % len(files)].resolve()
            (images / f"{number:03}-{source.name}").symlink_to(source)
        bench = Bench(host.boot(), Path(home))
        worklist(bench, images)
        scene(bench, images, arguments.count)
        print("\n| action | longest stretch, ms |\n| --- | --- |")
        for name, milliseconds in bench.rows:
            print(f"| {name} | {milliseconds:.0f} |")
        if bench.host.records.slotErrors:
            sys.exit("\n".join(bench.host.records.slotErrors))
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
