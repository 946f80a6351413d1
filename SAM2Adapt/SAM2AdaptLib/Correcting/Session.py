"""Corrections of one segmentation on one volume: what clicks share, so that each is answered at once.

The volume is written for the engine once. The engine keeps what it computed of it as long as the file stays the same.
"""

import numpy as np
from sam2adapt.shared.errors import ClassesError, SettingsError
from sam2adapt.shared.protocol import POINT
from slicer.i18n import tr as _

from SAM2AdaptLib.Correcting import SceneGestures
from SAM2AdaptLib.Correcting.CorrectJob import CorrectJob
from SAM2AdaptLib.Engine.Error import asEngineErrors
from SAM2AdaptLib.Engine.PrivateFolder import PrivateFolder
from SAM2AdaptLib.Engine.SceneJob import requireInScene
from SAM2AdaptLib.Scene import Geometry, Results, SegmentMasks, VolumeGrid, VolumeModality, VolumeTransfer


class Session:
    """Made for each segmentation and volume; ``close`` it at the end.

    :ivar volumeNode, segmentationNode: the nodes; ``model``: name of the model that helps, None without one.
    :ivar axis: array axis ("K", "J", "I") across the slices of the model; None before the first answer.
    """

    def __init__(self, engine, volumeNode, segmentationNode, model=None):
        """
        :param model: name or file; None: the model that made the segmentation.
        :raises EngineError: a node is missing, or is no image.
        """
        with asEngineErrors():
            if not volumeNode or not segmentationNode:
                raise SettingsError(_("A volume and a segmentation are needed."), _("Choose both."))
            requireInScene(volumeNode, segmentationNode)
            VolumeTransfer.requireSegmentable(volumeNode)
        self.engine, self.volumeNode, self.segmentationNode = engine, volumeNode, segmentationNode
        self.model = model or Results.modelOf(segmentationNode) or None
        self.axis = None
        self._folder = self._input = self._snapshot = self.grid = None
        self._written = 0
        self._gestures = {}  # of each segment

    def fits(self, volumeNode, segmentationNode, model=None):
        """Whether this is the session of these nodes and this model, as they are now."""
        same = self.volumeNode is volumeNode and self.segmentationNode is segmentationNode
        return same and self.model == (model or Results.modelOf(segmentationNode) or None)

    def prepare(self, **callbacks):
        """Have the engine compute what the first click would wait for; returns a CorrectJob.

        :param callbacks: those of ``Job``.
        :raises EngineError: as ``correct``.
        """
        return self._start(CorrectJob(self, None, None, **callbacks))

    def correct(self, segmentId, positions, positive=True, kind=POINT, carry=0, **callbacks):
        """Start a correction; returns a CorrectJob at once, whose ``apply`` changes the segment.

        :param positions: (N, 3) R, A, S in the world, mm: a point, a scribble, or two corners of a box; or a
          ``SceneGestures.Shown``, all of which is carried out at once.
        :param kind: of ``protocol.GESTURES``; of what is shown by a node, the node decides.
        :param carry: to how many slices on either side the change is carried.
        :param callbacks: those of ``Job``.
        :raises EngineError: the click lies outside of the volume, or the segment is not there.
        """
        with asEngineErrors():
            self._refresh()
            segment = self.segmentationNode.GetSegmentation().GetSegment(segmentId)
            if segment is None:
                raise ClassesError(_("There is no segment to correct."), _("Choose a segment."))
            if isinstance(positions, SceneGestures.Shown):
                gestures = SceneGestures.read(positions, self.segmentationNode, segmentId, self.grid, bool(positive))
            else:
                entry = {"kind": kind, "positive": bool(positive), "voxels": self._voxels(positions, kind)}
                gestures = SceneGestures.Gestures([entry])
            return self._start(CorrectJob(self, segmentId, gestures, carry, **callbacks))

    def close(self):
        """Remove the files."""
        if self._folder:
            self._folder.close()
        self._folder = self._input = None

    def earlier(self, segmentId, mask):
        """Gestures of a segment that are still obeyed; what was undone or drawn over counts no more."""
        return [gesture for gesture in self._gestures.get(segmentId, []) if _isObeyed(gesture, mask)]

    def remember(self, segmentId, gestures):
        """Keep gestures that were carried out."""
        self._gestures.setdefault(segmentId, []).extend(gestures)

    def input(self):
        """The ``input`` of a request: the volume as it is now, written again only if it changed."""
        self._refresh()
        return self._input

    def acrossSlices(self):
        """R, A, S in the world across the slices of the model, of length 1; after the first answer."""
        toWorld = Geometry.toWorld(self.segmentationNode, Geometry.gridMatrix(self.grid))
        along = [toWorld[:3, axis] for axis in range(3) if axis != "IJK".index(self.axis)]
        across = np.cross(*along)
        return across / np.linalg.norm(across)

    def _start(self, job):
        with asEngineErrors():
            self._refresh()
            job.begin([self.volumeNode, self.segmentationNode])
        return job

    def _refresh(self):
        requireInScene(self.volumeNode, self.segmentationNode)
        grid = SegmentMasks.drawingGrid(self.volumeNode, self.segmentationNode)
        if self._input and self._snapshot.isUnchanged() and _isSame(grid, self.grid):
            return
        self._folder = self._folder or PrivateFolder()
        self._written += 1
        volume = SegmentMasks.volumeOnGrid(self.volumeNode, self.segmentationNode, grid)
        modality = VolumeModality.dicomModality(self.volumeNode)
        path = self._folder.path / f"volume-{self._written}.npy"
        if self._input:
            self._folder.remove(self._input["array"])
        self._input = VolumeTransfer.writeVolume(volume, str(path), modality)
        self._snapshot = VolumeGrid.Snapshot(self.volumeNode, withVoxels=True)
        self.grid, self.axis, self._gestures = grid, None, {}

    def _voxels(self, positions, kind):
        voxels = SceneGestures.rounded(SceneGestures.voxelsOf(positions, self.segmentationNode, self.grid))
        isInside = SceneGestures.isInside(voxels, self.grid)
        if not (isInside.all() if kind == POINT else isInside.any()):
            raise SettingsError(
                _("The click lies outside of volume '{name}'.").format(name=self.volumeNode.GetName()),
                _("Click into the picture."),
            )
        return np.clip(voxels, 0, np.array(self.grid.GetDimensions()) - 1).tolist()


def _isSame(grid, other):
    return grid.GetDimensions() == other.GetDimensions() and np.allclose(
        Geometry.gridMatrix(grid), Geometry.gridMatrix(other)
    )


def _isObeyed(gesture, mask):
    i, j, k = np.transpose(gesture["voxels"])
    return bool((mask[k, j, i] == gesture["positive"]).all())
