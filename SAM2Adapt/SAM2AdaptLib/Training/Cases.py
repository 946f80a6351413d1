"""Cases to train on: a volume with its segmentation, which of its slices are annotated, and what is wrong with it."""

import numpy as np
import slicer
from sam2adapt.shared import protocol, slicing_axis
from sam2adapt.shared.errors import ClassesError, GeometryError, TrainingDataError, UserError
from sam2adapt.shared.labels import annotation
from sam2adapt.shared.labels.drawn_slices import FILLED, NOT_ANNOTATED, write_drawn_slices
from sam2adapt.shared.labels.overlaps import FIRST, LAST, REFUSE, overlap_notes
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import LabelExport, LabelMaps, SliceTags, VolumeGrid, VolumeModality, Volumes, VolumeTransfer
from SAM2AdaptLib.Training import CaseFiles
from SAM2AdaptLib.Training.FilledSlices import FilledSlices

TRAIN, VALIDATE, IGNORE = "train", "validate", "ignore"

#: Attribute of a segmentation node: whether all slices are annotated or only some; absent: as the segments look.
ANNOTATED_ATTRIBUTE = "SAM2Adapt.Annotated"
ALL, SOME = "all", "some"

_FEWEST_OF_A_WHOLE = 4  # one to three neighbouring slices are more likely a start than all of a structure
_OUTSIDE = 0.01  # share of a segmentation that may stick out of the volume, as edges do after resampling


class Segment:
    """One segment of a case.

    :ivar id, name, terminology, color: as in the segmentation; terminology is Slicer's serialized entry.
    :ivar voxels: how many voxels of the volume it has; None where that was not counted.
    :ivar mayBeAbsent: whether it comes from a table of hundreds of structures, most of which the file does not show.
    """

    def __init__(self, id, name, terminology="", color=None, voxels=None, mayBeAbsent=False):  # noqa: A002  as in Slicer
        self.id, self.name, self.terminology, self.color, self.voxels = id, name, terminology, color, voxels
        self.mayBeAbsent = mayBeAbsent


class TrainingCase:
    """What all cases have in common; see ``SceneCase`` and ``FolderCases.FileCase``.

    :ivar name: what the user reads.
    :ivar use: "train", "validate" or "ignore".
    :ivar volumeNode, segmentationNode: nodes in the scene; None for a case that lies in files.
    :ivar annotatedSlices: numbers of the slices that are annotated, along ``axis``; None: as the label file says.
    :ivar filledSlices: those of them that were filled between drawn ones, which weigh less; None: as the file says.
    :ivar isWhole: whether all slices are annotated; None: as the label file says.
    :ivar sliceCount: number of slices along ``axis``; None where the file was not read.
    :ivar hasOverlap: whether segments of the case overlap, as far as that is known.
    :ivar isEmpty: whether nothing is drawn and no slice is declared empty.
    :ivar problems: list of UserError; a case that has one cannot be used.
    :ivar notes: list of sentences that the user should know.
    """

    volumeNode = segmentationNode = annotatedSlices = filledSlices = isWhole = sliceCount = axis = None
    hasOverlap = isEmpty = False
    #: Segment that a voxel of several gets: "first" or "last" in their order; "refuse" makes it a problem.
    overlap = LAST

    def __init__(self, name, use=TRAIN):
        self.name, self.use = name, use
        self.problems, self.notes = [], []

    def segments(self):
        """List of Segment."""
        raise NotImplementedError

    def modality(self):
        """Either "CT" or "MR" if that is known for certain, else ""."""
        return ""

    def write(self, folder, identifier, values):
        """Write image and label map for the engine, under one name.

        :param folder: pathlib.Path with the folders ``images`` and ``labels``.
        :param identifier: name of the files, without suffix.
        :param values: dict from segment ID to label value; other segments count as background.
        :raises UserError: the case cannot be used, or the files cannot be written.
        """
        raise NotImplementedError


