"""The requests that show or export results; see ``actions.py``, which has most others."""

# ruff: noqa: RUF009  # ``setting`` makes a field

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .actions import _DICOM_SEG, _SERIES, _SHOW_NAMES, DICOM_SEGS
from .fields import SERVER, SHELL, Request, setting


@dataclass(kw_only=True)
class Report(Request):
    """Make a page (HTML) with pictures and volumes of a segmented volume; from the shell also of a batch."""

    input: Path | dict[str, Any] = setting(
        "image",
        "image file, or DICOM file or folder; or the output folder of a batch",
        positional=True,
        metavar="INPUT",
    )
    labels: Path | None = setting(
        "path",
        "segmentation of the image (.seg.nrrd, label map, DICOM); not for a batch",
        None,
        about=".npy: labels (L, K, J, I), in several layers where structures overlap",
        reads=True,
    )
    output: Path = setting("path", "page to write (.html); only you can read it", flags=("-o", "--output"))
    classes: list[dict] | None = setting(
        "classes",
        'label values and names, for example "1=right ventricle,2=myocardium"; without it, taken from the labels or a'
        " file beside them",
        None,
        about="What the labels mean",
    )
    model: str = setting("text", "name of the model that made the labels, to be shown", "")
    show_names: bool = setting("switch", _SHOW_NAMES, False)
    series: str | None = setting("word", _SERIES, None, only=SHELL)


@dataclass(kw_only=True)
class ReportBatch(Request):
    """Make a page (HTML) of a batch: volumes, and a gallery to look through the results."""

    folder: Path = setting("path", "Output folder of the batch", only=SERVER, reads=True)
    output: Path = setting("path", "Page to write", only=SERVER)
    show_names: bool = setting("switch", _SHOW_NAMES, False, only=SERVER)


@dataclass(kw_only=True)
class WriteDicomSeg(Request):
    """Write labels of another process as a DICOM segmentation."""

    input: dict[str, Any] = setting("image", "The labels: array (K, J, I) and geometry", only=SERVER)
    classes: list[dict] = setting("classes", "What the labels mean", only=SERVER)
    reference: Path = setting("path", "Folder of the DICOM series on which the labels lie", only=SERVER, reads=True)
    output: Path = setting("path", ".dcm to write", only=SERVER)
    dicom_seg: str = setting("text", _DICOM_SEG, DICOM_SEGS[0], only=SERVER, choices=DICOM_SEGS, noun="DICOM SEG kind")
    model: str = setting("text", "Name of the model that made the labels; empty: drawn by hand", "", only=SERVER)
    corrected: bool = setting("switch", "Whether a user has corrected what the model made", False, only=SERVER)
