"""Cases that lie in a folder: nnU-Net and MSD data sets, two folders of images and labels, or what Slicer saved.

Nothing is loaded into the scene. Folders are only listed at first; images and labels are read by the engine, one case
at a time, but for segmentations that Slicer saved. Which files belong together, and what their labels mean, is decided
by the engine's own rules.
"""

import functools
import json
from pathlib import Path

import slicer
from sam2adapt.shared.errors import ClassesError, InputFileError, OutputError, TrainingDataError
from sam2adapt.shared.files import link
from sam2adapt.shared.labels import annotation, drawn_slices
from sam2adapt.shared.labels.image_names import DETACHED, SEGMENTATION, suffix_of
from sam2adapt.shared.labels.label_entries import LabelEntry, LabelTable
from sam2adapt.shared.labels.label_names import folder_table, label_table
from sam2adapt.shared.labels.training_pairs import find_pairs, images_of, layout
from slicer.i18n import tr as _

from SAM2AdaptLib.Training import CaseFiles
from SAM2AdaptLib.Training.Cases import TRAIN, SceneCase, Segment, TrainingCase

_PAIR = (".hdr", ".hdr.gz")  # headers that do not name the file of their voxels: it has their name
_VALUES_SUFFIX = ".values.json"  # tells the engine what the values of a label file become


class FileCase(TrainingCase):
    """An image file with its label file.

    :ivar isUnnamed: whether no file says what the label values mean; ``nameLabels`` does.

    :param image, label: pathlib.Path; label is a label map or a segmentation that Slicer saved (.seg.nrrd).
    :param table: LabelTable with the meaning of the label values; None where nothing says it.
    :ivar isComplete: whether a segmentation counts on all slices, whatever is drawn on them.
    :ivar channels: nnU-Net's channels of the images in the folder, () for other images.
    """

    channels = ()
    isComplete = False

    def __init__(self, name, image, label, table=None, use=TRAIN):
        super().__init__(name, use)
        self.image, self.label, self._table = image, label, table
        self._isSegmentation = suffix_of(label) == SEGMENTATION
        self._segments = [
            Segment(entry.segment or str(value), entry.name, entry.terminology, entry.color, None, not table.complete)
            for value, entry in (sorted(table.entries.items()) if table else ())
        ]
        self.isUnnamed = not self._segments
        if self.isUnnamed:
            self.problems.append(
                ClassesError(
                    _("Nothing says what the label values in '{file}' mean.").format(file=label),
                    _(
                        "Name the structures below, put a dataset.json or a table of labels beside the files, or save"
                        " the segmentations from Slicer as .seg.nrrd."
                    ),
                )
            )

    def segments(self):
        return self._segments

    def nameLabels(self, names):
        """Say what the label values mean, where no file does.

        :param names: dict from label value to name.
        """
        self._table = _tableOf(self.label, names)
        self._segments = [Segment(str(value), name) for value, name in sorted(names.items())]
        self.problems = [problem for problem in self.problems if not isinstance(problem, ClassesError)]

    def write(self, folder, identifier, values):
        if self.problems:
            raise self.problems[0]
        self._place(self.image, folder / CaseFiles.IMAGES, identifier)
        if self._isSegmentation and not self.isComplete:
            self._writeSegmentation(folder, identifier, values)
            return
        labels = folder / CaseFiles.LABELS
        self._place(self.label, labels, identifier)
        if (drawn := drawn_slices.path_beside(self.label)).is_file():
            link(drawn, labels / f"{identifier}{drawn_slices.SUFFIX}")
        known = {value: values.get(entry.segment or str(value), 0) for value, entry in self._table.entries.items()}
        known |= dict.fromkeys(self._table.ignored, annotation.IGNORE)
        if any(value != number for value, number in known.items()):
            _writeValues(labels / f"{identifier}{_VALUES_SUFFIX}", known)

    @staticmethod
    def _place(source, folder, identifier):
        """Put an image or label file under the case's name into a folder; nothing is copied where links will do."""
        suffix = suffix_of(source)
        if suffix in _PAIR:
            stem = source.name[: -len(suffix)]
            for path in sorted(source.parent.iterdir()):
                if path.name.lower() in {f"{stem}{end}".lower() for end in (".hdr", ".img", ".hdr.gz", ".img.gz")}:
                    link(path, folder / f"{identifier}{path.name[len(stem) :]}")
        elif suffix in DETACHED:
            # Its header names the file of the voxels, which may be that of another case.
            className = "vtkMRMLLabelMapVolumeNode" if folder.name == CaseFiles.LABELS else None
            node = readVolume(source, className or "vtkMRMLScalarVolumeNode")
            CaseFiles.writeVolumeNode(node, folder / f"{identifier}.nrrd")
        else:
            link(source, folder / f"{identifier}{suffix}")

    def _writeSegmentation(self, folder, identifier, values):
        """Write the case as one of the scene, through a hidden scene."""
        scene = slicer.vtkMRMLScene()
        volumeNode = readVolume(self.image, scene=scene)
        segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", self.name)
        _read(slicer.vtkMRMLSegmentationStorageNode(), self.label, segmentationNode)
        case = SceneCase(volumeNode, segmentationNode, scene=scene, overlap=self.overlap)
        case.write(folder, identifier, values, writeImage=False)


