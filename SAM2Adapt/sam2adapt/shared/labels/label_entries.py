"""What label values mean: names, colours and codes, by value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class LabelEntry:
    """What one label value means.

    :ivar color: red, green, blue from 0 to 1, or None. :ivar terminology: Slicer's serialized entry, or "".
    :ivar segment: the ID of a segment, or "".
    """

    name: str
    color: tuple[float, float, float] | None = None
    terminology: str = ""
    segment: str = ""


@dataclass
class LabelTable:
    """What the values of label files mean.

    :ivar source: the file that says it. :ivar entries: by label value, without background.
    :ivar ignored: values of voxels that are not annotated.
    :ivar complete: whether every value of it is meant to occur; tables of a program list hundreds that need not.
    """

    source: Path
    entries: dict[int, LabelEntry] = field(default_factory=dict)
    ignored: set[int] = field(default_factory=set)
    complete: bool = True


def color_of(parts: Sequence[str | int], largest: float) -> tuple[float, float, float] | None:
    """Red, green, blue from 0 to 1; None where the numbers are no colour.

    :param parts: the numbers, as text perhaps; :param largest: what stands for full light.
    """
    try:
        red, green, blue = (float(part) / largest for part in parts[:3])
    except ValueError:
        return None
    return (red, green, blue) if all(0 <= part <= 1 for part in (red, green, blue)) else None
