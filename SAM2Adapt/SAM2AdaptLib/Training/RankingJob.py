"""Which volume, and which of its slices, is most worth correcting next: where a model is least sure.

The scene is never changed; volumes in files are read one at a time and not loaded into it.
"""

import traceback
from pathlib import Path

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import UserError, VolumeError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError, fromUserError
from SAM2AdaptLib.Engine.ProgressTexts import timeLeft
from SAM2AdaptLib.Scene import VolumeModality, VolumeTransfer
from SAM2AdaptLib.Training import FolderCases

RUNNING, DONE, CANCELLED, FAILED = "running", "done", "cancelled", "failed"
_AXES = "IJK"


class RankedSlice:
    """A slice worth correcting.

    :ivar axis: voxel axis across which it lies, "I", "J" or "K"; ``index``: its number along it.
    :ivar position: where the doubt is, (R, A, S) in mm in the world, parent transforms of the volume applied.
    :ivar uncertainty: about how many voxels are in doubt.
    """

    def __init__(self, axis, index, position, uncertainty):
        self.axis, self.index, self.position, self.uncertainty = axis, index, position, uncertainty


class RankedVolume:
    """How sure a model is of one volume.

    :ivar name: of the node or file.
    :ivar volumeNode: the node, None for a file.
    :ivar path: the file (pathlib.Path), None for a node.
    :ivar score: 0 to 1, the larger the more there is to learn; the mean of ``uncertainty`` and ``disagreement``.
    :ivar found: whether the model found any of its structures.
    :ivar slices: list of RankedSlice, the least sure first.
    """

    def __init__(self, source, result, toWorld):
        self.name = result["name"]
        self.volumeNode, self.path = (None, source) if isinstance(source, Path) else (source, None)
        self.score, self.found = result["score"], result["found"]
        self.uncertainty, self.disagreement = result["uncertainty"], result["disagreement"]
        self.slices = [
            RankedSlice(_AXES[entry["axis"]], entry["index"], toWorld(entry["position"]), entry["uncertainty"])
            for entry in result["slices"]
        ]


def start(
    engine, volumes, model, device="auto", slices=5, anyModality=False, later=None,
    onProgress=None, onFinished=None, onError=None,
):  # fmt: skip
    """Rank volumes; returns at once.

    :param engine: as for ``SegmentJob.start``.
    :param volumes: volume nodes and paths of image files, or the path of a folder of them.
    :param model: name of a model, or path of a model file.
    :param slices: how many slices of each volume to name at most.
    :param later: function that calls a function from the event loop soon; without it Qt's timer.
    :param onProgress: called with dicts: "fraction" over all volumes, "number" and "count" of volumes, "text".
    :param onFinished: called with the job, also if some of the volumes could not be ranked.
    :param onError: called with the job and an EngineError, also of kind "CancelledError"; if no volume could be
      ranked, with the error of the first.
    :return: the RankingJob.
    :raises EngineError: there is nothing to rank.
    """
    try:
        isFolder = isinstance(volumes, str | Path)
        sources = FolderCases.imageFiles(volumes) if isFolder else list(volumes)
        if not sources:
            raise VolumeError(_("There is no volume to rank."), _("Load or choose volumes without a segmentation."))
    except UserError as error:
        raise _engineError(error) from error
    sources = [Path(source) if isinstance(source, str) else source for source in sources]
    request = {"model": str(model), "device": device, "slices": slices, "anyModality": anyModality}
    job = RankingJob(engine, sources, request, later or _fromEventLoop, (onProgress, onFinished, onError))
    job.begin()
    return job


def unlabelledVolumes():
    """Volume nodes of the scene that no segmentation names as its reference, without label maps."""
    labelled = set()
    for segmentationNode in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        volumeNode = segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())
        if volumeNode and segmentationNode.GetSegmentation().GetNumberOfSegments():
            labelled.add(volumeNode)
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node not in labelled
        and not node.IsA("vtkMRMLLabelMapVolumeNode")
        and not node.GetHideFromEditors()
        and node.GetImageData()
    ]