def fromFolder(folder, names=None, channel=0):
    """The pairs of images and labels of a folder, nothing of which is loaded into the scene.

    Understood are a data set with ``dataset.json`` (nnU-Net, MSD), the folders ``images`` and ``labels`` with files of
    the same names, and one folder with ``a.nrrd`` beside ``a.seg.nrrd``.

    :param names: dict from label value to name, where no file says them; see ``shared.labels.label_names``.
    :param channel: which of nnU-Net's channels is the image.
    :return: list of FileCase in the order of the names; what was left out is among the notes of the first.
    :raises InputFileError: no such folder. :raises TrainingDataError: it holds no pair, or its ``dataset.json`` cannot
      be understood. :raises ClassesError: regions of nnU-Net that overlap.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputFileError(_("There is no folder '{folder}'.").format(folder=folder), _("Choose another one."))
    ofFolder = functools.cache(folder_table)
    if (folder / "dataset.json").is_file():
        ofFolder(folder)  # refuse a damaged one even if nothing pairs
    pairs = find_pairs(*layout(folder), channel)
    found = []
    for name, image, label in pairs.found:
        table = _tableOf(label, names) if names and suffix_of(label) != SEGMENTATION else label_table(label, ofFolder)
        found.append(FileCase(name, image, label, table))
    found[0].notes += pairs.notes
    for case in found:
        case.channels = pairs.channels
    return found


def imageFiles(folder):
    """Paths of the images of a folder, or of its folder ``imagesTr`` or ``images``, without segmentations.

    :raises InputFileError: no such folder. :raises TrainingDataError: it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputFileError(_("There is no folder '{folder}'.").format(folder=folder), _("Choose another one."))
    within = [folder / name for name in ("imagesTr", "images") if (folder / name).is_dir()]
    paths = [path for paths in images_of((within or [folder])[0]).values() for path in paths]
    if not paths:
        raise TrainingDataError(_("There is no image in '{folder}'.").format(folder=folder), _("Choose another one."))
    return paths


def _tableOf(label, names):
    return LabelTable(label, {int(value): LabelEntry(name) for value, name in names.items()})


def _writeValues(path, known):
    try:
        path.write_text(json.dumps({str(value): number for value, number in known.items()}), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            _("'{path}' could not be written: {error}.").format(path=path, error=error.strerror or error),
            _("Free space on the disk."),
        ) from error


def readVolume(path, className="vtkMRMLScalarVolumeNode", scene=None):
    """A volume node with the image of a file; in no scene, or in one that is not Slicer's."""
    node = scene.AddNewNodeByClass(className) if scene else getattr(slicer, className)()
    node.SetName(path.name)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetSingleFile(True)  # a.png and b.png beside it are two images, not one
    _read(storage, path, node)
    return node


def _read(storage, path, node):
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise InputFileError(
            _("'{path}' cannot be read.").format(path=path), _("Check that it opens in Slicer, or leave it out.")
        )
