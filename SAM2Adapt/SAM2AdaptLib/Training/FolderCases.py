"""Cases that lie in a folder: nnU-Net and MSD data sets, two folders of images and labels, or what Slicer saved.

Nothing is loaded into the scene. Folders are only listed at first; images and labels are read when they are written
for the engine, one case at a time.
"""

import json
import re
from pathlib import Path

import numpy as np
import slicer
from sam2adapt.shared.errors import ClassesError, InputFileError, TrainingDataError
from slicer.i18n import tr as _

from SAM2AdaptLib.Training import CaseFiles
from SAM2AdaptLib.Training.Cases import TRAIN, SceneCase, Segment, TrainingCase

_SEGMENTATION = ".seg.nrrd"
_DOUBLE_SUFFIXES = (_SEGMENTATION, ".nii.gz")
_DETACHED = (".nhdr", ".mhd")  # headers whose voxels are in another file
_SUFFIXES = (*_DOUBLE_SUFFIXES, ".nii", ".nrrd", ".mha", *_DETACHED, ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
_SUBFOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
_CHANNEL = "_0000"  # nnU-Net's number of the first channel
_IGNORE = "ignore"  # nnU-Net's name for what is not annotated
_HEADER_LINE = re.compile(r"^Segment(\d+)_(ID|Name|Color|Tags):=(.*)$", re.MULTILINE)
_TERMINOLOGY = re.compile(r"(?:^|\|)TerminologyEntry:([^|]*)")


class FileCase(TrainingCase):
    """An image file with its label file.

    :param image, label: pathlib.Path; label is a label map or a segmentation that Slicer saved (.seg.nrrd).
    :param names: dict from label value to name, for a label map; None where nothing says them.
    :param notAnnotated: label value of voxels that are not annotated.
    """

    def __init__(self, name, image, label, names=None, notAnnotated=CaseFiles.NOT_ANNOTATED, use=TRAIN):
        super().__init__(name, use)
        self.image, self.label, self.names, self._notAnnotated = image, label, names or {}, notAnnotated
        self._isSegmentation = _suffix(label) == _SEGMENTATION
        self._segments = []
        if self._isSegmentation:
            self._segments = _segmentsInHeader(label)
        elif names:
            self._segments = [Segment(str(value), text) for value, text in sorted(names.items())]
        if not self._segments:
            self.problems.append(
                ClassesError(
                    _("Nothing says what the label values in '{file}' mean.").format(file=label),
                    _("Put a dataset.json beside the folders, or save the segmentations from Slicer as .seg.nrrd."),
                )
            )

    def segments(self):
        return self._segments

    def write(self, folder, identifier, values):
        if self.problems:
            raise self.problems[0]
        suffix = _suffix(self.image)
        if suffix in _DETACHED:
            CaseFiles.writeVolumeNode(readVolume(self.image), folder / CaseFiles.IMAGES / f"{identifier}.nrrd")
        else:
            CaseFiles.link(self.image, folder / CaseFiles.IMAGES / f"{identifier}{suffix}")
        labels = folder / CaseFiles.LABELS
        if self._isSegmentation:
            self._writeSegmentation(folder, identifier, values)
        elif self._isFinal(values):
            CaseFiles.link(self.label, labels / f"{identifier}{_suffix(self.label)}")
        else:
            node = readVolume(self.label, "vtkMRMLLabelMapVolumeNode")
            CaseFiles.writeLabels(self._renumbered(node, values), node, labels / f"{identifier}.nrrd")

    def _isFinal(self, values):
        """Whether the values in the file are those of the classes already."""
        return (
            self._notAnnotated == CaseFiles.NOT_ANNOTATED
            and all(values.get(str(value)) == value for value in self.names)
            and _suffix(self.label) not in _DETACHED
        )

    def _renumbered(self, node, values):
        labels = slicer.util.arrayFromVolume(node)
        renumbered = np.zeros(labels.shape, np.uint8)
        known = {0: 0, self._notAnnotated: CaseFiles.NOT_ANNOTATED}
        known |= {value: values.get(str(value), 0) for value in self.names}
        for value in np.unique(labels).tolist():
            if value not in known:
                raise ClassesError(
                    _("'{file}' holds the label value {value}, which has no name.").format(
                        file=self.label, value=value
                    ),
                    _("Name it in dataset.json, or correct the file."),
                )
            renumbered[labels == value] = known[value]
        return renumbered

    def _writeSegmentation(self, folder, identifier, values):
        """As for a case in the scene, in a scene that nobody sees."""
        scene = slicer.vtkMRMLScene()
        volumeNode = readVolume(self.image, scene=scene)
        segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", self.name)
        _read(slicer.vtkMRMLSegmentationStorageNode(), self.label, segmentationNode)
        case = SceneCase(volumeNode, segmentationNode, scene=scene)
        case.write(folder, identifier, values, writeImage=False)


def fromFolder(folder, names=None):
    """The pairs of images and labels of a folder, nothing of which is loaded into the scene.

    Understood are a data set with ``dataset.json`` (nnU-Net, MSD), the folders ``images`` and ``labels`` with files of
    the same names, and one folder with ``a.nrrd`` beside ``a.seg.nrrd``.

    :param names: dict from label value to name, where no ``dataset.json`` says them.
    :return: list of FileCase in the order of the names.
    :raises InputFileError: no such folder, or its ``dataset.json`` cannot be understood.
    :raises TrainingDataError: it holds no pair.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputFileError(_("There is no folder '{folder}'.").format(folder=folder), _("Choose another one."))
    notAnnotated = CaseFiles.NOT_ANNOTATED
    if (folder / "dataset.json").is_file():
        names, notAnnotated = _readDescription(folder / "dataset.json")
    pairs = _pairs(folder)
    if not pairs:
        raise TrainingDataError(
            _("No image in '{folder}' has a label of its name.").format(folder=folder),
            _("Name them alike: images/a.nrrd and labels/a.nrrd, or a.nrrd and a.seg.nrrd in one folder."),
        )
    return [FileCase(name, image, label, names, notAnnotated) for name, image, label in pairs]


def imageFiles(folder):
    """Paths of the images of a folder, or of its folder ``imagesTr`` or ``images``, without segmentations.

    :raises InputFileError: no such folder. :raises TrainingDataError: it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputFileError(_("There is no folder '{folder}'.").format(folder=folder), _("Choose another one."))
    within = [folder / images for images, _labels in _SUBFOLDERS if (folder / images).is_dir()]
    paths = [path for paths in _files((within or [folder])[0]).values() for path in paths]
    paths = [path for path in paths if _suffix(path) != _SEGMENTATION]
    if not paths:
        raise TrainingDataError(_("There is no image in '{folder}'.").format(folder=folder), _("Choose another one."))
    return paths


def _pairs(folder):
    """List of (name, image, label)."""
    for imageFolder, labelFolder in _SUBFOLDERS:
        if (folder / imageFolder).is_dir() and (folder / labelFolder).is_dir():
            images, labels = _files(folder / imageFolder), _files(folder / labelFolder)
            break
    else:
        found = _files(folder)
        labels = {name: paths for name, paths in found.items() if any(_suffix(p) == _SEGMENTATION for p in paths)}
        labels = {name: [p for p in paths if _suffix(p) == _SEGMENTATION] for name, paths in labels.items()}
        images = {name: [p for p in paths if _suffix(p) != _SEGMENTATION] for name, paths in found.items()}
    pairs = []
    for name, paths in images.items():
        case = name if name in labels else name.removesuffix(_CHANNEL)
        if paths and case in labels:
            pairs.append((case, paths[0], labels[case][0]))
    return pairs


def _files(folder):
    """Dict from names without suffix to the image files of that name."""
    found = {}
    for path in sorted(folder.iterdir()):
        # Archives made on a Mac, the MSD's among them, hold a "._name" beside every file.
        if _suffix(path) and not path.name.startswith("."):
            found.setdefault(path.name[: -len(_suffix(path))], []).append(path)
    return found


def _suffix(path):
    """The suffix of a file that may be an image, "" of others."""
    name = path.name.lower()
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")


def _readDescription(path):
    """Names of the label values, and the value of what is not annotated, from a ``dataset.json``.

    MSD writes {"1": "name"}, nnU-Net version 2 {"name": 1}.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["labels"].items()
        pairs = [(int(key), str(value)) if key.isdigit() else (int(value), key) for key, value in entries]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputFileError(
            _("'{path}' cannot be read as the description of a data set: {error}.").format(path=path, error=error),
            _("Correct the file, or remove it and use .seg.nrrd files."),
        ) from error
    names = {value: name for value, name in pairs if value and name.lower() != _IGNORE}
    ignored = [value for value, name in pairs if name.lower() == _IGNORE]
    return names, ignored[0] if ignored else CaseFiles.NOT_ANNOTATED


def _segmentsInHeader(path):
    """Segments of a .seg.nrrd file, from its header alone."""
    try:
        with path.open("rb") as file:
            lines = iter(file.readline, b"")
            header = b"".join(line for line in _untilEmpty(lines)).decode("utf-8", "replace")
    except OSError as error:
        raise InputFileError(
            _("'{path}' cannot be read: {error}.").format(path=path, error=error.strerror or error),
            _("Check that you may read it."),
        ) from error
    fields = {}
    for number, key, value in _HEADER_LINE.findall(header.replace("\r\n", "\n")):
        fields.setdefault(int(number), {})[key] = value
    segments = []
    for number in sorted(fields):
        entry = fields[number]
        terminology = _TERMINOLOGY.search(entry.get("Tags", ""))
        color = [float(part) for part in entry["Color"].split()] if "Color" in entry else None
        name = entry.get("Name", entry.get("ID", ""))
        segments.append(Segment(entry.get("ID", name), name, terminology[1] if terminology else "", color))
    return segments


def _untilEmpty(lines):
    for line in lines:
        if not line.strip():
            return
        yield line


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
