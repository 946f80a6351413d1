"""The requests: a dataclass for each action, with the defaults, limits and help of its settings.

Command line, engine server and Slicer's panels all take them from here; ``requests/`` carries them out. ``fields.py``
explains ``setting``, ``schema.py`` names the request of each method of the engine server. Lengths are in millimetres.
"""

# ruff: noqa: RUF009  # ``setting`` makes a field

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import known_bases, presets, slicing_axis
from ..errors import SettingsError
from ..labels.image_names import OUTPUT_SUFFIXES
from ..labels.overlaps import CHOICES, LAST
from .fields import SERVER, SHELL, Request, setting

MODALITIES = ("CT", "MR", "RGB", "OTHER")
FLIPS = ("rows", "columns")  # in the order of the axes of a slice
# Kinds of DICOM SEG: the first is read by every viewer, the second is smaller and part of the standard since 2024.
DICOM_SEGS = ("BINARY", "LABELMAP")

# Help that several requests share.
_MODEL = "name of a model (`sam2adapt models` lists them), or a model file"
_DEVICE = "where to compute: auto, cpu, cuda, cuda:N or mps"
_ANY_MODALITY = "accept images that do not seem to be of the model's modality"
_SERIES = "SeriesInstanceUID to read, if a DICOM folder holds several series"
_DICOM_SEG = "kind of DICOM SEG to write, for .dcm outputs"
_IMAGES = "folder of images, or an MSD or nnU-Net dataset folder"
_OVERLAP = (
    "which segment a voxel gets where segments overlap: the first or the last of the file; refuse: none, an error"
)
_SHOW_NAMES = "show the names of files on the page; by default it has none, because they can be those of patients"
_CHANNEL = "channel of nnU-Net images to use: 0 for files that end in _0000, 1 for _0001, and so on"


@dataclass(kw_only=True)
class _Segmenting(Request):
    """What single volumes and batches have in common."""

    model: str = setting("model", _MODEL, about="Name or file")
    device: str = setting("word", _DEVICE, "auto")
    structures: list[str] | None = setting(
        "some names", "segment only these structures: names, separated by commas", None, about="Segment only these"
    )
    roi: tuple[int, ...] | None = setting(
        "box",
        "label only the voxels of this box: from I0 up to, but not including, I1, and so on; counted from 0",
        None,
        about="Label only the voxels of the box i0, i1, j0, j1, k0, k1; ends excluded",
    )
    tta: bool = setting("switch", "average the results at three image scales: slower, slightly more accurate", False)
    any_modality: bool = setting("switch", _ANY_MODALITY, False)
    post_process: bool = setting("switch", "Clean the labels as the model's card says", True, only=SERVER)
    page: Path | None = setting(
        "path", "also write a page with pictures and volumes to this file (.html); only you can read it", None,
        only=SHELL, flags=("--html",),
    )  # fmt: skip
    show_names: bool = setting("switch", _SHOW_NAMES, False, only=SHELL)


@dataclass(kw_only=True)
class Segment(_Segmenting):
    """Segment one volume: a file or DICOM folder into a file, or an array of another process into arrays."""

    input: Path | dict[str, Any] = setting("image", only=SERVER)  # the command line takes it from a batch's inputs
    labels: Path = setting("path", about=".npy to write, uint8 (K, J, I)", flags=("-o", "--output"))
    uncertainty: Path | None = setting(
        "path",
        "also write an uncertainty map, 0 (certain) to 1, to this file",
        None,
        about=".npy to write, float32 (K, J, I), 0 to 1",
    )
    series: str | None = setting("word", _SERIES, None, only=SHELL)
    reference: Path | None = setting(
        "path", "folder of the DICOM series that a .dcm output refers to, if the input is not DICOM", None, only=SHELL
    )
    dicom_seg: str = setting("text", _DICOM_SEG, DICOM_SEGS[0], only=SHELL, choices=DICOM_SEGS, noun="DICOM SEG kind")
    report: Path | None = setting(
        "path", "also write volumes, times and settings to this JSON file", None, only=SHELL, flags=("--json",)
    )


@dataclass(kw_only=True)
class SegmentBatch(_Segmenting):
    """Segment all volumes of files, folders and lists into a folder."""

    inputs: list[Path] = setting(
        "paths",
        "image file (NIfTI, NRRD, MHA, PNG, TIFF, JPEG), or DICOM file or folder. For a batch: several of them, a"
        ' folder (searched with its subfolders), or a .csv file with a column "input"',
        about="Files, folders and .csv lists",
        positional=True,
        reads=True,
        metavar="INPUT",
    )
    output: Path = setting(
        "path",
        "file to write, in the format of its suffix: .seg.nrrd (named segments), .nii.gz, .nrrd, .mha, .png or .dcm"
        " (DICOM SEG). For a batch: a folder",
        about="Folder",
        flags=("-o", "--output"),
    )
    format: str = setting(
        "text", "format of the outputs of a batch", ".seg.nrrd", about="Suffix of the outputs", choices=OUTPUT_SUFFIXES
    )
    dicom_seg: str = setting("text", _DICOM_SEG, DICOM_SEGS[0], choices=DICOM_SEGS, noun="DICOM SEG kind")


