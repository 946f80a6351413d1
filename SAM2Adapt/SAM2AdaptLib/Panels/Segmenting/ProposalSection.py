"""The line of the panel that says what the proposed model finds, and the trial behind it.

The trial begins a moment after a volume was chosen, beside everything else, and gives way to whatever the user clicks.
"""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Models import Trust
from SAM2AdaptLib.Panels.Segmenting.ModelList import mismatch, structuresInWords
from SAM2AdaptLib.Scene import Results, VolumeModality, Volumes

_DELAY = 500  # ms, so that clicking through volumes tries nothing


class ProposalSection:
    """Knows which model to propose for which volume, as far as that was tried."""

    def __init__(self, ui, logic, mayTry, onTried):
        """
        :param ui: widgets of the panel by name.
        :param logic: ``SAM2AdaptLogic``.
        :param mayTry: function that says whether the panel is in use and the engine can run.
        :param onTried: called when there is a verdict on a volume.
        """
        self._ui, self._logic, self._mayTry, self._onTried = ui, logic, mayTry, onTried
        self._verdicts = {}  # by ``_key``: (Catalog.Model or None, list of ProposalJob.Trial)
        self._asked = None  # (key, volume node, candidates) of the trial that is due or on its way
        self._job = None
        self._timer = qt.QTimer(ui.proposalLabel)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY)
        self._timer.connect("timeout()", self._try)

    def best(self, volumeNode, candidates):
        """The model to propose for a volume, None if none fits; before the trial, what the cards say.

        :param candidates: of ``Catalog.candidates``.
        """
        key = _key(volumeNode, candidates)
        if key in self._verdicts:
            return self._verdicts[key][0]
        if candidates and (self._asked is None or self._asked[0] != key):
            self.cancel()
            self._asked = key, volumeNode, candidates
        if candidates and self._job is None:
            self._timer.start()
        return candidates[0] if candidates else None

    def cancel(self):
        """Try nothing more until it is asked for again."""
        self._timer.stop()
        job, self._job, self._asked = self._job, None, None
        if job is not None:
            job.cancel()

    def isPlausible(self, volumeNode, model):
        """Whether a model did well on three slices of a volume; None if it was not tried."""
        for (nodeId, stamp, _digests), (_model, trials) in self._verdicts.items():
            for trial in trials:
                if (nodeId, stamp, trial.modelId) == (*_stamp(volumeNode), model.id):
                    return trial.isPlausible
        return None

    def noteTrust(self, job, volumeNode, models):
        """Keep with the result of a job how far to trust it.

        :param job: ``SegmentJob`` that is done, with a segmentation.
        :param models: list of ``Catalog.Model``; the one of the job may be gone.
        """
        made = job.result["model"]
        model = next((model for model in models if model.digest == made["digest"]), None)
        if model is None:
            return
        missing = [structure["name"] for structure in job.result["structures"] if not structure["voxels"]]
        warning = mismatch(model, VolumeModality.volumeModality(volumeNode))
        text = Trust.sentences(model, warning, self.isPlausible(volumeNode, model), missing)
        Results.setTrust(job.segmentationNode, text)

    def show(self, volumeNode, model):
        """Say what the chosen model finds in a volume, or that none fits; model: ``Catalog.Model`` or None."""
        text = ""
        if Volumes.hasVoxels(volumeNode):
            text = _("No model fits this volume: draw a few slices, and the rest is filled in.")
        if text and model:
            found = _("Finds {structures}.").format(structures=structuresInWords(model.structures))
            text = " ".join(filter(None, [found, self._state(volumeNode, model)]))
        self._ui.proposalLabel.text, self._ui.proposalLabel.visible = text, bool(text)

    def _state(self, volumeNode, model):
        plausible = self.isPlausible(volumeNode, model)
        if plausible is not None:
            return _("It fits this volume: tried on three slices.") if plausible else _("It may not fit this volume.")
        return _("Trying it on three slices…") if self._job is not None else ""

    def _try(self):
        key, volumeNode, candidates = self._asked
        if not self._mayTry() or not volumeNode.GetScene() or Results.ofVolume(volumeNode):
            self._asked = None
            return
        callbacks = {"onFinished": lambda job: self._onFinished(key, candidates, job), "onError": self._onError}
        try:
            self._job = self._logic.startProposal(volumeNode, candidates, **callbacks)
        except EngineError:
            self._verdicts[key] = candidates[0], []  # the click on the button will say what is wrong
        else:
            self._onTried(False)

    def _onFinished(self, key, candidates, job):
        self._job = self._asked = None
        untried = next((model for model in candidates if not model.basePresent), None)
        self._verdicts[key] = job.model or untried, job.trials
        self._onTried(True)

    def _onError(self, job, error):
        if job is not self._job:
            return  # cancelled here
        key, _volumeNode, candidates = self._asked
        self._job = self._asked = None
        if error.kind != "CancelledError":
            self._verdicts[key] = candidates[0], []  # not again; the click on the button will say what is wrong
        self._onTried(False)


def _key(volumeNode, candidates):
    return (*_stamp(volumeNode), tuple(model.digest for model in candidates))


def _stamp(volumeNode):
    """ID of a volume and the time of the last change of its voxels."""
    return volumeNode.GetID(), volumeNode.GetImageData().GetPointData().GetScalars().GetMTime()