class SceneCase(TrainingCase):
    """A volume and its segmentation in the scene, which are never changed.

    :param volumeNode: the volume; None is a problem of the case.
    :param segmentationNode: any segmentation; it is resampled onto the volume where its grid differs.
    :param scene: the scene of both; without it Slicer's.
    :param overlap: see ``TrainingCase.overlap``.
    :param isExamined: whether volume and segmentation are looked at; else ``examine`` or ``examineSteps`` comes next.
    :ivar drawnSlices: numbers of the slices in which a segment has voxels.
    """

    def __init__(self, volumeNode, segmentationNode, use=TRAIN, scene=None, overlap=LAST, isExamined=True):
        self.overlap = overlap
        super().__init__((volumeNode or segmentationNode).GetName() or "", use)
        self._scene = scene or slicer.mrmlScene
        self.volumeNode, self.segmentationNode = volumeNode, segmentationNode
        self._segments = []
        if isExamined:
            self.examine()

    def segments(self):
        return self._segments

    def modality(self):
        return VolumeModality.dicomModality(self.volumeNode)

    def isInScene(self):
        """Whether both nodes are still there."""
        return all(node and self._scene.IsNodePresent(node) for node in (self.volumeNode, self.segmentationNode))

    def examine(self):
        """Look at volume and segmentation as they are now; fills everything but name and use."""
        for _step in self.examineSteps():
            pass

    def examineSteps(self):
        """As ``examine``; a generator that stops often, to be continued from the event loop.

        Problems are kept, not raised. What changes meanwhile is looked at again.
        """
        stamps = None
        while stamps != (stamps := LabelMaps.stamps(self.segmentationNode.GetSegmentation())):
            self._forget()
            try:
                yield from self._examined()
            except UserError as error:
                self.problems.append(error)
            self.isEmpty = not self.annotatedSlices and all(segment.voxels == 0 for segment in self._segments)

    def write(self, folder, identifier, values, writeImage=True):
        if not self.isInScene():
            raise TrainingDataError(
                _("'{name}' was removed from the scene before it was written.").format(name=self.name),
                _("Take the case out of the table, or load it again."),
            )
        self.examine()
        if self.problems:
            raise self.problems[0]
        labels = LabelExport.exportLabels(
            self.volumeNode, self.segmentationNode, [one.id for one in self._segments], self.overlap == FIRST
        )
        table = np.zeros(len(self._segments) + 1, np.uint8)
        for number, segment in enumerate(self._segments, start=1):
            table[number] = values.get(segment.id, 0)
        labels = table[labels]
        path = folder / CaseFiles.LABELS / f"{identifier}.nrrd"
        if self._filled:
            labels[self._filled.voxels() == NOT_ANNOTATED] = annotation.IGNORE
            write_drawn_slices(path, self._filled.drawn())
        missing = np.setdiff1d(np.arange(self.sliceCount), self.annotatedSlices)
        np.moveaxis(labels, 2 - self.axis, 0)[missing] = annotation.IGNORE
        if writeImage:
            CaseFiles.writeVolumeNode(self.volumeNode, folder / CaseFiles.IMAGES / f"{identifier}.nrrd")
        CaseFiles.writeLabels(labels, self.volumeNode, path)

    def _forget(self):
        """Forget what was found, and read the segments' names."""
        self.problems, self.notes, self._segments = [], [], segmentsOf(self.segmentationNode)
        self.axis = self.sliceCount = self.annotatedSlices = self.filledSlices = self.isWhole = self._filled = None
        self.drawnSlices, self.hasOverlap = [], False

    def _examined(self):
        if self.volumeNode is None:
            raise TrainingDataError(
                _("Segmentation '{name}' does not say which volume it belongs to.").format(name=self.name),
                _("Choose its source geometry in the Segment Editor."),
            )
        VolumeTransfer.requireSegmentable(self.volumeNode)
        if not self._segments:
            raise TrainingDataError(
                _("Segmentation '{name}' has no segment.").format(name=self.segmentationNode.GetName()),
                _("Add a segment for each structure and draw it on a few slices."),
            )
        self.axis = VolumeGrid.slicingAxis(self.volumeNode)
        self.sliceCount = self.volumeNode.GetImageData().GetDimensions()[self.axis]
        ids = [segment.id for segment in self._segments]
        options = self.volumeNode, self.segmentationNode, ids, self.overlap == FIRST
        labels, overlaps = LabelExport.LabelPlanes(*options), LabelExport.Overlaps(*options)
        for part in overlaps.parts():
            overlaps.add(*part)
            yield
        self._checkOverlaps(overlaps.lost)
        self._checkGrid()
        yield
        counts, drawn = np.zeros(len(ids) + 1, int), np.zeros(self.sliceCount, bool)
        for start, stop in labels.parts():
            for k, plane in enumerate(labels.read(start, stop), start=start):
                counts += np.bincount(plane.ravel(), minlength=len(counts))
                if self.axis == 2:
                    drawn[k] = plane.any()
                else:
                    drawn |= plane.any(axis=self.axis)
            yield
        for number, segment in enumerate(self._segments, start=1):
            segment.voxels = int(counts[number])
        self._readAnnotation(np.flatnonzero(drawn))

    def _checkOverlaps(self, lost):
        """Note which segments lose voxels to others, or refuse that; ``lost``: as ``LabelExport.overlaps`` has it."""
        notes = overlap_notes(f"'{self.segmentationNode.GetName()}'", lost)
        self.hasOverlap = bool(notes)
        if notes and self.overlap == REFUSE:
            raise ClassesError(" ".join(notes), _("Take these voxels out of one of the segments."))
        self.notes += notes

    def _checkGrid(self):
        """Note a segmentation on another grid than the volume's, and refuse one that lies elsewhere."""
        isSame, outside = VolumeGrid.compare(self.volumeNode, self.segmentationNode)
        if outside > _OUTSIDE:
            raise GeometryError(
                _("{percent} % of segmentation '{segmentation}' lies outside of volume '{volume}'.").format(
                    percent=round(100 * outside),
                    segmentation=self.segmentationNode.GetName(),
                    volume=self.volumeNode.GetName(),
                ),
                _("Choose the volume on which it was drawn, or put both under the same transform."),
            )
        if not isSame:
            self.notes.append(_("The segmentation has another voxel grid and is resampled onto the volume's."))

    def _readAnnotation(self, drawn):
        """Decide which slices are annotated.

        :param drawn: numbers of the slices on which there is a voxel of any segment.
        """
        self.drawnSlices = drawn.tolist()
        declared = emptySlices(self.segmentationNode, self.axis)
        if strange := [number for number in declared if not 0 <= number < self.sliceCount]:
            raise TrainingDataError(
                _("Slice {number} of '{name}' is declared empty, but there are only {count} slices.").format(
                    number=strange[0] + 1, name=self.name, count=self.sliceCount
                ),
                _("Correct the list of empty slices."),
            )
        annotated = sorted({*drawn.tolist(), *declared})
        if self._readFilling(declared):
            return
        choice = self.segmentationNode.GetAttribute(ANNOTATED_ATTRIBUTE)
        isContiguous = len(drawn) > 0 and int(drawn[-1] - drawn[0]) + 1 == len(drawn)
        looksWhole = isContiguous and len(drawn) >= min(_FEWEST_OF_A_WHOLE, self.sliceCount) and not declared
        self.isWhole = choice == ALL or (choice != SOME and looksWhole)
        self.annotatedSlices = list(range(self.sliceCount)) if self.isWhole else annotated
        if not self.annotatedSlices or (len(drawn) == 0 and choice != ALL and not declared):
            raise TrainingDataError(
                _("Segmentation '{name}' has no voxel in volume '{volume}'.").format(
                    name=self.segmentationNode.GetName(), volume=self.volumeNode.GetName()
                ),
                _("Draw the structures on a few slices, or say that the slices are empty on purpose."),
            )
        if choice is None:
            self.notes.append(
                _("Taken as annotated on all slices, because the slices with segments have no gap.")
                if self.isWhole
                else _("Only slices with segments are used; the others count as not annotated.")
            )

    def _readFilling(self, declared):
        """Take drawn and filled slices as a filling left them, unless the user says that all slices are annotated.

        :return: False if that is so, or nothing was filled.
        """
        isAll = self.segmentationNode.GetAttribute(ANNOTATED_ATTRIBUTE) == ALL
        if isAll or not SliceTags.isFilled(self.segmentationNode):
            return False
        filled = FilledSlices(self.volumeNode, self.segmentationNode)
        if not filled.any():
            return False
        states = filled.along(self.axis)
        self._filled, self.isWhole = filled, False
        self.annotatedSlices = sorted({*np.flatnonzero(states != NOT_ANNOTATED).tolist(), *declared})
        self.filledSlices = np.flatnonzero(states == FILLED).tolist()
        self.notes.append(
            _("{drawn} slices are drawn; {filled} were filled and weigh less in the training.").format(
                drawn=len(self.annotatedSlices) - len(self.filledSlices), filled=len(self.filledSlices)
            )
        )
        return True


