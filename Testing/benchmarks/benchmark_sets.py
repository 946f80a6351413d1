"""The data sets of the accuracy benchmark: classes, settings, paper protocols, and what of each picture counts."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from relabel import SPINE, remap
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.shared.labels.annotation import IGNORE
from scipy import ndimage

ANY_WAY_UP = {"rotation": 180.0, "flips": [0, 1]}
_DARK = 35  # red level of a fundus photograph, of 255: the frame round the picture is below, the retina above


@dataclass(frozen=True)
class DataSet:
    """What the benchmark has to know of a data set.

    :param classes: names of the label values.
    :param settings: those of ``TrainSettings`` that the data ask for.
    :param steps: of the optimiser, enough to tell the methods apart.
    :param packs: folders with ``images``, ``labels`` and ``split.json``; of several, each is tested by itself.
    :param values: a pack's label values by those of the classes, None: the same.
    :param in_one: each structure is in one piece, and all together are.
    :param field_of_view: only pixels inside the round picture of the retina are evaluated.
    :param folds: of the sorted cases, every so-manyth from the first is tested on, whatever ``split.json`` says.
    :param test: part of the split to test on, if the pack has it, else ``val``.
    :param distances: what the unit of distances is.
    :param protocol: where the settings are from, for sets that repeat a paper.
    """

    classes: dict[int, str]
    settings: dict
    steps: int = 200
    packs: tuple[str, ...] = ()
    values: dict[int, int] | None = None
    in_one: bool = False
    field_of_view: bool = False
    folds: int | None = None
    test: str = "val"
    distances: str = "pixels"
    protocol: str = ""


_HEART = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
_VESSEL = {1: "vessel"}
_SYNAPSE = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
_GSAM = "arXiv 2605.05979 names the sizes; split and augmentation are those of the authors' earlier code, G-SAM"
_PAPER = {"rotation": 90.0, "flips": [1]}

SETS: dict[str, DataSet] = {
    "acdc": DataSet(_HEART, {}, in_one=True, distances="mm, at the nominal spacing"),
    "la": DataSet({1: "left atrium"}, {"axis": "axial"}, in_one=True, distances="mm"),
    "hippocampus": DataSet(
        {1: "anterior hippocampus", 2: "posterior hippocampus"},
        {"size": 128, "axis": "axial", "flips": [1]},
        in_one=True,
        distances="mm",
    ),
    "curvas2d": DataSet({1: "pancreas", 2: "kidney", 3: "liver"}, {"size": 256}),
    "spider2d": DataSet(
        {1: "vertebra", 2: "spinal canal", 3: "intervertebral disc"},
        {"size": 288, "scale": 0.35},
        values=SPINE,
    ),
    "cvc_clinicdb": DataSet({1: "polyp"}, {"size": 128, "scale": 0.4, **ANY_WAY_UP}, steps=400),
    "isbi2012": DataSet({1: "cell"}, {"size": 512, **ANY_WAY_UP}),
    "drive": DataSet(_VESSEL, {"size": 768, **ANY_WAY_UP}, field_of_view=True),
    "chasedb1": DataSet(_VESSEL, {"size": 768, **ANY_WAY_UP}, field_of_view=True),
    "vessels": DataSet(_VESSEL, {"size": 768, **ANY_WAY_UP}, packs=("drive", "chasedb1"), field_of_view=True),
}
PAPER_SETS: dict[str, DataSet] = {
    "isbi2012-256": DataSet(
        {1: "cell"}, {"size": 256, "crop": 128, **_PAPER}, packs=("isbi2012",), folds=3, protocol=_GSAM
    ),
    "isbi2012-512": DataSet({1: "cell"}, {"size": 512, **_PAPER}, packs=("isbi2012",), folds=3, protocol=_GSAM),
    "kvasir-224": DataSet(
        {1: "polyp"}, {"size": 224, **_PAPER}, packs=("kvasir",), test="test",
        protocol=f"{_GSAM}, whose folds are not published: split.json decides",
    ),
    "kvasir-352": DataSet(
        {1: "polyp"}, {"size": 352, **_PAPER}, packs=("kvasir",), test="test",
        protocol="size and split of PraNet, 900 pictures for training and 100 for testing, as SAM2-UNet has them",
    ),
    "synapse-224": DataSet(
        dict(enumerate(_SYNAPSE, start=1)), {"size": 224, "axis": "axial", "modality": "CT"}, packs=("synapse",),
        test="test", distances="mm", protocol="the 18 and 12 CTs of TransUNet, eight organs",
    ),
    "acdc-224": DataSet(
        _HEART, {"size": 224}, packs=("acdc",), test="test", distances="mm, at the nominal spacing",
        protocol="70, 10 and 20 patients of SSL4MIS; on val where the pack lacks the 20",
    ),
}  # fmt: skip
ALL_SETS = SETS | PAPER_SETS
PERMISSIVE = ("hippocampus", "spider2d", "chasedb1")  # packs whose pictures may be passed on


def has_seen(base: str, pack: str) -> bool:
    """Whether a base was pretrained on the training part of a pack: of ours, the shipped one on what may be shipped."""
    return base == "nano" and pack in PERMISSIVE


@dataclass(frozen=True)
class Parts:
    """Cases to train on, and by pack those to test on."""

    train: list[Case]
    tests: dict[str, list[Case]]


def packs_of(name: str) -> tuple[str, ...]:
    """Folders of a data set."""
    return ALL_SETS[name].packs or (name,)


def parts_of(name: str, data: Path, work: Path) -> Parts:
    """Training and test cases; what lies outside the field of view is marked as not annotated in the latter."""
    known, train, tests = ALL_SETS[name], [], {}
    for pack in packs_of(name):
        root = data / pack
        cases = find_cases(root / "images", root / "labels")
        if known.values:
            cases = remap(cases, known.values, work / "labels" / f"{pack}-values")
        own, tested = _divided(cases, root, known)
        if known.field_of_view:
            tested = [_inside(case, root, work / "labels" / pack) for case in tested]
        train += [Case(f"{pack}-{case.id}", case.image, case.label) for case in own] if known.packs[1:] else own
        tests[pack] = tested
    return Parts(train, tests)


def by_patient(cases: list[Case]) -> dict[str, list[Case]]:
    """Cases of each patient, in the order of names; acdc has two a patient, elsewhere each case counts by itself."""
    patients: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        patients.setdefault(case.id.split("_frame")[0], []).append(case)
    return patients


def to_choose(parts: Parts, count: int) -> Parts:
    """Training cases alone, those of so many drawn patients to test on, so that nothing is chosen on the test cases."""
    patients = by_patient(parts.train)
    tested = random.Random(0).sample(sorted(patients), count)
    return Parts(
        [case for name, cases in patients.items() if name not in tested for case in cases],
        {pack: [case for name in tested for case in patients[name]] for pack in list(parts.tests)[:1]},
    )


def _divided(cases: list[Case], root: Path, known: DataSet) -> tuple[list[Case], list[Case]]:
    if known.folds:
        return [c for i, c in enumerate(cases) if i % known.folds], cases[:: known.folds]
    split = read_split(root / "split.json")
    part = known.test if known.test in split else "val"
    return select(cases, split, "train"), select(cases, split, part)


def _inside(case: Case, root: Path, folder: Path) -> Case:
    """The case with labels of 255 where the picture shows no retina."""
    folder.mkdir(parents=True, exist_ok=True)
    label = sitk.ReadImage(str(case.label))
    own = root / "fov" / case.label.name
    field = sitk.ReadImage(str(own)) if own.is_file() else _retina(case.image)
    sitk.WriteImage(sitk.Mask(label, field, outsideValue=IGNORE), str(folder / case.label.name))
    return Case(case.id, case.image, folder / case.label.name)


def _retina(path: Path) -> sitk.Image:
    """Field of view of a photograph that comes without one: the largest piece that is not dark in red, filled."""
    red = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., 0]
    pieces, _ = ndimage.label(red > _DARK)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return sitk.GetImageFromArray(ndimage.binary_fill_holes(largest).astype(np.uint8))


def wanted_sets(names: str, data: Path, say: Callable[[str], None] = print) -> list[str]:
    """Names of an option: data sets by commas, ``paper`` for all paper protocols; those that are not here are left out.

    :raises SystemExit: a name that is none.
    """
    chosen = [part for name in names.split(",") for part in (PAPER_SETS if name == "paper" else [name])]
    if unknown := [name for name in chosen if name not in ALL_SETS]:
        raise SystemExit(f"There is no data set '{unknown[0]}'. Choose from {', '.join(ALL_SETS)}.")
    present = []
    for name in chosen:
        if missing := [pack for pack in packs_of(name) if not (data / pack / "images").is_dir()]:
            say(f"{name} is left out: there is no folder '{data / missing[0]}'.")
        else:
            present.append(name)
    return present
