"""Parameters that are one of a few values; the panel shows their labels."""

import enum

from slicer.i18n import tr as _


class ExistingSegments(enum.Enum):
    """What happens to the segments that the output segmentation has already."""

    REPLACE = "replace"
    ADD = "add"
    NEW = "new"

    def label(self):
        return {
            "replace": _("Replace those of the same name"),
            "add": _("Add new segments"),
            "new": _("Make a new segmentation"),
        }[self.value]


class TimePoints(enum.Enum):
    """Which volumes of a sequence are segmented."""

    CURRENT = "current"
    ALL = "all"

    def label(self):
        return {"current": _("The one shown"), "all": _("All")}[self.value]