def fromScene():
    """List of the cases that ``sceneCases`` gives."""
    return [case for case in sceneCases() if case]


def sceneCases(skip=lambda segmentationNode: False):
    """Give a SceneCase for each segmentation in the scene that is not hidden from the lists of nodes, one at a time.

    :param skip: function that says which segmentations are left out without a look at them.

    A segmentation belongs to the volume of its reference geometry. Of several segmentations of one volume the first is
    used, the others are set to "ignore". While it looks at a large one, the generator gives None every now and then:
    take the next from the event loop then.
    """
    seen = set()
    for segmentationNode in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if segmentationNode.GetHideFromEditors():
            continue
        volumeNode = Volumes.volumeOf(segmentationNode)
        if skip(segmentationNode):
            seen.update([volumeNode.GetID()] if volumeNode else [])
            continue
        case = SceneCase(volumeNode, segmentationNode, isExamined=False)
        yield from case.examineSteps()
        if volumeNode and volumeNode.GetID() in seen:
            case.use = IGNORE
            case.notes.append(_("Another segmentation of the same volume is in the table."))
        elif volumeNode:
            seen.add(volumeNode.GetID())
        yield case


def heldOut(count):
    """How many of several cases the engine keeps out of training if none is set to "validate"."""
    return max(1, count // protocol.HELD_OUT)


def setWhole(segmentationNode, whole):
    """Say whether all slices of a segmentation are annotated; None: as its segments look."""
    if whole is None:
        segmentationNode.RemoveAttribute(ANNOTATED_ATTRIBUTE)
    else:
        segmentationNode.SetAttribute(ANNOTATED_ATTRIBUTE, ALL if whole else SOME)


def emptySlices(segmentationNode, axis):
    """Sorted numbers of the slices, from 0, in which no structure of a segmentation is present, as the user says.

    :param axis: as of ``VolumeGrid.slicingAxis`` of the volume.
    :raises TrainingDataError: the tag of a segment is no list of slices.
    """
    segmentation = segmentationNode.GetSegmentation()
    for segmentId in segmentation.GetSegmentIDs():
        for word in SliceTags.unreadable(segmentationNode, segmentId)[:1]:
            name = segmentation.GetSegment(segmentId).GetName()
            raise TrainingDataError(
                _("The empty slices of '{name}' hold '{word}', which is no slice.").format(name=name, word=word),
                _("Choose the empty slices again."),
            )
    return SliceTags.emptyOfAll(segmentationNode, slicing_axis.ARRAY_AXES[2 - axis])


def declareEmpty(segmentationNode, axis, numbers):
    """Declare that no structure is present in these slices, instead of those declared before.

    :param axis, numbers: as of ``emptySlices``; there may be no number.
    :raises ClassesError: the segmentation has no segment to keep this with.
    """
    if segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
        raise ClassesError(
            _("Segmentation '{name}' has no segment.").format(name=segmentationNode.GetName()),
            _("Add a segment for each structure first."),
        )
    SliceTags.setEmptyOfAll(segmentationNode, slicing_axis.ARRAY_AXES[2 - axis], numbers)


def segmentsOf(segmentationNode):
    """List of Segment of a segmentation node, in its order."""
    segmentation = segmentationNode.GetSegmentation()
    segments = []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        segments.append(Segment(segmentId, segment.GetName() or "", segment.GetTerminology() or "", segment.GetColor()))
    return segments
