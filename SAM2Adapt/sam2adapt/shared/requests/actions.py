"""The requests: one dataclass an action, with defaults, limits and help, whoever asks (command line, server, panel).

``requests/`` carries them out. A field is described by its ``Setting`` (``fields.py``); ``schema.py`` says
which request each method of the engine server takes. Lengths are in millimetres.
"""

# ruff: noqa: RUF009  # ``setting`` makes a field

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import known_bases, presets, slicing_axis
from ..errors import SettingsError
from ..labels.image_names import OUTPUT_SUFFIXES
from ..labels.overlaps import CHOICES, LAST
from ..protocol import ACTIONS
from .fields import SERVER, SHELL, Request, setting

MODALITIES = ("CT", "MR", "RGB", "OTHER")
FLIPS = ("rows", "columns")  # their numbers are axes of a slice
DICOM_SEGS = ("BINARY", "LABELMAP")  # what every viewer reads; smaller, and of the standard of 2024
_DICOM_SEG = "kind of a .dcm output (default: BINARY)"
_ONE = "name of a model or a model file"
_OVERLAP = "segment that a voxel of several gets, in the file's order (default: last)"
_CHANNEL = "of nnU-Net's images: 1 for _0001 (default: 0)"


@dataclass(kw_only=True)
class _Segmenting(Request):
    """What single volumes and batches have in common."""

    model: str = setting("model", "name of a model (see `sam2adapt models`) or a model file", about="Name or file")
    device: str = setting(
        "word", "auto, cpu, cuda, cuda:N or mps (default: auto)", "auto", about="auto, cpu, cuda, cuda:N or mps"
    )
    structures: list[str] | None = setting("some names", "only these, by name, separated by commas", None)
    roi: tuple[int, ...] | None = setting(
        "box",
        "i0,i1,j0,j1,k0,k1: label only these voxels (ends excluded)",
        None,
        about="i0, i1, j0, j1, k0, k1; ends excluded",
    )
    tta: bool = setting("switch", "average three scales: slower, a little better", False)
    any_modality: bool = setting("switch", "do not refuse another modality than the model's", False)
    post_process: bool = setting("switch", "Clean the labels as the model's card says", True, only=SERVER)


@dataclass(kw_only=True)
class Segment(_Segmenting):
    """Segment one volume: a file or DICOM folder into a file, or an array of another process into arrays."""

    input: Path | dict[str, Any] = setting("image", only=SERVER)  # the command line takes it from a batch's inputs
    labels: Path = setting("path", about=".npy to write, uint8 (K, J, I)", flags=("-o", "--output"))
    uncertainty: Path | None = setting(
        "path", "also write each voxel's uncertainty, 0 to 1", None, about=".npy to write, float32 (K, J, I), 0..1"
    )
    series: str | None = setting("word", "SeriesInstanceUID, for a DICOM folder with several series", None, only=SHELL)
    reference: Path | None = setting(
        "path", "folder of the DICOM series that a .dcm output refers to, if the input is not DICOM", None, only=SHELL
    )
    dicom_seg: str = setting("text", _DICOM_SEG, "BINARY", only=SHELL, choices=DICOM_SEGS, noun="kind of DICOM SEG")
    report: Path | None = setting("path", "also write volumes, times and settings", None, only=SHELL, flags=("--json",))


@dataclass(kw_only=True)
class SegmentBatch(_Segmenting):
    """Segment all volumes of files, folders and lists into a folder."""

    inputs: list[Path] = setting(
        "paths",
        "NIfTI, NRRD, MHA, PNG, TIFF or JPEG file, DICOM file or folder; for a batch several of them, a folder that is "
        'searched with all below it, or a .csv file with a column "input"',
        about="Files, folders and .csv lists",
        positional=True,
        metavar="INPUT",
    )
    output: Path = setting(
        "path",
        ".seg.nrrd (named segments), .nii.gz, .nrrd, .mha, .png, .dcm (DICOM SEG); for a batch a folder",
        about="Folder",
        flags=("-o", "--output"),
    )
    format: str = setting(
        "text",
        "of a batch's outputs (default: .seg.nrrd)",
        ".seg.nrrd",
        about="Suffix of the outputs",
        choices=OUTPUT_SUFFIXES,
    )
    dicom_seg: str = setting("text", _DICOM_SEG, "BINARY", choices=DICOM_SEGS, noun="kind of DICOM SEG")


