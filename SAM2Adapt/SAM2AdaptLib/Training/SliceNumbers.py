"""Numbers of slices as users write them: from 1, with commas and ranges."""

import re

from sam2adapt.shared.errors import SettingsError
from slicer.i18n import tr as _

_PART = re.compile(r"(\d+)(?:-(\d+))?")
_DASH = re.compile(r"\s*[-\u2013]\s*")


def parse(text, count):
    """The indices, from 0, that a text such as "3, 5-9" names, in order.

    :param count: number of slices.
    :raises SettingsError: the text holds something else, or a number beyond the last slice.
    """
    indices = set()
    for part in filter(None, re.split(r"[,;\s]+", _DASH.sub("-", text))):
        match = _PART.fullmatch(part)
        if not match:
            raise SettingsError(_("“{part}” is no number of a slice.").format(part=part), _("Write them like 3, 5-9."))
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            message = _("“{part}” is not within the slices 1 to {count}.").format(part=part, count=count)
            raise SettingsError(message, _("Correct the numbers."))
        indices.update(range(first - 1, last))
    return sorted(indices)


def asText(indices):
    """The text for ``parse`` that names these indices."""
    runs = []
    for index in sorted(indices):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(first + 1) if first == last else f"{first + 1}-{last + 1}" for first, last in runs)
