"""What SAM2Adapt does, shown on a real chest CT: Slicer's scene, the command line of the engine, Slicer's views.

1. The bundled model segments the CT, which was never in its training.
2. Every fourth slice of the CT's own segmentation is taken as drawn, and `sam2adapt fill` fills the slices between, as
   do Slicer's *Fill between slices* and *Grow from seeds*.

Every number that is printed is computed in this run. The results and two pictures are in the output folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import picture
import render
import slicer

slicer.i18n = sys.modules["slicer.i18n"] = types.SimpleNamespace(tr=str)  # slicer-core has no translations

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "SAM2Adapt"), str(ROOT / "Testing" / "support")]
sys.path.append(str(ROOT / "Testing" / "benchmarks"))

import sample  # noqa: E402  found through the lines above
import slicer_tools  # noqa: E402  found through the lines above
from SAM2AdaptLib.Scene import LabelImport, LabelMaps  # noqa: E402  found through the lines above

MODEL = "torso-ct"
EVERY = 4
OURS = "SAM2Adapt"


class Demonstration:
    """One scene with the sample CT, and what the two parts share."""

    def __init__(self, output: Path):
        output.mkdir(parents=True, exist_ok=True)
        self.output = output
        self.problem = render.renderingProblem()
        self.app = render.openApp(output / "vtk.log")
        slicer.mrmlScene = self.app.scene
        self.volumeNode = self.app.volumesLogic.AddArchetypeVolume(str(sample.volumePath()), "CTChest4", 0)
        self.reference = sample.reference()
        render.showVolume(self.volumeNode)
        self.views = None if self.problem else render.SceneViews(self.app, self.volumeNode)

    def engine(self, name: str, *command) -> tuple[slicer.vtkMRMLSegmentationNode, sample.Segments, dict]:
        """Run a command of the engine, bring its result into the scene, and save it from there.

        :param name: of the files in the output folder.
        :param command: its words, without output and report.
        :return: the segmentation node, the segments read back from the file that Slicer's storage node wrote, and what
          the command reported.
        """
        raw, report = self.output / f"{name}.engine.seg.nrrd", self.output / f"{name}.json"
        run(*command, "-o", raw, "--json", report)
        found = sample.Segments.read(raw)
        node = self.show(found, name)
        path = self.output / f"{name}.seg.nrrd"
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(path))
        if not storage.WriteData(node):
            sys.exit(f"Slicer could not write {path}")
        raw.unlink()
        print(f"saved from Slicer's scene: {shown(path)}")
        return node, sample.Segments.read(path), json.loads(report.read_text("utf-8"))

    def show(self, segments: sample.Segments, name: str, smoothing: float = 0.5):
        """A segmentation node in the scene with these segments, ready to be drawn."""
        structures = [structure.to_json() for structure in segments.structures]
        node = LabelImport.importLabels(self.volumeNode, segments.array, structures)
        node.SetName(name)
        render.showSegmentation(node, smoothing)
        return node

    def colorLikeSample(self, node) -> None:
        """Right and left apart in the pictures, as in the sample; Slicer's terminology has one colour for both."""
        colors = {structure.name: structure.color for structure in self.reference.structures}
        segmentation = node.GetSegmentation()
        for segmentId in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segmentId)
            if segment.GetName() in colors:
                segment.SetColor(*colors[segment.GetName()])


def run(*arguments) -> None:
    """One command of the engine, as a user types it; its output goes to the terminal.

    Ends this script with the command's own exit status if it fails; the command has said why.
    """
    words = [str(argument) for argument in arguments]
    print("\n$ python -m sam2adapt " + " ".join(f'"{w}"' if " " in w else w for w in map(shown, words)), flush=True)
    status = subprocess.run([sys.executable, "-m", "sam2adapt", *words], check=False).returncode
    if status:
        print(f"The command failed with exit status {status}.", file=sys.stderr)
        sys.exit(status if status > 0 else 1)


def shown(path: str | Path) -> str:
    """A path below the current folder without the folder, everything else as it is."""
    return str(path).removeprefix(f"{Path.cwd()}/")


