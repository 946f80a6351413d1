"""Seconds from the click on Auto-segment to the segmentation in the scene, with a warm engine.

The panel itself is clicked, in the small Slicer of `Testing/gui/host`; the engine is the real one. The parts are
transfer (volume to file), engine (from the request to its answer), import (labels to segments) and the rest (statistics
of the result, the panel). Each figure is the median of the clicks.

python Testing/benchmarks/click_to_segmentation.py [--volume FILE ...] [--clicks N] [--model NAME] [--json FILE]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing" / "host"), str(REPOSITORY / "SAM2Adapt")]
import host  # noqa: E402

DEADLINE = 3600  # seconds for one click
PARTS = ("total", "transfer", "engine", "network", "import", "other")


def main() -> None:
    """Click, measure, print a table, and write the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", type=Path, action="append", default=[], help="beside slicerio's CTChest4")
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--model", default="torso-ct")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import slicerio

    paths = [Path(slicerio.__file__).parent / "data" / "CTChest4.nrrd", *args.volume]
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("SAM2ADAPT_HOME", home)
        os.environ["SAM2ADAPT_ENGINE_PYTHON"] = sys.executable
        slicerHost = host.boot()
        panel = Panel(slicerHost, args.model)
        rows = [panel.measure(path, args.clicks) for path in paths]
        slicerHost.unloadModule("SAM2Adapt")
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


class Panel:
    """The module as a user has it open.

    :param slicerHost: the small Slicer.
    :param model: name of the model.
    """

    def __init__(self, slicerHost, model: str):
        self._host = slicerHost
        self._widget = slicerHost.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        models = [found for found in self._widget.logic.models() if found.name == model]
        if not models:
            sys.exit(f"There is no model '{model}' on this computer.")
        self._widget._parameterNode.model = models[0].id

    def measure(self, path: Path, clicks: int) -> dict:
        """Medians for one volume; the first click, which warms the engine, is not counted.

        :return: "volume", "voxels" (I, J, K), "slices", "device", "first" (seconds of the click that was not counted),
            and of the others the parts (seconds).
        """
        import slicer

        node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), path.name.partition(".")[0], 0)
        self._host.processEvents()
        self._widget.ui.inputSelector.setCurrentNode(node)
        measured = [self._click() for _ in range(clicks + 1)]
        result = self._widget._run._control.job.result
        row = {
            "volume": node.GetName(),
            "voxels": list(node.GetImageData().GetDimensions()),
            "slices": result["slices"],
            "device": result["device"],
            "first": measured[0]["total"],
        }
        slicer.mrmlScene.RemoveNode(node)
        return row | {part: statistics.median(click[part] for click in measured[1:]) for part in PARTS}

    def _click(self) -> dict[str, float]:
        started = time.perf_counter()
        self._widget.ui.applyButton.click()
        finished = self._host.processEvents(DEADLINE, until=lambda: self._widget.ui.applyButton.text != "Cancel")
        total = time.perf_counter() - started
        job = self._widget._run._control.job
        if not finished or job.state != "done":
            sys.exit(f"No segmentation: {self._widget.ui.statusLabel.text}")
        self._widget.ui.undoButton.click()
        parts = {name: job.seconds[name] for name in ("transfer", "engine", "import")}
        rest = {"network": job.result["seconds"]["network"], "other": total - sum(parts.values())}
        return {"total": total, **parts, **rest}


def show(rows: list[dict]) -> None:
    """Print a table; network is a part of engine."""
    print(f"{'volume':<16}{'voxels':<14}{'device':<8}" + "".join(f"{part:>10}" for part in ("first", *PARTS)))
    for row in rows:
        voxels = "x".join(map(str, row["voxels"]))
        numbers = "".join(f"{row[part]:>9.2f}s" for part in ("first", *PARTS))
        print(f"{row['volume']:<16}{voxels:<14}{row['device']:<8}{numbers}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Qt's and VTK's objects can crash while Python takes them down, when all is done and written