@dataclass(kw_only=True)
class Fill(Request):
    """Fill a volume from a few drawn slices: files into a file, or arrays of another process into an array.

    Drawn voxels never change. Where masks or segments are given, a structure is drawn in the slices in which it has
    voxels, and in those of ``empty``; where a label map is, everything is drawn in the slices without 255.
    """

    input: Path | dict[str, Any] = setting(
        "image", "volume file, or DICOM file or folder", positional=True, metavar="IMAGE"
    )
    drawings: Path = setting(
        "path",
        "drawings on the voxels of the image: a label map, 255 = not drawn, or a .seg.nrrd",
        about=".npy: one mask a structure (S, K, J, I), or labels (K, J, I), 255 = not drawn",
        flags=("--labels",),
    )
    structures: list[str] | None = setting(
        "some names",
        "names of the label values 1, 2, …, or the segments to fill, separated by commas",
        None,
        about="Names of the masks, or of the label values 1, 2, …; each once",
    )
    empty: dict[str, list[int]] = setting(
        "slices",
        'slices in which a structure is drawn as empty, counted from 0: "liver:0,12"',
        {},
        about="By structure, the slices, counted from 0, in which it is drawn as empty",
        metavar="NAME:SLICES",
    )
    axis: str | None = setting(
        "text",
        "voxel axis across the drawn slices (default: as they lie)",
        None,
        about="Array axis across the drawn slices; left out: as they lie",
        choices=slicing_axis.ARRAY_AXES,
        noun="voxel axis",
    )
    masks: Path = setting(
        "path",
        ".seg.nrrd (named segments), .nii.gz, .nrrd, .mha",
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
        "path", ".npy to write as soon as there is a first answer, of the same form as masks", None, only=SERVER
    )
    series: str | None = setting("word", "SeriesInstanceUID, for a DICOM folder with several series", None, only=SHELL)
    seed: int = setting("integer", "of what is learnt from the drawn slices (default: 0)", 0, minimum=0)
    report: Path | None = setting(
        "path", "also write expected Dice, uncertainty of each slice, and times", None, only=SHELL, flags=("--json",)
    )


@dataclass(kw_only=True)
class Evaluate(Request):
    """Measure a model on labelled cases."""

    model: str = setting("model", _ONE, only=SHELL)
    images: Path = setting("path", "folder of images, or an MSD / nnU-Net folder", only=SHELL)
    labels: Path | None = setting("path", "folder of labels of the same names", None, only=SHELL)
    overlap: str = setting("text", _OVERLAP, LAST, only=SHELL, choices=CHOICES, noun="choice")
    channel: int = setting("integer", _CHANNEL, 0, only=SHELL, minimum=0)
    split: Path | None = setting("path", 'JSON {"train": [...], "val": [...]}', None, only=SHELL)
    subset: str = setting(
        "text", "part of the split (default: val)", "val", only=SHELL, choices=("train", "val"), noun="part"
    )
    device: str = setting("word", None, "auto", only=SHELL)
    report: Path | None = setting("path", "write all numbers here", None, only=SHELL, flags=("--json",))
    table: Path | None = setting("path", "write one line a case and class here", None, only=SHELL, flags=("--csv",))


@dataclass(kw_only=True)
class _Ranking(Request):
    """What the ranking of one volume and of many have in common."""

    model: str = setting("model", _ONE, about="Name or file")
    slices: int = setting("integer", "slices to name in each volume (default: 5)", 5, minimum=0)
    any_modality: bool = setting("switch", "do not refuse another modality than the model's", False)
    device: str = setting("word", None, "auto")


@dataclass(kw_only=True)
class RankVolume(_Ranking):
    """Measure how sure a model is of one volume."""

    input: dict[str, Any] = setting("image", only=SERVER)


@dataclass(kw_only=True)
class Rank(_Ranking):
    """Put volumes into the order in which they are worth correcting."""

    inputs: list[Path] = setting("paths", "image files, or folders of them", only=SHELL, positional=True)
    top: int | None = setting("integer", "print only so many volumes", None, only=SHELL, minimum=1)
    report: Path | None = setting("path", "also write all numbers here", None, only=SHELL, flags=("--json",))


