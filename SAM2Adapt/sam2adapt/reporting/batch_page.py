"""The page of a batch: a table of the volumes, and a gallery to look through the results for quality control."""

import json
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime

from .case import Case
from .flags import UNREAD, flags_of
from .page import amount, facts, figure, page, table, text
from .pictures import Views

_HEIGHT = 190  # pixels
_MOST_PICTURES = 1000  # studies with pictures, about 25 kB each: a page of more opens slowly
_KEYS = (
    ("arrows", "go from study to study"), ("Enter", "show a study large, and close it"), ("M", "mark it"),
    ("N", "go to the next study with a remark"), ("/", "search"),
)  # fmt: skip

#: The case of a row of the manifest; None if it cannot be read any more.
Read = Callable[[dict], Case | None]


def batch_page(
    manifest: dict,
    read: Read,
    made: datetime,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The page as HTML.

    :param manifest: content of ``manifest.json``.
    :param read: called for studies that are done, flagged ones first, at most 1,000 times.
    :param names: of the studies; None: they are numbered as the rows of the manifest, because names can be those of
        patients. Then messages are left out, too.
    :param progress: called with the number of studies drawn, and how many will be.
    """
    rows = manifest["studies"]
    flags = flags_of(rows)
    pictures = _pictures(rows, flags, read, progress or (lambda done, total: None))
    structures = list(dict.fromkeys(s["name"] for row in rows for s in row["structures"]))
    counts = manifest["counts"]
    summary = facts([
        ("Studies", f"{counts['done']} segmented, {counts['failed']} failed, {counts['open']} not done yet"),
        ("With a remark", sum(map(bool, flags))), ("Model", manifest["model"]),
        ("Model's hash", str(manifest["digest"])[:23]),
        ("Names", "" if names else "Numbers are the rows of manifest.csv below its heading."),
    ])  # fmt: skip
    cards = [
        _card(number, row, names and names[number], flags[number], structures, pictures.get(number, ""))
        for number, row in enumerate(rows)
    ]
    parts = [summary, _volumes(rows, structures), _tools(structures), f'<main class="gallery">{"".join(cards)}</main>',
             '<dialog id="large"></dialog>']  # fmt: skip
    return page("Segmentations of a batch", parts, made, "gallery.js")


def _pictures(
    rows: Sequence[dict], flags: list[list[str]], read: Read, progress: Callable[[int, int], None]
) -> dict[int, str]:
    """Pictures of the studies by the number of the row; a study that cannot be read gets a flag."""
    done = [number for number, row in enumerate(rows) if row["status"] == "done"]
    chosen = sorted(done, key=lambda number: not flags[number])[:_MOST_PICTURES]
    pictures = {}
    for count, number in enumerate(chosen):
        progress(count, len(chosen))
        case = read(rows[number])
        if case is None:
            flags[number].append(UNREAD)
        else:
            if _is_changed(case, rows[number]):
                flags[number].append("changed since the run")
            pictures[number] = "".join(figure(picture) for picture in Views(case).planes(_HEIGHT))
    progress(len(chosen), len(chosen))
    return pictures


def _is_changed(case: Case, row: dict) -> bool:
    """Whether the segmentation differs from what the run wrote; then the row gets the volumes of today."""
    today = {size.structure.name: size for size in case.sizes}
    changed = any(s["voxels"] != (today[s["name"]].voxels if s["name"] in today else 0) for s in row["structures"])
    changed |= any(size.voxels for name, size in today.items() if name not in {s["name"] for s in row["structures"]})
    if changed:
        row["structures"] = [
            {"id": size.structure.id, "name": name, "voxels": size.voxels, "ml": size.ml}
            for name, size in today.items()
        ]
    return changed


def _card(number: int, row: dict, name: str | None, flags: list[str], structures: Sequence[str], pictures: str) -> str:
    sizes = {s["name"]: s for s in row["structures"]}
    values = [_value(sizes[name]) if name in sizes else None for name in structures]
    listed = "".join(
        f"<li>{text(s['name'])} <span>{amount(s['ml'], s['voxels'])}</span></li>"
        for s in row["structures"] if s["voxels"]
    )  # fmt: skip
    title = name or f"Study {number + 1}"
    remarks = "".join(f'<li class="flag">{text(flag)}</li>' for flag in flags)
    message = f'<p class="message">{text(row["message"])}</p>' if row["message"] and name else ""
    data = f'data-number="{number + 1}" data-flags="{len(flags)}" data-values="{text(json.dumps(values))}"'
    return (
        f'<article class="study" tabindex="-1" {data}><h3>{text(title)}</h3>'
        f'<ul class="flags">{remarks}</ul><div class="views">{pictures}</div>'
        f'<ul class="sizes">{listed}</ul>{message}</article>'
    )


def _value(size: dict) -> float:
    return size["voxels"] if size["ml"] is None else round(size["ml"], 4)


def _volumes(rows: Sequence[dict], structures: Sequence[str]) -> str:
    """For each structure, in how many studies it was found, and its volumes there."""
    lines = []
    for name in structures:
        found = [s for row in rows for s in row["structures"] if s["name"] == name and s["voxels"]]
        values = [_value(s) for s in found]
        physical = bool(found) and all(s["ml"] is not None for s in found)
        cells = [
            amount(value if physical else None, round(value)) for value in
            ((statistics.median(values), min(values), max(values)) if values else ())
        ]  # fmt: skip
        lines.append((text(name), str(len(found)), *(cells or ["-"] * 3)))
    return table(("Structure", "Studies", "Median", "Smallest", "Largest"), lines, numbers=range(1, 5)) if lines else ""


def _tools(structures: Sequence[str]) -> str:
    """The controls of the gallery; its script shows them."""
    options = "".join(f'<option value="{n}">{text(name)}</option>' for n, name in enumerate(structures))
    keys = ", ".join(f"<kbd>{key}</kbd> {what}" for key, what in _KEYS)
    return f"""<form class="tools" hidden>
<label>Order <select id="order"><option value="number">as in the manifest</option>
<option value="flags">with remarks first</option><option value="small">smallest first</option>
<option value="large">largest first</option></select></label>
<label>Structure <select id="structure">{options}</select></label>
<label>From <input id="from" type="number" min="0" step="any"></label>
<label>to <input id="to" type="number" min="0" step="any"></label>
<label>Show <select id="show"><option value="all">all</option><option value="flagged">with remarks</option>
<option value="marked">marked</option><option value="unmarked">not marked</option></select></label>
<label>Search <input id="search" type="search"></label>
<output id="count"></output>
<p class="keys">{keys}. Marked: <output id="marked">none</output>. The address of this page keeps the marks.</p>
</form>"""
