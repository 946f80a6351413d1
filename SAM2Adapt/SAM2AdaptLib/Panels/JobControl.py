"""How the sections of the panels run a job: one at a time, and with an offer where the user can mend a failure."""

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Panels.WeightsOffer import WeightsOffer


class JobControl:
    """Runs one job, or the download of the weights that it needs.

    :ivar job: the last job, None before the first.
    """

    def __init__(self, downloadBase, onProgress, onStopped, showsBoxes=True):
        """
        :param downloadBase: that function of a module's logic.
        :param onProgress: called with the fraction done (0 to 1) and a sentence.
        :param onStopped: called with the ``EngineError`` of a job or download that failed or was cancelled.
        :param showsBoxes: whether a failure is shown in a box, too; not for short jobs, of which little is lost.
        """
        self.job = None
        self._showsBoxes = showsBoxes
        self._onProgress, self._onStopped = onProgress, onStopped
        self._offer = WeightsOffer(downloadBase, onProgress, onStopped)

    def isRunning(self):
        """Whether there is something to cancel."""
        return self._offer.isRunning() or self.isJobRunning()

    def isJobRunning(self):
        """Whether a job is running, and not only the download of weights."""
        return self.job is not None and not self.job.isOver

    def cancel(self):
        """Stop at once."""
        self._offer.cancel()
        if self.job is not None:
            self.job.cancel()

    def leave(self):
        """Offer nothing more, because the panel is about to go."""
        self._offer.leave()

    def showError(self, error):
        """Show why something other than the job failed."""
        self._offer.showError(error)

    def start(self, start, onFinished, anyway=None, **callbacks):
        """Start a job.

        :param start: function that takes the callbacks of ``Job`` as keywords, starts the job and returns it.
        :param onFinished: called with the finished job.
        :param anyway: function that starts the job whatever the modality of the volume is.
        :param callbacks: further callbacks of ``Job``; a given onProgress replaces the one of this object.
        """

        def again():
            self.start(start, onFinished, anyway, **callbacks)

        def onError(job, error):
            self._onStopped(error)
            show = self._offer.showError if self._showsBoxes else self._offer.offer
            show(error, again, anyway)

        standard = {"onProgress": lambda progress: self._onProgress(progress["fraction"], progress["text"])}
        try:
            self.job = start(**standard | callbacks, onFinished=onFinished, onError=onError)
        except EngineError as error:
            # Nothing ran, so nothing is lost: the sentence in the panel is enough.
            self._onStopped(error)
            self._offer.offer(error, again, anyway)
        else:
            if not self.job.isOver:
                self._onProgress(0, _("Starting…"))