class RankingJob:
    """A ranking on its way; made by ``start``.

    :ivar state: "running", "done", "cancelled" or "failed".
    :ivar ranked: list of RankedVolume so far; when it is over, the least sure first.
    :ivar failed: list of (name, EngineError) of volumes that could not be ranked.
    :ivar error: EngineError of a job that failed or was cancelled.
    """

    def __init__(self, engine, sources, request, later, callbacks):
        self.state = RUNNING
        self.ranked, self.failed, self.error = [], [], None
        self._engine, self._sources, self._request, self._later = engine, sources, request, later
        self._onProgress, self._onFinished, self._onError = callbacks
        self._names = [s.name if isinstance(s, Path) else s.GetName() or "" for s in sources]
        self._pending, self._source = None, None

    @property
    def isOver(self):
        """Whether nothing more will happen."""
        return self.state != RUNNING

    def begin(self):
        """Make the folder for the volumes on their way; called by ``start``."""
        try:
            self._folder = VolumeTransfer.PrivateFolder()
        except UserError as error:
            raise _engineError(error) from error
        self._count, self._index = len(self._sources), -1
        self._later(self._next)

    def cancel(self):
        """End at once; ``onError`` is called with kind "CancelledError" before this returns."""
        if self.isOver:
            return
        self.state = CANCELLED  # first, so that what the engine says about it is ignored
        if self._pending:
            self._pending.cancel()
        self._end(CANCELLED, EngineError("CancelledError", _("The ranking was cancelled.")))

    def _next(self):
        """Hand the next volume to the engine."""
        if self.isOver:
            return
        self._index += 1
        if self._index == self._count:
            self._finish()
            return
        self._report({"stage": "writing", "fraction": 0.0})
        path = str(self._folder.path / f"volume-{self._index}.npy")
        try:
            self._source = self._sources[self._index]
            node = FolderCases.readVolume(self._source) if isinstance(self._source, Path) else self._source
            self._requireInScene()
            modality = "" if isinstance(self._source, Path) else VolumeModality.dicomModality(node)
            parameters = {**self._request, "input": VolumeTransfer.writeVolume(node, path, modality)}
        except Exception as exception:
            self._fail(_engineError(exception))
            return
        self._pending = self._engine.request(
            "rank", parameters, self._onResult, self._onEngineError, self._onEngineProgress
        )

    def _requireInScene(self):
        if not isinstance(self._source, Path) and not slicer.mrmlScene.IsNodePresent(self._source):
            raise VolumeError(
                _("Volume '{name}' was removed from the scene.").format(name=self._names[self._index]),
                _("Load it again."),
            )

    def _onResult(self, result):
        if self.isOver:
            return
        try:
            self._requireInScene()  # for its parent transforms
            self.ranked.append(
                RankedVolume(self._source, {**result, "name": self._names[self._index]}, self._toWorld())
            )
        except Exception as exception:
            self._fail(_engineError(exception))
            return
        self._goOn()

    def _toWorld(self):
        """Function from LPS of the engine to RAS in the world."""
        transform = vtk.vtkGeneralTransform()
        if not isinstance(self._source, Path):
            parent = self._source.GetParentTransformNode()
            slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, transform)
        return lambda lps: tuple(transform.TransformPoint(np.array(lps) * (-1.0, -1.0, 1.0)))

    def _onEngineError(self, error):
        if self.isOver:
            return
        if error.kind in ("CancelledError", "EngineMissing"):  # no other volume would fare better
            self._end(CANCELLED if error.kind == "CancelledError" else FAILED, error)
        else:
            self._fail(error)

    def _fail(self, error):
        """Note that this volume could not be ranked, and go on with the next."""
        self.failed.append((self._names[self._index], error))
        self._goOn()

    def _goOn(self):
        self._pending = None
        self._folder.remove(self._folder.path / f"volume-{self._index}.npy")
        self._later(self._next)

    def _finish(self):
        self.ranked.sort(key=lambda entry: -entry.score)
        if self.ranked:
            self._end(DONE)
        else:
            self._end(FAILED, self.failed[0][1])

    def _onEngineProgress(self, progress):
        if not self.isOver:
            self._report(progress)

    def _report(self, progress):
        if not self._onProgress:
            return
        number, left = self._index + 1, progress.get("secondsLeft")
        text = _("Ranking volume {number} of {count}: {name}").format(
            number=number, count=self._count, name=self._names[self._index]
        )
        if left is not None and number == self._count:
            text = f"{text}, {timeLeft(left)}"
        fraction = (self._index + progress["fraction"]) / self._count
        self._onProgress(progress | {"fraction": fraction, "number": number, "count": self._count, "text": text})

    def _end(self, state, error=None):
        self.state, self.error = state, error
        self._sources, self._source, self._pending = [], None, None
        self._folder.close()
        if error is None and self._onFinished:
            self._onFinished(self)
        elif error is not None and self._onError:
            self._onError(self, error)


def _fromEventLoop(function):
    import qt

    qt.QTimer.singleShot(0, function)


def _engineError(exception):
    if isinstance(exception, UserError):
        return fromUserError(exception)
    return EngineError(
        "Defect",
        _("The volume could not be ranked: {error}.").format(error=exception),
        _("Please report this with the details."),
        "".join(traceback.format_exception(exception)),
    )
