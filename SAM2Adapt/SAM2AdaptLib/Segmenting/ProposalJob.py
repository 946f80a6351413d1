"""Which model to propose for a volume: the best measured one whose trial on three slices of it is plausible.

Nothing here waits, only the slices that are tried are written, and the engine drops a trial for any other request.
"""

from sam2adapt.shared.model_fit import PLAUSIBLE, slices_to_send
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import PASSING, asEngineErrors
from SAM2AdaptLib.Engine.Job import DONE, stopped
from SAM2AdaptLib.Engine.SceneJob import SceneJob, requireInScene
from SAM2AdaptLib.Scene import VolumeGrid, VolumeModality, VolumeTransfer

_AT_MOST = 5  # models; loading each takes about a second


class Trial:
    """How a model did on three slices of a volume.

    :ivar modelId: NAME@VERSION; ``found``: names of the structures that it saw.
    :ivar score: 0 to 1, see ``model_fit.trial_score``.
    """

    def __init__(self, modelId, found, score):
        self.modelId, self.found, self.score = modelId, found, score

    @property
    def isPlausible(self):
        """Whether the model may be proposed."""
        return self.score >= PLAUSIBLE


def start(engine, volumeNode, models, device="auto", **callbacks):
    """Try models on three slices of a volume, until one is plausible; returns at once.

    :param engine: as of ``SegmentJob.start``; its requests take ``givesWay``, too.
    :param models: list of ``Catalog.Model``, the best first; those without their weights are left out.
    :param callbacks: those of ``Job``. A job that gives way to another request ends with a "CancelledError".
    :return: the ProposalJob.
    :raises EngineError: a volume without voxels, or one that is not in the scene.
    """
    with asEngineErrors():
        requireInScene(volumeNode)
        VolumeTransfer.requireSegmentable(volumeNode)
        job = ProposalJob(engine, volumeNode, [m for m in models if m.basePresent][:_AT_MOST], device, **callbacks)
        job.begin([volumeNode])
    return job


class ProposalJob(SceneJob):
    """Trials on their way; made by ``start``.

    :ivar model: ``Catalog.Model`` to propose, None if none fits.
    :ivar trials: list of ``Trial``, of the models that were tried.
    """

    def __init__(self, engine, volumeNode, models, device, **callbacks):
        super().__init__(**callbacks)
        self.model, self.trials = None, []
        self._engine, self._volumeNode, self._device = engine, volumeNode, device
        self._waiting, self._inputs = list(models), {}

    def _cancelledError(self):
        return stopped(_("The trial was cancelled."))

    def _cancelPending(self):
        self._pending.release()  # the engine stays warm

    def _send(self):
        if not self._waiting:
            self._later(self._unlessOver(lambda: self._end(DONE)))
            return
        model = self._waiting[0]
        params = {"model": str(model.path), "input": self._input(model.axis), "device": self._device}
        self._ask(self._engine, "tryModel", params, givesWay=True)

    def _input(self, axis):
        """What the engine gets of the volume for models that slice it along an axis; written once for each axis."""
        across = VolumeGrid.modelAxis(self._volumeNode, axis)
        if across not in self._inputs:
            count = self._volumeNode.GetImageData().GetDimensions()[across]
            path = str(self._folder.path / f"slices-{across}.npy")
            modality = VolumeModality.dicomModality(self._volumeNode)
            slices = across, slices_to_send(count)
            self._inputs[across] = VolumeTransfer.writeVolume(self._volumeNode, path, modality, slices)
        return self._inputs[across]

    def _onResult(self, result):
        model = self._waiting.pop(0)
        self.trials.append(Trial(model.id, result["found"], result["score"]))
        if self.trials[-1].isPlausible:
            self.model = model
            self._end(DONE)
        else:
            self._send()

    def _onEngineError(self, error):
        if error.kind in PASSING:
            super()._onEngineError(error)
            return
        self._waiting.pop(0)  # this model cannot take the volume; the next one may
        self._send()

    def _release(self):
        super()._release()
        self._waiting, self._inputs = [], {}
