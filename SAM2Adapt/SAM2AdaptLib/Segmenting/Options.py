"""What a run is asked for beside volume and model: options of scripts, and what the engine gets of them."""

from dataclasses import dataclass

from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.requests.actions import Segment, SegmentBatch
from slicer.i18n import tr as _

from SAM2AdaptLib.Segmenting.Choices import ExistingSegments, TimePoints


@dataclass(kw_only=True)
class EngineOptions:
    """Options that the engine gets as they are, for volumes of the scene and for files.

    :ivar device: "auto", "cpu", "cuda:0" …
    :ivar structures: names of the structures to segment; None: all that the model knows.
    :ivar tta: average three scales: slower, a little better.
    :ivar postProcess: remove stray pieces and holes as the model's card says.
    :ivar anyModality: do not refuse CT for an MR model and the reverse.
    """

    device: str = Segment.device
    structures: list[str] | None = None
    tta: bool = Segment.tta
    postProcess: bool = Segment.post_process
    anyModality: bool = Segment.any_modality

    def request(self, model):
        """The parameters that all methods of the engine that segment have.

        :param model: name of a model, or path of a model file.
        :raises SettingsError: an empty list of structures.
        """
        if self.structures is not None and not self.structures:
            raise SettingsError(_("No structure was chosen."), _("Choose at least one structure."))
        return {
            "model": str(model),
            "device": self.device,
            "structures": self.structures,
            "tta": self.tta,
            "postProcess": self.postProcess,
            "anyModality": self.anyModality,
        }


@dataclass(kw_only=True)
class FolderOptions(EngineOptions):
    """Options for a batch over a folder.

    :ivar format: suffix of the files it writes: ".seg.nrrd", ".nii.gz", ".dcm" (DICOM SEG) …
    :ivar dicomSeg: kind of DICOM SEG, "BINARY" or "LABELMAP".
    """

    format: str = SegmentBatch.format
    dicomSeg: str = SegmentBatch.dicom_seg

    def request(self, model):
        return super().request(model) | {"format": self.format, "dicomSeg": self.dicomSeg}


@dataclass(kw_only=True)
class Options(EngineOptions):
    """Options for a volume of the scene.

    :ivar roiNode: vtkMRMLMarkupsROINode; outside of it nothing is labelled.
    :ivar uncertainty: also make a volume of each voxel's uncertainty, 0 to 1.
    :ivar existingSegments: "replace" gives segments of the same name their new shape, "add" adds segments under new
      names, "new" makes a new node; other segments are never touched. Also the values of ``ExistingSegments``.
    :ivar timePoints: "current", or "all" of a volume sequence. Also the values of ``TimePoints``.
    """

    roiNode: object = None
    uncertainty: bool = False
    existingSegments: ExistingSegments = ExistingSegments.REPLACE
    timePoints: TimePoints = TimePoints.CURRENT

    def __post_init__(self):
        """Take values for members.

        :raises ValueError: existingSegments or timePoints is none of the above.
        """
        self.existingSegments = ExistingSegments(self.existingSegments)
        self.timePoints = TimePoints(self.timePoints)
