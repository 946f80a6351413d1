"""The part of the module's logic that corrects segments by clicks."""

from sam2adapt.shared.errors import ClassesError
from sam2adapt.shared.protocol import POINT
from slicer.i18n import tr as _

from SAM2AdaptLib.Correcting.Session import Session
from SAM2AdaptLib.Engine.Error import asEngineErrors


class CorrectLogic:
    """Comes before ``ScriptedLoadableModuleLogic`` in the bases of a module's logic, which has ``engine``."""

    _session = None

    def correct(self, volumeNode, segmentationNode, segment, positions, positive=True, kind=POINT, carry=0, model=None):
        """Correct a segment by a point, a scribble or a box, and wait for it; ``undo`` takes it back.

        :param segment: name of the segment.
        :param positions: (N, 3) R, A, S in mm, for instance ``slicer.util.arrayFromMarkupsControlPoints(node,
          world=True)``: a point, the points of a scribble, or two corners of a box.
        :param positive: whether they belong to the segment; else they do not.
        :param kind: "point", "scribble" or "box".
        :param carry: to how many slices on either side the change is carried.
        :param model: name or file of the model that helps; None: the one that made the segmentation.
        :return: the ``CorrectJob``, whose result is in the segmentation: ``message``, ``result``, ``changed``.
        :raises EngineError: an error that a user can fix; nothing was changed then.
        """
        session = self.correcting(volumeNode, segmentationNode, model)
        segmentId = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(segment)
        if not segmentId:
            with asEngineErrors():
                names = [one.GetName() for one in _segments(segmentationNode)]
                raise ClassesError(
                    _("'{segmentation}' has no segment '{name}'.").format(
                        segmentation=segmentationNode.GetName(), name=segment
                    ),
                    _("Its segments are: {names}.").format(names=", ".join(names)),
                )
        job = session.correct(segmentId, positions, positive, kind, carry).wait()
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


def _segments(segmentationNode):
    segmentation = segmentationNode.GetSegmentation()
    return [segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()]
