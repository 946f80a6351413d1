"""What the values of plain label maps mean, as users write it: "1=liver, 2=spleen"."""

import re

from sam2adapt.shared.errors import ClassesError
from slicer.i18n import tr as _

_PART = re.compile(r"(\d{1,3})\s*[=:]\s*(.+)")


def parse(text):
    """Dict from label value to name.

    :raises ClassesError: the text is of another form, or names a value twice.
    """
    names = {}
    for part in filter(None, (part.strip() for part in re.split("[,;\n]", text))):
        match = _PART.fullmatch(part)
        if not match or not 1 <= int(match[1]) <= 255:
            message = _("“{part}” does not name a label value from 1 to 255.").format(part=part)
            raise ClassesError(message, _("Write the names like 1=liver, 2=spleen."))
        if int(match[1]) in names or match[2] in names.values():
            message = _("“{part}” repeats a value or a name.").format(part=part)
            raise ClassesError(message, _("Give each value its own name."))
        names[int(match[1])] = match[2]
    return names