@dataclass(kw_only=True)
class Fill(Request):
    """Fill a volume from a few drawn slices: files into a file, or arrays of another process into an array.

    Drawn voxels never change. With masks or segments, a structure counts as drawn in the slices in which it has voxels,
    and in those of ``empty``. With a label map, everything counts as drawn in the slices without 255.
    """

    input: Path | dict[str, Any] = setting(
        "image", "image file, or DICOM file or folder", positional=True, metavar="IMAGE"
    )
    drawings: Path = setting(
        "path",
        "your drawings on the voxels of the image: a label map in which 255 means not drawn, or a .seg.nrrd file",
        about=".npy: one mask for each structure (S, K, J, I), or labels (K, J, I), 255 = not drawn",
        flags=("--labels",),
        reads=True,
    )
    structures: list[str] | None = setting(
        "some names",
        "names of the label values 1, 2, …, or the segments to fill; separated by commas",
        None,
        about="Names of the masks, or of the label values 1, 2, …; each once",
    )
    empty: dict[str, list[int]] = setting(
        "slices",
        'slices, counted from 0, in which a structure does not occur, for example "liver:0,12"; for several structures,'
        " repeat the option",
        {},
        about="For each structure, the slices, counted from 0, in which it does not occur",
        metavar="NAME:SLICES",
    )
    axis: str | None = setting(
        "text",
        "array axis across the drawn slices; without it, taken from the drawings",
        None,
        about="Array axis across the drawn slices; null: taken from the drawings",
        choices=slicing_axis.ARRAY_AXES,
        noun="voxel axis",
    )
    masks: Path = setting(
        "path",
        "file to write, in the format of its suffix: .seg.nrrd (named segments), .nii.gz, .nrrd or .mha",
        about=".npy to write, uint8 (S, K, J, I), 0 or 1",
        flags=("-o", "--output"),
    )
    roi: tuple[int, ...] | None = setting(
        "box",
        "i0,i1,j0,j1,k0,k1: fill only these voxels (ends excluded)",
        None,
        about="i0, i1, j0, j1, k0, k1; ends excluded: only these voxels are filled",
    )
    for_training: bool = setting(
        "switch", "write labels to train on: 255 where nothing is known, and beside them which slices were drawn",
        False, only=SHELL,
    )  # fmt: skip
    preview: Path | None = setting(
        "path", ".npy for a quick first answer, written as soon as it is ready; same form as masks", None, only=SERVER
    )
    series: str | None = setting("word", _SERIES, None, only=SHELL)
    seed: int = setting("integer", "seed of the random numbers", 0, minimum=0)
    report: Path | None = setting(
        "path",
        "also write the expected Dice, the uncertainty of each slice and the times to this JSON file",
        None,
        only=SHELL,
        flags=("--json",),
    )


@dataclass(kw_only=True)
class Evaluate(Request):
    """Measure a model on labelled cases."""

    model: str = setting("model", _MODEL, only=SHELL)
    images: Path = setting("path", _IMAGES, only=SHELL)
    labels: Path | None = setting(
        "path", "folder of label maps with the names of the images; a dataset folder needs none", None, only=SHELL
    )
    overlap: str = setting("text", _OVERLAP, LAST, only=SHELL, choices=CHOICES, noun="choice")
    channel: int = setting("integer", _CHANNEL, 0, only=SHELL, minimum=0)
    split: Path | None = setting(
        "path", 'JSON file that divides the cases: {"train": [...], "val": [...]}', None, only=SHELL
    )
    subset: str = setting(
        "text", "part of the split to measure", "val", only=SHELL, choices=("train", "val"), noun="part"
    )
    device: str = setting("word", _DEVICE, "auto", only=SHELL)
    report: Path | None = setting(
        "path", "also write all results to this JSON file", None, only=SHELL, flags=("--json",)
    )
    table: Path | None = setting(
        "path", "also write a CSV table with a row for each case and class", None, only=SHELL, flags=("--csv",)
    )


@dataclass(kw_only=True)
class _Ranking(Request):
    """What the ranking of one volume and of many have in common."""

    model: str = setting("model", _MODEL, about="Name or file")
    slices: int = setting("integer", "number of slices to name in each volume", 5, minimum=0)
    any_modality: bool = setting("switch", _ANY_MODALITY, False)
    device: str = setting("word", _DEVICE, "auto")


