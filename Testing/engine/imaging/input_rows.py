"""The rows of the table of inputs: what people really have, and what each gives now.

A row is one cell of the matrices of ``input_cells``, or several, or a function here where more than one file is read.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import slicerio
from file_samples import AFFINE, RAS, chest, nifti, nrrd
from input_cells import DICOM, FILES
from PIL import Image
from sam2adapt.evaluation.cases import Case, case_labels, find_cases, named_cases
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.evaluation.load_case import load_case
from sam2adapt.evaluation.metrics import aggregate, case_metrics
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, read_labels, read_volume, write_labels
from sam2adapt.segmenting.slices import check_modality
from sam2adapt.shared.errors import ModalityError, UserError

SEGMENTATIONS = Path(slicerio.__file__).parent / "data"
FORMS = ("sform", "qform")
LUNG = [describe(1, "lung")]


@dataclass(frozen=True)
class Row:
    """One input.

    :ivar kind: its kind: 1 header against reader, 2 ends against all, 3 identity, 4 entrances.
    :ivar what: the input, as a user has it. :ivar right: what is right.
    :ivar cells: names of cells, "form: what". :ivar run: gives what happens now, where there are no cells.
    :ivar says: a regular expression for that.
    """

    kind: int
    what: str
    right: str
    cells: tuple[str, ...] = ()
    run: Callable[[Path], str] | None = None
    says: str = ""

    def now(self) -> str:
        """What the row gives now."""
        if self.run is None:
            return "; ".join(dict.fromkeys(outcome(cell) for cell in DICOM_AND_FILES if named(cell) in self.cells))
        with tempfile.TemporaryDirectory() as folder:
            try:
                text = self.run(Path(folder))
            except UserError as error:
                text = f"refused: {error}"
            return text.replace(f"{folder}/", "")


DICOM_AND_FILES = (*DICOM, *FILES)


def named(cell) -> str:
    return f"{cell.form}: {cell.what}"


def outcome(cell) -> str:
    """What reading a cell gives now: the volume in words, or the refusal."""
    if cell.make is None:
        return f"the format cannot say it: {getattr(cell, 'reason', '') or cell.what}"
    with tempfile.TemporaryDirectory() as folder, heard() as warnings:
        path = cell.make(Path(folder))
        try:
            volume = read_volume(*(path if isinstance(path, tuple) else (path,)))
            if model := getattr(cell, "model", ""):
                check_modality(volume, model, "torso-ct")
            text = described(volume)
        except UserError as error:
            text = f"refused: {error.message}"
        return " ".join([text, *warnings]).replace(f"{folder}/", "").replace(folder, "…")


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """What the engine says as warnings, which the shell prints."""
    words: list[str] = []
    handler, engine = logging.Handler(), logging.getLogger("sam2adapt")
    handler.emit = lambda record: words.append(record.getMessage())
    propagated, engine.propagate = engine.propagate, False
    engine.addHandler(handler)
    try:
        yield words
    finally:
        engine.removeHandler(handler)
        engine.propagate = propagated


def described(volume: Volume) -> str:
    """Grid, values and millilitres above 200 of a volume, with its notes."""
    size, values = " x ".join(map(str, volume.size)), f"{volume.array.min():g} to {volume.array.max():g}"
    ml = f", {float((volume.array > 200).sum()) * volume.voxel_ml:.1f} mL above 200" if volume.physical else ""
    return " ".join([f"read: {size}, {values}{ml}", *volume.notes])


def lungs() -> np.ndarray:
    """Labels of CTChest4: air in the body, more or less."""
    return (chest() < -500).astype(np.uint8)


def image(path: Path, array: np.ndarray | None = None) -> Path:
    """A NIfTI file of CTChest4, or of an array (K, J, I) in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return nifti(path, array)


