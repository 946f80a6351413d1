"""The part of the module's logic that corrects segments by clicks, markups and other segments."""

from sam2adapt.shared.errors import ClassesError
from sam2adapt.shared.protocol import POINT
from slicer.i18n import tr as _

from SAM2AdaptLib.Correcting.SceneGestures import Shown
from SAM2AdaptLib.Correcting.Session import Session
from SAM2AdaptLib.Engine.Error import asEngineErrors


class CorrectLogic:
    """Comes before ``ScriptedLoadableModuleLogic`` in the bases of a module's logic, which has ``engine``."""

    _session = None

    def correct(self, volumeNode, segmentationNode, segment, positions, positive=True, kind=POINT, carry=0, model=None):
        """Correct a segment by what is shown, and wait for it; one ``undo`` takes it back.

        :param segment: name of the segment.
        :param positions: a markups node: points, a line, a curve, a closed curve (with all that it encloses if it lies
          in one slice), a plane or a region (boxes); or (segmentation node, name of a segment), which was drawn to show
          it; or (N, 3) R, A, S in mm: a point, the points of a scribble, or two corners of a box.
        :param positive: whether they belong to the segment; else they do not.
        :param kind: of positions, not of a node: "point", "scribble" or "box".
        :param carry: to how many slices on either side the change is carried.
        :param model: name or file of the model that helps; None: the one that made the segmentation.
        :return: the ``CorrectJob``, whose result is in the segmentation: ``message``, ``result``, ``changed``.
        :raises EngineError: an error that a user can fix; nothing was changed then.
        """
        session = self.correcting(volumeNode, segmentationNode, model)
        segmentId = _idOf(segmentationNode, segment)
        job = session.correct(segmentId, _shown(positions), positive, kind, carry).wait()
        job.apply()
        return job

    def correcting(self, volumeNode, segmentationNode, model=None):
        """The ``Session`` of a volume and a segmentation, for clicks that are not waited for; the last one is kept."""
        session = self._session
        if session is None or not session.fits(volumeNode, segmentationNode, model):
            if session:
                session.close()
            self._session = Session(self.engine, volumeNode, segmentationNode, model)
        return self._session


def _shown(positions):
    """Positions as they are, a node as ``SceneGestures.Shown``."""
    if hasattr(positions, "GetID"):
        return Shown(positions)
    if len(positions) == 2 and hasattr(positions[0], "GetSegmentation"):
        return Shown(positions[0], _idOf(*positions))
    return positions


def _idOf(segmentationNode, name):
    """The ID of a segment.

    :raises EngineError: there is no such segment.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentId := segmentation.GetSegmentIdBySegmentName(name):
        return segmentId
    with asEngineErrors():
        names = [segmentation.GetSegment(one).GetName() for one in segmentation.GetSegmentIDs()]
        raise ClassesError(
            _("'{segmentation}' has no segment '{name}'.").format(segmentation=segmentationNode.GetName(), name=name),
            _("Its segments are: {names}.").format(names=", ".join(names)),
        )
