"""Which volume, and which of its slices, is most worth correcting next: where a model is least sure.

The scene is never changed; volumes in files are read one at a time and not loaded into it.
"""

from pathlib import Path

import numpy as np
import slicer
import vtk
from sam2adapt.shared import slicing_axis
from sam2adapt.shared.errors import VolumeError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import HOPELESS, asEngineErrors, fromException
from SAM2AdaptLib.Engine.Job import DONE, FAILED, Job, stopped
from SAM2AdaptLib.Engine.PrivateFolder import PrivateFolder
from SAM2AdaptLib.Scene import Geometry, VolumeModality, VolumeTransfer
from SAM2AdaptLib.Training import FolderCases


class RankedSlice:
    """A slice worth correcting.

    :ivar axis: voxel axis across which it lies, "I", "J" or "K"; ``index``: its number along it, from 0.
    :ivar direction: "axial", "coronal" or "sagittal"; ``count``: number of slices along the axis.
    :ivar position: where the doubt is, (R, A, S) in mm in the world, parent transforms of the volume applied.
    :ivar uncertainty: about how many voxels are in doubt.
    """

    def __init__(self, entry, direction, position):
        self.axis, self.index = slicing_axis.ARRAY_AXES[2 - entry["axis"]], entry["index"]
        self.direction, self.count = direction, entry["count"]
        self.position, self.uncertainty = position, entry["uncertainty"]


class RankedVolume:
    """How sure a model is of one volume.

    :ivar name: of the node or file.
    :ivar volumeNode: the node, None for a file.
    :ivar path: the file (pathlib.Path), None for a node.
    :ivar score: 0 to 1, the larger the more there is to learn; the mean of ``uncertainty`` and ``disagreement``.
    :ivar found: whether the model sees any of its structures.
    :ivar slices: list of RankedSlice, the least sure first.
    """

    def __init__(self, source, result, toWorld, names):
        self.name = result["name"]
        self.volumeNode, self.path = (None, source) if isinstance(source, Path) else (source, None)
        self.score, self.found = result["score"], result["found"]
        self.uncertainty, self.disagreement = result["uncertainty"], result["disagreement"]
        self.slices = [
            RankedSlice(entry, names[entry["axis"]] if names else entry["direction"], toWorld(entry["position"]))
            for entry in result["slices"]
        ]


def start(engine, volumes, model, device="auto", slices=5, anyModality=False, givesWay=False, **callbacks):
    """Rank volumes; returns at once.

    :param engine: as for ``SegmentJob.start``.
    :param volumes: volume nodes and paths of image files, or the path of a folder of them.
    :param model: name of a model, or path of a model file.
    :param slices: how many slices of each volume to name at most.
    :param anyModality: as of ``SegmentJob.start``.
    :param givesWay: end, as cancelled, as soon as the engine is asked for something else.
    :param callbacks: those of ``Job``. onProgress gets "fraction" over all volumes, "number" and "count" of volumes.
      onFinished is called although some of the volumes could not be ranked; if none could, onError gets the error of
      the first.
    :return: the RankingJob.
    :raises EngineError: there is nothing to rank.
    """
    with asEngineErrors():
        isFolder = isinstance(volumes, str | Path)
        sources = FolderCases.imageFiles(volumes) if isFolder else list(volumes)
        if not sources:
            raise VolumeError(_("There is no volume to rank."), _("Load or choose volumes without a segmentation."))
    sources = [Path(source) if isinstance(source, str) else source for source in sources]
    request = {"model": str(model), "device": device, "slices": slices, "anyModality": anyModality}
    job = RankingJob(engine, sources, request, givesWay, **callbacks)
    job.begin()
    return job


class RankingJob(Job):
    """A ranking on its way; made by ``start``.

    :ivar ranked: list of RankedVolume so far; when it is over, the least sure first.
    :ivar failed: list of (name, EngineError) of volumes that could not be ranked.
    """

    def __init__(self, engine, sources, request, givesWay=False, **callbacks):
        super().__init__(**callbacks)
        self.ranked, self.failed = [], []
        self._engine, self._sources, self._request = engine, sources, request
        self._names = [s.name if isinstance(s, Path) else s.GetName() or "" for s in sources]
        self._source, self._givesWay = None, givesWay

    def begin(self):
        """Make the folder for the volumes on their way; called by ``start``."""
        with asEngineErrors():
            self._folder = PrivateFolder()
        self._count, self._index = len(self._sources), -1
        self._later(self._unlessOver(self._next))

    def _cancelledError(self):
        return stopped(_("The ranking was cancelled."))

    def _next(self):
        """Hand the next volume to the engine."""
        self._index += 1
        if self._index == self._count:
            self._finish()
            return
        self._report({"stage": "writing", "fraction": 0.0})
        self._source = self._sources[self._index]
        try:
            parameters = {**self._request, "input": self._input()}
        except Exception as exception:
            self._fail(_notRanked(exception))
            return
        self._ask(self._engine, "rank", parameters, **({"givesWay": True} if self._givesWay else {}))

    def _input(self):
        """What the engine gets: an array of a volume node, or the path of a file, which it reads by itself."""
        if isinstance(self._source, Path):
            self._directions = None
            return str(self._source.resolve())
        self._requireInScene()
        node = self._source
        self._directions = Geometry.sliceNames(Geometry.toWorld(node, Geometry.ijkToRAS(node)))
        path = str(self._folder.path / f"volume-{self._index}.npy")
        return VolumeTransfer.writeVolume(node, path, VolumeModality.dicomModality(node))

    def _requireInScene(self):
        if not isinstance(self._source, Path) and not slicer.mrmlScene.IsNodePresent(self._source):
            raise VolumeError(
                _("Volume '{name}' was removed from the scene.").format(name=self._names[self._index]),
                _("Load it again."),
            )

    def _onResult(self, result):
        try:
            self._requireInScene()  # for its parent transforms
            self.ranked.append(
                RankedVolume(
                    self._source, {**result, "name": self._names[self._index]}, self._toWorld(), self._directions
                )
            )
        except Exception as exception:
            self._fail(_notRanked(exception))
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
        if error.kind in HOPELESS or error.kind == "CancelledError":
            super()._onEngineError(error)
        else:
            self._fail(error)

    def _fail(self, error):
        """Note that this volume could not be ranked, and go on with the next."""
        self.failed.append((self._names[self._index], error))
        self._goOn()

    def _goOn(self):
        self._pending = None
        self._folder.remove(self._folder.path / f"volume-{self._index}.npy")
        self._later(self._unlessOver(self._next))

    def _finish(self):
        self.ranked.sort(key=lambda entry: -entry.score)
        if self.ranked:
            self._end(DONE)
        else:
            self._end(FAILED, self.failed[0][1])

    def _report(self, progress):
        number = self._index + 1
        left = progress.get("secondsLeft") if number == self._count else None  # how long the others take is not known
        text = ProgressTexts.ranking(number, self._count, self._names[self._index], left)
        fraction = (self._index + progress["fraction"]) / self._count
        super()._report(progress | {"fraction": fraction, "number": number, "count": self._count, "text": text})

    def _release(self):
        self._sources, self._source = [], None
        self._folder.close()


def _notRanked(exception):
    return fromException(exception, _("The volume could not be ranked: {error}."))