def pair(folder: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    """Image and label of one name, read as a training reads them."""
    image(folder / "images" / "a.nii.gz")
    (folder / "labels").mkdir()
    nib.save(nib.Nifti1Image(labels.T, RAS @ affine), folder / "labels" / "a.nii.gz")
    (case,) = find_cases(folder / "images", folder / "labels")
    volume, values = load_case(case, LUNG)
    return " ".join([f"read: {int((values == 1).sum())} voxels of the lung", *volume.notes])


def scaled_labels(folder: Path) -> str:
    return pair(folder, np.where(lungs() == 1, np.float32(0.99998), np.float32(0)))


def labels_slightly_off(folder: Path) -> str:
    affine = AFFINE.copy()
    affine[0, 3] += 0.005
    return pair(folder, lungs(), affine)


def labels_of_another_grid(folder: Path) -> str:
    affine = AFFINE.copy()
    affine[1, 3] += 47
    return pair(folder, lungs(), affine)


def output_keeps_forms(folder: Path) -> str:
    other = AFFINE.copy()
    other[1, 3] += 47
    volume = read_volume(nifti(folder / "a.nii.gz", sform=other, qform=AFFINE, codes=(2, 1)))
    write_labels(folder / "out.nii.gz", volume.with_array(lungs()), LUNG)
    source, result = nib.load(folder / "a.nii.gz").header, nib.load(folder / "out.nii.gz").header
    same = np.array_equal(source.get_sform(), result.get_sform()) and np.allclose(
        source.get_qform(), result.get_qform()
    )
    codes = [int(header[f"{form}_code"]) for header in (source, result) for form in FORMS]
    return f"{' '.join(volume.notes)} Result: the input's forms {'kept' if same else 'lost'}, codes {codes[2:]}"


def images_beside_segmentations(folder: Path) -> str:
    for name in ("c0", "c1"):
        nrrd(folder / f"{name}.nrrd")
        (folder / f"{name}.seg.nrrd").write_bytes((SEGMENTATIONS / "Segmentation.seg.nrrd").read_bytes())
    return "pairs: " + ", ".join(f"{case.image.name} with {case.label.name}" for case in find_cases(folder, folder))


def labels_with_endings(folder: Path) -> str:
    said: list[str] = []
    for name in ("c0", "c1", "c2"):
        image(folder / "i" / f"{name}.nii.gz", chest()[:2])
    for name in ("c0", "c1"):
        image(folder / "l" / f"{name}_seg.nii.gz", lungs()[:2].astype(np.int16))
    found = find_cases(folder / "i", folder / "l", say=said.append)
    return f"{len(found)} pairs. {' '.join(said)}"


def several_channels(folder: Path) -> str:
    said: list[str] = []
    for channel in ("_0000", "_0001"):
        image(folder / "i" / f"a{channel}.nii.gz", chest()[:2])
    image(folder / "l" / "a.nii.gz", lungs()[:2].astype(np.int16))
    (case,) = find_cases(folder / "i", folder / "l", 1, said.append)
    return f"channel 1 chosen: {case.image.name}. {' '.join(said)}"


def overlapping(folder: Path) -> str:
    path = SEGMENTATIONS / "SegmentationOverlapping.seg.nrrd"
    return " ".join(read_labels(path, overlap="last").notes)


def dataset(folder: Path, labels: dict, values: np.ndarray) -> tuple:
    (folder / "labelsTr").mkdir()
    image(folder / "imagesTr" / "a_0000.nii.gz", chest()[:2])
    nib.save(nib.Nifti1Image(values.T, RAS @ AFFINE), folder / "labelsTr" / "a.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    said: list[str] = []
    cases, structures = named_cases(folder, None, say=said.append)
    shown = ", ".join(f"{structure.id} = {structure.name}" for structure in structures)
    present = np.unique(case_labels(cases[0]).array).tolist()
    return f"classes {shown}; values {present}. {' '.join(said)}"


def class_1035(folder: Path) -> str:
    return dataset(folder, {"background": 0, "insula": 1035}, lungs()[:2].astype(np.int32) * 1035)


def ignored(folder: Path) -> str:
    values = lungs()[:2].copy()
    values[:, :9] = 3
    return dataset(folder, {"background": 0, "lung": 1, "ignore": 3}, values)


def regions(folder: Path) -> str:
    return dataset(folder, {"background": 0, "whole": [1, 2], "core": [2]}, lungs()[:2])


def masks_of_255(folder: Path) -> str:
    image(folder / "i" / "a.nii.gz")
    nib.save(nib.Nifti1Image(lungs().T * np.uint8(255), RAS @ AFFINE), folder / "a.nii.gz")
    evaluate(SimpleNamespace(structures=LUNG), [Case("a", folder / "i" / "a.nii.gz", folder / "a.nii.gz")])
    return "measured"


def jpeg_masks(folder: Path) -> str:
    Image.fromarray(lungs()[17] * 255).save(folder / "a.jpg")
    return f"read: {read_labels(folder / 'a.jpg').size}"


def distances(folder: Path) -> str:
    box = np.zeros((3, 9, 9), np.uint8)
    box[1, 2:6, 2:6] = 1
    results = {
        name: case_metrics(found, truth, [1], (1.0, 1.0, 1.0))
        for name, found, truth in (("right", box, box), ("missed", box * 0, box), ("invented", box, box * 0))
    }
    summary = aggregate(results, LUNG)
    return f"HD95 {summary['hd95']['lung']}, {summary['left_out']['lung']} of 3 cases left out"


def ct_not_in_hu(folder: Path) -> str:
    volume = read_volume(image(folder / "a.nii.gz", (chest() + 1024).clip(0, 4094)))
    try:
        check_modality(volume, "CT", "torso-ct")
    except ModalityError as error:
        return f"refused: {error}"
    return described(volume)


def nifti_cell(what: str) -> tuple[str, ...]:
    return tuple(f"{form}: {what}" for form in ("NIfTI-1", "NIfTI-2", "pair"))


READ = "the file that was named"
SKIPPED = "skipped; the class is read from its own element"
ROWS = (
    Row(1, "A.nii.gz beside an unrelated A.nii", READ, ("NIfTI-1: a.nii.gz beside another a.nii",)),
    Row(1, "NIfTI: sform sheared, qform without the shear, both codes 1", "refused; the remedy names _Tilt_1",
        nifti_cell("sform sheared, qform not, both codes 1")),
    Row(1, "NRRD, MHA with sheared axes", "one rule for all formats",
        ("NRRD: sheared by 10 degrees", "NRRD: (2,0.6,0) (0,2,0) (0,0,5)", "MetaImage: sheared by 10 degrees")),
    Row(1, "NIfTI scl_slope 0, scl_inter -1024", "no scaling", ("NIfTI-1: slope 0, intercept -1024",)),
    Row(1, "NIfTI sform of code 2, another qform of code 1", "said, and results keep forms and codes",
        run=output_keeps_forms, says=r"the qform was used.*forms kept, codes \[2, 1\]"),
    Row(1, "NIfTI with both codes 0", "read, and said", ("NIfTI-1: both codes 0",)),
    Row(1, "residual shear of 1e-4, and of 0.05 voxels", "read, with a word from 0.01 voxels on",
        ("NIfTI-1: shear of 1e-4", "NIfTI-1: shear of 0.05 voxels at the farthest corner")),
    Row(1, ".hdr/.img pairs, Analyze, .nii that is gzip", "read",
        ("pair: the .img is named", "Analyze: nothing but voxel sizes", "NIfTI-1: .nii that is gzip")),
    Row(1, "Enhanced multi-frame CT or MR whose rescale differs from frame to frame", "per frame",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row.startswith("Enhanced multi-frame"))),
    Row(1, "multi-frame CT without frame positions", "refused for CT and MR",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row.startswith("multi-frame CT without"))),
    Row(1, "MONOCHROME1 CT", "HU untouched", tuple(f"{c.form}: {c.what}" for c in DICOM if c.row == "MONOCHROME1 CT")),
    Row(1, "CT not in HU (0..4094), as NIfTI", "the check of modality names HU", run=ct_not_in_hu,
        says=r"refused: .*Hounsfield units \(HU\)"),
    Row(1, "CT not in HU (0..4094), as DICOM", "the check of modality names HU",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row.startswith("CT not in HU"))),
    Row(1, "uncompressed DICOM whose PixelData is shorter than declared", "refused",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row.startswith("uncompressed DICOM"))),
    Row(1, "header claims 10 GB with kilobytes of data", "refused before allocation",
        ("NIfTI-1: 10 GB claimed, 256 bytes stored", "NIfTI-1: 10 GB claimed by a gzip file of 400 bytes",
         *(f"{c.form}: {c.what}" for c in DICOM if c.row.startswith("header claims 10 GB")))),
    Row(2, "CT series whose slices 12 to 25 lie 40 mm to the side", "refused, says which slices",
        ("single: slices 12 to 25 lie 40 mm to the side",)),
    Row(3, "two series whose images share SOPInstanceUIDs", "only true copies are dropped",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row.startswith("two series whose"))),
    Row(3, "c0.nrrd and c0.seg.nrrd in one folder", "paired as the panel does", run=images_beside_segmentations,
        says="c0.nrrd with c0.seg.nrrd, c1.nrrd with c1.seg.nrrd"),
    Row(3, "3 images, 2 labels named c0_seg.nii.gz", "paired, and said", run=labels_with_endings,
        says="2 pairs. 1 image without label left out: c2.nii.gz"),
    Row(3, "channels _0000 and _0001", "said, and a choice", run=several_channels,
        says="a_0001.*Channel 0 .* left out"),
    Row(3, "overlapping segments flattened", "said with voxel counts, and a choice", run=overlapping,
        says=r"segments overlap: \d+ voxels of '.+' count as '.+' \(\d+\)"),
    *(Row(4, c.row, SKIPPED, (f"{c.form}: {c.what}",)) for c in DICOM if c.row.startswith("CT slices beside")),
    Row(4, "CT + RTDOSE", "listed, not segmented",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row == "CT + RTDOSE")),
    Row(4, "dataset.json with class 1035", "renumbered", run=class_1035, says="classes 1 = insula; values .0, 1."),
    Row(4, 'nnU-Net "ignore": 3', "not annotated", run=ignored, says=r"classes 1 = lung; values \[0, 1, 255\]"),
    Row(4, "nnU-Net regions that overlap", "refused by name", run=regions, says="regions that overlap .'whole' = 1"),
    Row(4, "masks of 0 and 255", "explained", run=masks_of_255, says="refused: .*masks of 0 and 255"),
    Row(4, "labels of 0.99998 as nibabel scales them", "read", run=scaled_labels, says=r"read: \d{5,} voxels"),
    Row(4, "label origin 0.005 mm off on 3 mm voxels", "read", run=labels_slightly_off, says=r"read: \d{5,} voxels"),
    Row(4, "label origin 47 mm off", "refused with both values", run=labels_of_another_grid,
        says=r"refused: .*labels/a.nii.gz.*images/a.nii.gz.*origin \(.*\) against \("),
    Row(4, "JPEG masks", "says that JPEG cannot keep labels", run=jpeg_masks, says="refused: .*cannot keep labels"),
    Row(4, "JPEG XL and other unsupported compressions in DICOM", "refused by name",
        tuple(f"{c.form}: {c.what}" for c in DICOM if c.row.endswith(" DICOM"))),
    Row(4, "bzip2 NRRD", "refused by name", ("NRRD: bzip2",)),
    Row(4, "HD95 of one perfect, one missed, one invented case", "the number of cases left out stands beside it",
        run=distances, says="HD95 0.0, 2 of 3"),
)  # fmt: skip
