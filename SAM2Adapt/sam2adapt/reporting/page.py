"""Makes a page: one file that needs no other, in which no text of a file is obeyed.

Every text is escaped. A content security policy in the page lets the browser load nothing, and run and apply only the
script and the style that the policy names by their hashes.
"""

import base64
import hashlib
import html
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

from .. import __version__
from ..imaging.terminology import Structure
from ..shared.files import atomic_write
from ..shared.safety.private import FILE_MODE
from ..shared.safety.texts import visible
from .pictures import Picture

_NO_DEVICE = "Not a medical device. Check every result before you use it; do not use it for diagnosis or treatment."


def text(value: object) -> str:
    """A text for a page or for an attribute in double quotes: escaped, and with control characters made visible."""
    return html.escape(visible(str(value)))


def page(title: str, parts: Iterable[str], made: datetime, script: str = "") -> str:
    """A whole page.

    :param title: as plain text; ``parts``: as HTML.
    :param script: name of a script in this folder.
    """
    style, code = _resource("page.css"), _resource(script) if script else ""
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}"
    policy += f"; script-src {_hash(code)}" if code else ""
    head = [
        '<meta charset="utf-8">',
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{text(title)}</title>",
        f"<style>{style}</style>",
    ]
    foot = f"<footer><p>{_NO_DEVICE}</p><p>Made by SAM2Adapt {__version__} on {moment(made)}.</p></footer>"
    body = [f"<h1>{text(title)}</h1>", *parts, foot, f"<script>{code}</script>" if code else ""]
    return "\n".join(
        ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</body></html>"]
    )


def write_page(path: Path, content: str) -> None:
    """Write a page that only this user can read; it is complete or does not change.

    :raises OutputError: as ``files.atomic_write``.
    """
    with atomic_write(path, FILE_MODE) as file:
        file.write(content.encode("utf-8", "replace"))


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values, without those that are empty."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows if value not in ("", None))
    return f'<dl class="facts">{rows}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int]) -> str:
    """A table; cells are HTML.

    :param numbers: the columns that hold numbers.
    """

    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=number' if n in numbers else ''}>{cell}</{kind}>" for n, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(picture: Picture, what: str = "") -> str:
    """A picture with its caption.

    :param what: what it shows, for those who cannot see it.
    """
    return (
        f'<figure><img src="{picture.data}" width="{picture.width}" height="{picture.height}"'
        f' alt="{text(what or picture.caption)}"><figcaption>{text(picture.caption)}</figcaption></figure>'
    )


def name_of(structure: Structure) -> str:
    """A structure's name beside its colour."""
    red, green, blue = (round(255 * part) for part in structure.color)
    colour = f"#{red:02x}{green:02x}{blue:02x}"
    return f'<svg class="swatch" viewBox="0 0 9 9" aria-hidden="true"><rect width="9" height="9" fill="{colour}"/></svg>{text(structure.name)}'  # noqa: E501


def amount(ml: float | None, voxels: int) -> str:
    """A volume, or pixels where there is none."""
    return f"{voxels} pixels" if ml is None else f"{ml:.2f} mL" if ml < 10 else f"{ml:.1f} mL"


def moment(made: datetime) -> str:
    return made.strftime("%Y-%m-%d %H:%M")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
