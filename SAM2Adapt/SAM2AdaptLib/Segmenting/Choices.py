"""Parameters that are one of a few values; the panel shows their labels, and scripts give their values."""

import enum

from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import LabelImport


class ExistingSegments(enum.Enum):
    """What happens to the segments that the output segmentation has already."""

    REPLACE = LabelImport.REPLACE
    ADD = LabelImport.ADD
    NEW = "new"

    def label(self):
        return {
            ExistingSegments.REPLACE: _("Replace same names"),
            ExistingSegments.ADD: _("Add segments"),
            ExistingSegments.NEW: _("New segmentation"),
        }[self]


class TimePoints(enum.Enum):
    """Which volumes of a sequence are segmented."""

    CURRENT = "current"
    ALL = "all"

    def label(self):
        return {TimePoints.CURRENT: _("The one shown"), TimePoints.ALL: _("All")}[self]
