"""What the engine writes about a segmentation of the scene: a page with pictures, or a DICOM segmentation."""

import numpy as np
from sam2adapt.shared.errors import ClassesError, OutputError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import asEngineErrors
from SAM2AdaptLib.Engine.Job import DONE, RUNNING, stopped, takeCallbacks
from SAM2AdaptLib.Engine.SceneJob import SceneJob, requireInScene
from SAM2AdaptLib.Report import DicomSource, Export
from SAM2AdaptLib.Scene import (
    LabelExport,
    LabelMaps,
    Results,
    SegmentationHistory,
    VolumeModality,
    Volumes,
    VolumeTransfer,
)

_MOST_IN_DICOM = 255  # labels of 8 bits


def startPage(engine, volumeNode, segmentationNode, path, showNames=False, **callbacks):
    """Start making a page (HTML) of a segmentation; returns at once.

    :param path: ``.html``; only this user can read it.
    :param showNames: whether the name of the volume stands on it, which can be that of a patient.
    :param callbacks: those of ``Job``.
    :return: the job; ``path`` of it is the page.
    :raises EngineError: there is no segment, or no voxel.
    """
    return _start(_PageJob, engine, volumeNode, segmentationNode, path, showNames, **callbacks)


def startDicomSeg(engine, volumeNode, segmentationNode, path, **callbacks):
    """Start writing a segmentation as DICOM SEG that refers to the series of the volume; returns at once.

    :param path: ``.dcm``. :param callbacks: those of ``Job``.
    :raises EngineError: there is no segment, or the volume was not loaded from DICOM.
    """
    with asEngineErrors():
        files = DicomSource.files(volumeNode)
        if segmentationNode.GetSegmentation().GetNumberOfSegments() > _MOST_IN_DICOM:
            raise ClassesError(
                _("'{name}' has more than {count} segments.").format(
                    name=segmentationNode.GetName(), count=_MOST_IN_DICOM
                ),
                _("Split the segmentation."),
            )
    return _start(_DicomSegJob, engine, volumeNode, segmentationNode, path, files, **callbacks)


def _start(kind, engine, volumeNode, segmentationNode, path, *more, **options):
    callbacks = takeCallbacks(options)
    if options:
        raise ValueError(f"unknown options: {', '.join(options)}")
    with asEngineErrors():
        Volumes.requireVoxels(volumeNode)
        requireInScene(volumeNode, segmentationNode)
        job = kind(engine, volumeNode, segmentationNode, str(path), *more, **callbacks)
        job.begin([volumeNode, segmentationNode])
    return job


class _WritingJob(SceneJob):
    """:ivar path: of the file that is written."""

    def __init__(self, engine, volumeNode, segmentationNode, path, **callbacks):
        super().__init__(**callbacks)
        self.path, self._engine = path, engine
        self._volumeNode, self._segmentationNode = volumeNode, segmentationNode

    def _cancelledError(self):
        return stopped(_("The export was cancelled."), _("Nothing was written."))

    def _onResult(self, result):
        self._end(DONE)

    def _onEngineProgress(self, progress):
        self.state = RUNNING

    def _input(self):
        """The volume for the engine."""
        modality = VolumeModality.dicomModality(self._volumeNode)
        return VolumeTransfer.writeVolume(self._volumeNode, str(self._folder.path / "volume.npy"), modality)

    def _classes(self, ids):
        segmentation = self._segmentationNode.GetSegmentation()
        segments = [segmentation.GetSegment(segmentId) for segmentId in ids]
        return [
            {
                "id": value, "name": (segment.GetName() or "").strip() or _("segment {number}").format(number=value),
                "terminology": segment.GetTerminology() or "", "color": list(segment.GetColor()),
            }
            for value, segment in enumerate(segments, start=1)
        ]  # fmt: skip

    def _release(self):
        super()._release()
        self._volumeNode = self._segmentationNode = None


class _PageJob(_WritingJob):
    def __init__(self, engine, volumeNode, segmentationNode, path, showNames, **callbacks):
        super().__init__(engine, volumeNode, segmentationNode, path, **callbacks)
        self._showNames = showNames

    def _send(self):
        ids, labels = Export.requireSegments(self._segmentationNode), self._folder.path / "labels.npy"
        try:
            np.save(labels, self._layers(ids))
        except OSError as error:
            raise OutputError(
                _("The segmentation could not be handed to the engine: {error}.").format(error=error.strerror or error),
                _("Free space on the disk of '{folder}'.").format(folder=labels.parent),
            ) from error
        parameters = {
            "input": self._input(), "labels": str(labels), "output": self.path, "classes": self._classes(ids),
            "model": Results.modelOf(self._segmentationNode), "showNames": self._showNames,
        }  # fmt: skip
        self._ask(self._engine, "report", parameters)

    def _layers(self, ids):
        """(L, K, J, I): the n-th segment is n; segments that could overlap lie in different layers."""
        numbers = {segmentId: value for value, segmentId in enumerate(ids, start=1)}
        kind = np.min_scalar_type(len(ids))
        layers = []
        for group in LabelMaps.layers(self._segmentationNode.GetSegmentation(), ids):
            table = np.array([0, *(numbers[segmentId] for segmentId in group)], kind)
            layers.append(table[LabelExport.exportLabels(self._volumeNode, self._segmentationNode, group)])
        return _merged(layers)


def _merged(layers):
    """Layers that do not overlap put together, because most segments could overlap and do not."""
    merged = []
    for layer in layers:
        free = next((other for other in merged if not (other[layer > 0] > 0).any()), None)
        if free is None:
            merged.append(layer)
        else:
            np.maximum(free, layer, out=free)
    return np.stack(merged)


class _DicomSegJob(_WritingJob):
    def __init__(self, engine, volumeNode, segmentationNode, path, files, **callbacks):
        super().__init__(engine, volumeNode, segmentationNode, path, **callbacks)
        self._files = files

    def _send(self):
        node, ids = self._segmentationNode, Export.requireSegments(self._segmentationNode)
        series = self._folder.path / "series"
        DicomSource.gather(self._files, series)
        model = Results.modelOf(node)
        self._ask(
            self._engine,
            "writeDicomSeg",
            {
                "input": self._labels(ids), "classes": self._classes(ids), "reference": str(series),
                "output": self.path, "model": model, "corrected": bool(SegmentationHistory.changedSinceRun(node)),
            },
        )  # fmt: skip
        for lost, counts in LabelExport.overlaps(self._volumeNode, node, ids).items():
            self._say(
                _("{voxels} voxels of '{name}' belong to another structure in the file.").format(
                    voxels=sum(counts.values()), name=lost
                )
            )

    def _labels(self, ids):
        """The labels for the engine, as a volume with the geometry of the image."""
        given = self._input()
        labels = LabelExport.exportLabels(self._volumeNode, self._segmentationNode, ids)
        np.save(given["array"], labels)
        return given | {"modality": ""}
