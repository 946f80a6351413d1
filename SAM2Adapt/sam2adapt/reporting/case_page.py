"""The page of one case: pictures, volumes, model and date."""

from dataclasses import dataclass
from datetime import datetime

from .case import Case, Size
from .page import amount, facts, figure, moment, name_of, page, table, text
from .pictures import Views

_HEIGHT, _STRIP_HEIGHT, _STRIP = 340, 170, 8  # pixels, and pictures
_MOST = 40  # structures whose names stand in the text for those who cannot see a picture


@dataclass(frozen=True)
class Origin:
    """What a page says about how a result came about; empty texts are left out.

    :ivar model: its name; ``digest``: its hash; ``measured``: how good it was where it was tested.
    """

    model: str = ""
    digest: str = ""
    measured: str = ""


def case_page(case: Case, origin: Origin, made: datetime, name: str = "") -> str:
    """The page as HTML.

    :param name: of the case, for the heading; "": none, because it may name a patient. Then also sentences about
        reading are left out, which name files.
    """
    views = Views(case)
    found = [size for size in case.sizes if size.voxels]
    shown = ", ".join(size.structure.name for size in found[:_MOST]) or "no structure"
    volume = case.volume
    spacing = " x ".join(f"{length:.3g}" for length in volume.spacing) + " mm" if volume.physical else ""
    rows = [
        ("Image", " x ".join(map(str, volume.size)) + " voxels"), ("Voxel", spacing),
        ("Modality", volume.modality), ("Model", origin.model), ("Model's hash", origin.digest[:23]),
        ("Accuracy of the model", origin.measured), ("Made", moment(made)),
    ]  # fmt: skip
    planes = "".join(figure(p, f"{p.caption}: {shown}") for p in views.planes(_HEIGHT))
    parts = [
        facts(rows),
        f'<section class="pictures">{planes}</section>',
        _table(case.sizes),
        *(f"<p>{text(note)}</p>" for note in (case.notes if name else ())),
    ]
    if volume.physical and min(volume.size) > 1:
        strip = "".join(figure(p, f"{p.caption}: {shown}") for p in views.strip(_STRIP, _STRIP_HEIGHT))
        parts += [
            "<h2>From the first to the last slice with a structure</h2>",
            f'<section class="strip">{strip}</section>',
        ]
    return page(f"Segmentation of {name}" if name else "Segmentation", parts, made)


def _table(sizes: list[Size]) -> str:
    rows = [(name_of(s.structure), amount(s.ml, s.voxels), _remark(s)) for s in sizes]
    return table(("Structure", "Volume", "Remark"), rows, numbers=(1,)) if rows else "<p>There is no structure.</p>"


def _remark(size: Size) -> str:
    if not size.voxels:
        return "not found"
    return "reaches the edge of the image: may be cut off" if size.cut else ""