@dataclass(kw_only=True)
class RankVolume(_Ranking):
    """Measure how sure a model is of one volume."""

    input: Path | dict[str, Any] = setting("image or file", about="An array, or the path of an image", only=SERVER)


@dataclass(kw_only=True)
class Rank(_Ranking):
    """Sort volumes by how much a correction of them would help the model."""

    inputs: list[Path] = setting(
        "paths", "image files, or folders of image files", only=SHELL, positional=True, metavar="INPUT"
    )
    top: int | None = setting("integer", "print only the first N volumes", None, only=SHELL, minimum=1)
    report: Path | None = setting(
        "path", "also write all results to this JSON file", None, only=SHELL, flags=("--json",)
    )


_DATA, _NETWORK, _RUN, _CARD = "data", "network", "run", "model card"


@dataclass(kw_only=True)
class Train(Request):
    """Train a model from images and labels. What is None comes from the data, the model to start from, or the base."""

    images: Path = setting("path", _IMAGES, group=_DATA, reads=True)
    labels: Path | None = setting(
        "path",
        "folder of label maps with the names of the images, 255 = not annotated; a dataset folder needs none",
        None,
        about="Folder of label maps; null: as dataset.json says",
        group=_DATA,
        reads=True,
    )
    overlap: str = setting("text", _OVERLAP, LAST, choices=CHOICES, noun="choice", group=_DATA)
    channel: int = setting("integer", _CHANNEL, 0, minimum=0, group=_DATA)
    split: Path | dict | None = setting(
        "split",
        'JSON file that divides the cases: {"train": [...], "val": [...]}; without it, a fifth is kept for validation',
        None,
        about="Null: a fifth of the cases is kept for validation",
        group=_DATA,
    )
    groups: Path | dict[str, str] | None = setting(
        "groups",
        'JSON file {"case": "patient", ...}: cases of one patient stay in the same part of the split',
        None,
        about="Group of each case, for instance the patient; a group is not divided",
        group=_DATA,
    )
    all_for_training: bool = setting(
        "switch", "train on all cases, without validation, and keep the last epoch", False, group=_DATA
    )
    classes: list[dict] | None = setting(
        "classes",
        'label values and names, for example "1=right ventricle,2=myocardium"; without it, taken from a file beside the'
        " labels",
        None,
        about="Null: as a file beside the labels says",
        group=_DATA,
    )
    modality: str | None = setting(
        "text", "modality of the images; without it, taken from the images", None, choices=MODALITIES, group=_DATA,
        about="Null: taken from the images",
    )  # fmt: skip
    filled_weight: float = setting(
        "number",
        "weight of slices that were filled between drawn ones, which weigh 1; their pixels at an outline do not count",
        1.0,
        minimum=0,
        maximum=1,
        group=_DATA,
    )
    axis: str | None = setting(
        "text", "axis to cut slices along; without it, chosen from the images", None, choices=slicing_axis.AXES,
        noun="slicing axis", group=_DATA, about="Axis to cut slices along; null: chosen from the images",
    )  # fmt: skip
    size: int | None = setting(
        "integer",
        "longest side of a typical slice in the network, pixels; without it, chosen from the images",
        None,
        about="Longest side of a typical slice in the network, pixels; null: chosen from the images",
        minimum=16,
        group=_DATA,
    )
    preset: str | None = setting(
        "text",
        f"base, method and size in one word: {', '.join([*presets.PRESETS][:-1])} or {[*presets.PRESETS][-1]}",
        None,
        choices=tuple(presets.PRESETS),
        metavar="PRESET",
        group=_NETWORK,
    )
    base: str | None = setting(
        "text",
        f"base network: {', '.join(known_bases.NAMES)} or a file (default: {known_bases.NANO})",
        None,
        group=_NETWORK,
    )
    method: str | None = setting(
        "text",
        f"adaptation method: {', '.join(presets.METHODS[:-1])} or {presets.METHODS[-1]} (default: {presets.METHOD})",
        None,
        group=_NETWORK,
    )
    settings: dict = setting(
        "settings",
        "a setting of the method; for several, repeat the option",
        {},
        about="Settings of the method",
        flags=("--set",),
        metavar="NAME=VALUE",
        group=_NETWORK,
    )
    peg: str | None = setting(
        "text",
        "position encoding generator: add it to the base's position encodings, replace them by it, or none"
        f" (default: {presets.PEG_ADD})",
        None,
        choices=presets.PEG_MODES,
        noun="position encoding generator",
        group=_NETWORK,
    )
    train_upscaling: bool | None = setting(
        "switch", "train the decoder's upscaling, too (default: only with the base nano)", None, group=_NETWORK
    )
    init: str | None = setting(
        "model",
        "model to start from; it decides base, method and their settings",
        None,
        about="Model to start from, name or file",
        group=_NETWORK,
    )
    allow_forgetting: bool = setting(
        "switch", "write the model even if it is clearly worse at what the model of --init could do", False,
        about="Write the model even if it is clearly worse at what the model it started from could do", group=_NETWORK,
    )  # fmt: skip
    quick: bool = setting(
        "switch", "train head and decoder only, on features that are computed once", False, group=_NETWORK
    )
    epochs: int = setting("integer", "passes over the training slices", 100, minimum=1, group=_RUN)
    steps: int | None = setting(
        "integer", "number of optimiser steps, instead of --epochs", None, minimum=1, group=_RUN,
        about="Number of optimiser steps, instead of epochs",
    )  # fmt: skip
    max_minutes: float | None = setting(
        "number", "stop after this time, even if epochs are left", None, above=0, group=_RUN
    )
    patience: int | None = setting(
        "integer", "stop after this number of validations without improvement", None, minimum=1, group=_RUN
    )
    batch_size: int = setting("integer", "slices in each step", 8, minimum=1, group=_RUN)
    learning_rate: float | None = setting(
        "number", "learning rate (default: 0.003 for a new model on nano, else 0.001)", None, above=0, group=_RUN,
        about="Null: 0.003 for a new model on nano, else 0.001",
    )  # fmt: skip
    base_learning_rate: float = setting("number", "Of weights that SAM2 had", 3e-4, above=0, only=SERVER)
    weight_decay: float = setting("number", None, 1e-4, minimum=0, only=SERVER)
    warmup: float = setting(
        "number", "Share of the run in which the learning rate rises", 0.05, minimum=0, below=1, only=SERVER
    )
    clip: float = setting("number", "Largest norm of the gradient", 1.0, above=0, only=SERVER)
    ema: float = setting("number", "Decay of the moving average of the weights", 0.99, minimum=0, below=1, only=SERVER)
    validate_every: int | None = setting("integer", "Epochs between validations", None, minimum=1, only=SERVER)
    crop: int | None = setting(
        "integer", "side of the square training crops, pixels; without it, chosen from the images", None, minimum=16,
        about="Side of the square training crops, pixels; null: chosen from the images", group=_RUN,
    )  # fmt: skip
    rotation: float = setting("number", "largest rotation in augmentation, degrees", 20.0, minimum=0, group=_RUN)
    scale: float = setting(
        "number", "largest relative change of size in augmentation", 0.25, minimum=0, below=1, group=_RUN
    )
    flips: list[str] = setting(
        "names",
        "mirror training images along rows, columns or rows,columns; only where left and right are alike",
        [],
        about="Mirror training images along these axes; only where left and right are alike",
        choices=FLIPS,
        noun="axis to mirror along",
        group=_RUN,
    )
    seed: int = setting("integer", "seed of the random numbers", 0, minimum=0, group=_RUN)
    resume: bool = setting("switch", "continue an interrupted run after its last complete epoch", False, group=_RUN)
    device: str = setting("word", _DEVICE, "auto", group=_RUN)
    output: Path = setting("path", "model file to write, .safetensors", flags=("-o", "--output"), group=_CARD)
    name: str | None = setting("text", "name of the model (default: that of the file)", None, group=_CARD)
    description: str = setting("text", "what the model is for", "", group=_CARD)
    license: str = setting("word", "licence of the model", "unspecified", group=_CARD)
    data_summary: str = setting("text", "what the model is trained on, and where the data come from", "", group=_CARD)
    largest_component: list[str] = setting(
        "names", "classes of which segmenting keeps only the largest piece", [], group=_CARD
    )
    largest_together: list[str] = setting(
        "names", "classes of which segmenting keeps only the largest piece that they form together", [], group=_CARD
    )
    keep_pieces: bool = setting(
        "switch",
        "keep all pieces of organs; without it, segmenting keeps only the largest piece of those that three or more"
        " training volumes show in one piece, if that costs no Dice",
        False,
        group=_CARD,
    )
    fill_holes: list[str] = setting("names", "classes whose holes segmenting fills", [], group=_CARD)
    minimum_ml: float = setting("number", "segmenting drops smaller pieces, millilitres", 0.0, minimum=0, group=_CARD)
    preview: Path | None = setting(
        "path", ".npy for the predicted labels of the first validation case", None, only=SERVER
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset and self.method:
            raise SettingsError(
                f"The preset '{self.preset}' includes a method, so '{self.method}' cannot be chosen beside it.",
                "Leave out the preset or the method.",
                setting=("preset", "method"),
            )