_DATA, _NETWORK, _RUN, _CARD = "data", "network", "run", "model card"


@dataclass(kw_only=True)
class Train(Request):
    """Train a model from images and labels. What is None comes from the data, the model to start from, or the base."""

    images: Path = setting("path", "folder of images, or an MSD / nnU-Net folder", group=_DATA)
    labels: Path | None = setting(
        "path",
        "folder of label maps of the same names; 255 = not annotated",
        None,
        about="Folder of label maps; left out: as dataset.json says",
        group=_DATA,
    )
    overlap: str = setting("text", _OVERLAP, LAST, choices=CHOICES, noun="choice", group=_DATA)
    channel: int = setting("integer", _CHANNEL, 0, minimum=0, group=_DATA)
    split: Path | dict | None = setting(
        "split",
        'JSON {"train": [...], "val": [...]}; without it a fifth is held out',
        None,
        about="Without it a fifth is held out",
        group=_DATA,
    )
    groups: Path | dict[str, str] | None = setting(
        "groups",
        'JSON {"case": "patient"}: cases that a drawn split keeps together',
        None,
        about="Of cases that a drawn split keeps together, those of a patient for instance",
        group=_DATA,
    )
    all_for_training: bool = setting("switch", "hold nothing out: no validation, last epoch kept", False, group=_DATA)
    classes: list[dict] | None = setting(
        "classes",
        'label values and names, as in "1=right ventricle,2=myocardium"',
        None,
        about="Left out: as a file beside the labels says",
        group=_DATA,
    )
    modality: str | None = setting("text", "without it: read from the data", None, choices=MODALITIES, group=_DATA)
    filled_weight: float = setting(
        "number", "weight of slices that were filled; drawn ones weigh 1 (default: 0.5)", 0.5, minimum=0, maximum=1,
        about="Of slices that were filled between drawn ones, which weigh 1", group=_DATA,
    )  # fmt: skip
    axis: str | None = setting(
        "text", "slicing axis", None, choices=slicing_axis.AXES, noun="slicing axis", group=_DATA
    )
    size: int | None = setting(
        "integer",
        "pixels of the longest side of a typical slice for the network",
        None,
        minimum=16,
        group=_DATA,
    )
    preset: str | None = setting(
        "text",
        f"{', '.join([*presets.PRESETS][:-1])} or {[*presets.PRESETS][-1]}: base, method and size in one word",
        None,
        choices=tuple(presets.PRESETS),
        metavar="PRESET",
        group=_NETWORK,
    )
    base: str | None = setting(
        "text", f"{', '.join(known_bases.NAMES)} or a file (default: {known_bases.NANO})", None, group=_NETWORK
    )
    method: str | None = setting(
        "text",
        f"{', '.join(presets.METHODS[:-1])} or {presets.METHODS[-1]} (default: {presets.METHOD})",
        None,
        group=_NETWORK,
    )
    settings: dict = setting(
        "settings",
        "a setting of the method",
        {},
        about="Of the method",
        flags=("--set",),
        metavar="NAME=VALUE",
        group=_NETWORK,
    )
    peg: str | None = setting(
        "text",
        f"position encoding generator (default: {presets.PEG_ADD})",
        None,
        choices=presets.PEG_MODES,
        noun="position encoding generator",
        group=_NETWORK,
    )
    train_upscaling: bool | None = setting("switch", "also the decoder's upscaling", None, group=_NETWORK)
    init: str | None = setting(
        "model",
        "model to start from; base, method and settings are then its own",
        None,
        about="Model to start from, name or file",
        group=_NETWORK,
    )
    allow_forgetting: bool = setting(
        "switch", "also take a model that has lost what the one of --init knew", False, group=_NETWORK,
        about="Also take a model that has lost what the one it started from knew",
    )  # fmt: skip
    quick: bool = setting("switch", "train head and decoder only, on features computed once", False, group=_NETWORK)
    epochs: int = setting("integer", None, 100, minimum=1, group=_RUN)
    steps: int | None = setting(
        "integer", "steps of the optimiser, in the place of --epochs", None, minimum=1, group=_RUN,
        about="Of the optimiser, in the place of epochs",
    )  # fmt: skip
    max_minutes: float | None = setting("number", "end after this time, whatever the epochs", None, above=0, group=_RUN)
    patience: int | None = setting(
        "integer", "end after so many validations without a gain", None, minimum=1, group=_RUN
    )
    batch_size: int = setting("integer", None, 8, minimum=1, group=_RUN)
    learning_rate: float | None = setting(
        "number", "(default: 0.003 for a new model on nano, else 0.001)", None, above=0, group=_RUN,
        about="Left out: 0.003 for a new model on nano, else 0.001",
    )  # fmt: skip
    base_learning_rate: float = setting("number", "Of weights that SAM2 had", 3e-4, above=0, only=SERVER)
    weight_decay: float = setting("number", None, 1e-4, minimum=0, only=SERVER)
    warmup: float = setting("number", "Share of the run in which the rate rises", 0.05, minimum=0, below=1, only=SERVER)
    clip: float = setting("number", "Largest norm of the gradient", 1.0, above=0, only=SERVER)
    ema: float = setting("number", "Decay of the moving average of the weights", 0.99, minimum=0, below=1, only=SERVER)
    validate_every: int | None = setting("integer", "Epochs between validations", None, minimum=1, only=SERVER)
    crop: int | None = setting("integer", "side of the training crops, pixels", None, minimum=16, group=_RUN)
    rotation: float = setting("number", "largest rotation in augmentation, degrees", 20.0, minimum=0, group=_RUN)
    scale: float = setting(
        "number", "largest change of size in augmentation (default: 0.25)", 0.25, minimum=0, below=1, group=_RUN
    )
    flips: list[str] = setting(
        "names",
        "rows, columns: mirror where left and right are alike",
        [],
        choices=FLIPS,
        noun="axis to mirror along",
        group=_RUN,
    )
    seed: int = setting("integer", None, 0, minimum=0, group=_RUN)
    resume: bool = setting("switch", "go on from the run's last whole epoch", False, group=_RUN)
    device: str = setting("word", None, "auto", group=_RUN)
    output: Path = setting("path", "model file to write, .safetensors", flags=("-o", "--output"), group=_CARD)
    name: str | None = setting("text", "name of the model (default: the file's)", None, group=_CARD)
    description: str = setting("text", None, "", group=_CARD)
    license: str = setting("word", "licence of the model", "unspecified", group=_CARD)
    data_summary: str = setting("text", "what it was trained on, from where", "", group=_CARD)
    largest_component: list[str] = setting("names", "classes of which only the largest piece is kept", [], group=_CARD)
    largest_together: list[str] = setting(
        "names", "classes side by side: keep their largest piece as one", [], group=_CARD
    )
    fill_holes: list[str] = setting("names", "classes whose holes are filled", [], group=_CARD)
    minimum_ml: float = setting("number", "drop smaller pieces", 0.0, minimum=0, group=_CARD)
    preview: Path | None = setting("path", "File for the first validation case's labels, .npy", None, only=SERVER)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset and self.method:
            raise SettingsError(
                f"The preset '{self.preset}' has a method of its own, so no method can be chosen beside it.",
                "Leave the preset or the method out.",
                setting=("preset", "method"),
            )


@dataclass(kw_only=True)
class ListDevices(Request):
    """List what can compute here."""


@dataclass(kw_only=True)
class Shutdown(Request):
    """End the engine server."""


@dataclass(kw_only=True)
class SeriesFiles(Request):
    """Name the files of a batch's DICOM study in the order of their positions."""

    input: Path = setting("path", "As the manifest has it", only=SERVER)
    series: str = setting("word", "As the manifest has it", only=SERVER)


@dataclass(kw_only=True)
class Cancel(Request):
    """End a request without a result."""

    id: int | str = setting("id", only=SERVER)


@dataclass(kw_only=True)
class Control(Request):
    """Tell a training to hold, go on, or end now and keep the best; a batch to end now and keep what is done."""

    id: int | str = setting("id", only=SERVER)
    action: str = setting("text", only=SERVER, choices=ACTIONS)
