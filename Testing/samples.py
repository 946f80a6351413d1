"""Make the sample data of Slicer's Sample Data module, in SAM2Adapt/Resources/Samples; needs the public data sets.

    python Testing/samples.py --data FOLDER

Each bundled model has a case that it was not trained on, of a data set whose licence allows it to be passed on. The
training module has a chest CT with a few drawn slices. Images are copied as they are; README.md beside them says where
each comes from, with licence and SHA-256.
"""

import argparse
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "SAM2Adapt"), str(ROOT / "Testing" / "support")]

import sample  # noqa: E402  found through the line above
from sam2adapt.imaging.volume import read_volume, write_labels  # noqa: E402
from sam2adapt.reporting.case import Case  # noqa: E402
from sam2adapt.reporting.pictures import Views  # noqa: E402

FOLDER = ROOT / "SAM2Adapt" / "Resources" / "Samples"
DRAWN = (4, 8, 12, 16, 20, 24, 28)  # axial slices that the training sample shows as drawn
THUMBNAIL = 256  # pixels
_HEAD = """# Sample data

What Slicer's module *Sample Data* shows in the group *SAM2Adapt*. Made by `python Testing/samples.py --data FOLDER`.
The files of data sets are copied as they are, and no model was trained on them.

| file | for | from | licence | bytes | SHA-256 |
| --- | --- | --- | --- | --- | --- |
"""
_TAIL = """
To cite: Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 2022 (hippocampus); van der
Graaf et al., "Lumbar spine segmentation in MR images: a dataset and a public benchmark", Scientific Data 11, 2024
(spine); Fraz et al., "An ensemble classification-based approach applied to retinal blood vessel segmentation", IEEE
TBME 59(9), 2012 (retina).
"""


@dataclass(frozen=True)
class Sample:
    """A file of a data set.

    :ivar source: below the folder of data sets; "" for what is made here.
    """

    file: str
    source: str
    purpose: str
    origin: str
    licence: str


IMAGES = (
    Sample("hippocampus.nii.gz", "hippocampus/images/hippocampus_006.nii.gz", "`hippocampus-mr`",
           "Medical Segmentation Decathlon, Task04, hippocampus_006", "CC BY-SA 4.0"),
    Sample("lumbar-spine.png", "spider2d/images/1139_12.png", "`lumbar-spine-mr`",
           "SPIDER lumbar spine data set, patient 1139, a sagittal T2 slice turned head up", "CC BY 4.0"),
    Sample("retina.jpg", "chasedb1/images/10L.jpg", "`retinal-vessels`", "CHASE_DB1, image 10L", "CC BY 4.0"),
    Sample("chest.nrrd", "", "training", "Slicer's sample CTChest at lower resolution, of the package slicerio", "MIT"),
    Sample("chest-drawn.seg.nrrd", "", "training",
           f"the segmentation of that package, in {len(DRAWN)} of its slices only", "MIT"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SAM2ADAPT_DATA"), help="folder of the data sets")
    data = parser.parse_args().data or sys.exit("Give the folder of the data sets (--data).")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for one in IMAGES:
        if one.source:
            shutil.copyfile(Path(data) / one.source, FOLDER / one.file)
    shutil.copyfile(sample.volumePath(), FOLDER / "chest.nrrd")
    structures = _draw()
    _thumbnail("chest", structures)
    for name in ("hippocampus.nii.gz", "lumbar-spine.png", "retina.jpg"):
        _thumbnail(name)
    rows = [f"| `{one.file}` | {one.purpose} | {one.origin} | {one.licence} | {_facts(one.file)} |" for one in IMAGES]
    (FOLDER / "README.md").write_text(_HEAD + "\n".join(rows) + "\n" + _TAIL)


def _draw() -> Case:
    """Write the drawn slices of the chest CT."""
    segments = sample.merged(sample.reference())
    labels = np.zeros_like(segments.array)
    labels[list(DRAWN)] = segments.array[list(DRAWN)]
    volume = read_volume(FOLDER / "chest.nrrd")
    write_labels(FOLDER / "chest-drawn.seg.nrrd", segments.labels.with_array(labels), segments.structures, volume)
    return Case(volume, [labels], segments.structures)


def _thumbnail(name: str, case: Case | None = None) -> None:
    case = case or Case(read_volume(FOLDER / name), [], [])
    picture = Views(case).planes(THUMBNAIL)[0].image
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL))
    picture.thumbnail(square.size)
    square.paste(picture, ((THUMBNAIL - picture.width) // 2, (THUMBNAIL - picture.height) // 2))
    square.quantize(64).save(FOLDER / f"{name.partition('.')[0]}-thumbnail.png", optimize=True)


def _facts(name: str) -> str:
    content = (FOLDER / name).read_bytes()
    return f"{len(content)} | {hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    main()