def printTable(header: tuple[str, ...], rows: list[tuple]) -> None:
    """Names to the left, numbers to the right."""
    table = [header, *([f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    print()
    for row in table:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  " + row[0].ljust(widths[0]), *numbers, sep="   ")
    print(flush=True)


def millilitres(node) -> dict[str, str]:
    """Volume of each segment by name, counted in the scene."""
    volumes = LabelMaps.segmentVolumes(node)
    return {node.GetSegmentation().GetSegment(key).GetName(): f"{value:.1f}" for key, value in volumes.items()}


def bundledModel(demo: Demonstration) -> None:
    """Part one."""
    print(f"\n1. The bundled model '{MODEL}' segments a chest CT that it was never trained on")
    node, found, report = demo.engine("quickstart", "segment", sample.volumePath(), "--model", MODEL)
    volumes = millilitres(node)
    known = {structure.name for structure in demo.reference.structures}
    dice = {s.name: found.dice(demo.reference, s.name) for s in found.structures if s.name in known}
    printTable(
        ("structure", "mL", "Dice against the sample's own segmentation"),
        [(s.name, volumes[s.name], dice.get(s.name, "not in the sample")) for s in found.structures],
    )
    seconds = report["seconds"]
    print(
        f"{report['slices']} slices in {seconds['network']:.1f} s on {report['device']}, "
        f"{seconds['total']:.1f} s with reading and writing"
    )
    if demo.views:
        panels = panelsOf(demo, node, render.segmentBounds(node), axial="axial", coronal="coronal")
        note = (
            f"Slicer's sample CTChest4, segmented in {seconds['total']:.1f} s. "
            f"Dice against its own segmentation: {inWords(dice)}. Not for clinical use."
        )
        save(picture.compose([panels], f"SAM2Adapt: {MODEL}", render.segmentLegend(node), note), demo, "quickstart.png")


def drawnSlicesFilled(demo: Demonstration) -> None:
    """Part two."""
    truth = sample.merged(demo.reference)
    drawn, between = sample.drawnSlices(truth, EVERY)
    drawings = sample.sparse(truth, drawn, sample.NOT_DRAWN)
    print(
        f"\n2. {len(drawn)} slices are drawn; the {len(between)} between them are filled, beside Slicer's own two tools"
    )
    shutil.rmtree(demo.output / "drawn", ignore_errors=True)
    image, labels = sample.writeDrawings(demo.output / "drawn", drawings)
    names = [structure.name for structure in truth.structures]
    node, filled, report = demo.engine("filled", "fill", image, "--labels", labels, "--structures", ",".join(names))
    peers, seconds = slicersTools(drawings)
    fillings, seconds = {OURS: filled} | peers, {OURS: report["seconds"]["total"]} | seconds
    dice = {tool: [found.dice(truth, name, between) for name in names] for tool, found in fillings.items()}
    means = {tool: float(np.mean(values)) for tool, values in dice.items()}
    expected = [one["expected_dice"] for one in report["structures"]]
    printTable(
        (f"Dice on the {len(between)} slices", *fillings, "expected by fill"),
        [*zip(names, *dice.values(), expected, strict=True), ("mean", *means.values(), report["expected_dice"])],
    )
    print("seconds: " + ", ".join(f"{tool} {value:.1f}" for tool, value in seconds.items()))
    print(f"voxels changed in the drawn slices: {(filled.array != truth.array)[drawn].sum()}")
    if demo.views:
        nodes = {
            f"drawn: {len(drawn)} of {len(truth.array)} slices": demo.show(sample.sparse(truth, drawn, 0), "drawn", 0.0)
        }
        nodes[f"{OURS}: Dice {means[OURS]:.3f}"] = node
        nodes |= {f"{tool}: Dice {means[tool]:.3f}": demo.show(found, tool) for tool, found in peers.items()}
        note = f"Slicer's sample CTChest4. Dice: mean of the structures on the {len(between)} slices between."
        drawSideBySide(demo, nodes, note)


def drawSideBySide(demo: Demonstration, nodes: dict, note: str) -> None:
    """One column a segmentation, by its caption: a coronal slice above, the 3-D view below."""
    bounds = render.segmentBounds(next(iter(nodes.values())))
    columns = [panelsOf(demo, node, bounds, coronal=caption) for caption, node in nodes.items()]
    rows = [list(row) for row in zip(*columns, strict=True)]
    legend = render.segmentLegend(next(iter(nodes.values())))
    save(picture.compose(rows, "Nine drawn slices, and what becomes of them", legend, note), demo, "filled.png")


def slicersTools(drawings: sample.Segments) -> tuple[dict[str, sample.Segments], dict[str, float]]:
    """What Slicer's *Fill between slices* and *Grow from seeds* make of the same drawings, and their seconds."""
    grey = sample.read_volume(sample.volumePath()).array[0]
    made = slicer_tools.both_apart(grey, drawings.array, 0, drawings.labels.spacing)
    fillings = {
        tool: sample.Segments(drawings.labels.with_array(labels), drawings.structures)
        for tool, (labels, _) in made.items()
    }
    return fillings, {tool: seconds for tool, (_, seconds) in made.items()}


def inWords(dice: dict[str, float]) -> str:
    """One line, for a caption."""
    return ", ".join(f"{name} {value:.3f}" for name, value in dice.items())


def panelsOf(demo: Demonstration, node, bounds, **slices: str) -> list[picture.Panel]:
    """A row of panels of one segmentation alone: the slices (name and caption), then the 3-D view."""
    demo.colorLikeSample(node)
    for other in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        other.SetDisplayVisibility(other is node)
    panels = [(caption, demo.views.slice(name, bounds)) for name, caption in slices.items()]
    return [*panels, ("3-D", demo.views.surface(bounds))]


def save(image, demo: Demonstration, name: str) -> None:
    """Write a picture to the output folder and say where."""
    image.save(demo.output / name)
    print(f"picture: {shown(demo.output / name)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "Testing" / "output", help="default: Testing/output")
    arguments = parser.parse_args()
    started = time.perf_counter()
    demo = Demonstration(arguments.output.resolve())
    bundledModel(demo)
    drawnSlicesFilled(demo)
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Everything is in {shown(demo.output)}")
    if demo.problem:
        sys.exit(f"No pictures were made. {demo.problem}")


if __name__ == "__main__":
    main()
