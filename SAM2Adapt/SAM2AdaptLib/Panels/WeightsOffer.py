"""What is offered when an action fails for a reason that the user can do away with at once.

Weights of a base network that are missing can be downloaded; a model for another modality can be run anyway.
"""

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Panels import Dialogs


class WeightsOffer:
    """Shows why an action of a section failed; downloads the weights that it lacks, and starts it again."""

    def __init__(self, downloadBase, onProgress, onStopped):
        """
        :param downloadBase: that function of a module's logic.
        :param onProgress: called with the fraction of the download (0 to 1) and a sentence.
        :param onStopped: called with the ``EngineError`` of a download that failed or was cancelled.
        """
        self._downloadBase, self._onProgress, self._onStopped = downloadBase, onProgress, onStopped
        self._pending = None  # EngineRequest of the download
        self._isLeft = False

    def isRunning(self):
        """Whether there is a download to cancel."""
        return self._pending is not None

    def cancel(self):
        """Stop the download."""
        if self._pending is not None:
            self._pending.cancel()

    def leave(self):
        """Call nothing from now on: the panel is about to go. A download goes on."""
        self._isLeft = True

    def showError(self, error, again=None, anyway=None):
        """Show why an action failed, or offer what lets it succeed; for the parameters see ``offer``."""
        if not self.offer(error, again, anyway) and error.kind not in ("CancelledError", "EngineMissing"):
            Dialogs.showError(error)

    def offer(self, error, again=None, anyway=None):
        """Offer what lets an action succeed.

        :param error: ``EngineError`` of the action.
        :param again: function that starts the action again, once the weights that it lacks are here.
        :param anyway: function that starts the action whatever the modality of the volume is.
        :return: whether there was something to offer.
        """
        if "downloadBase" in error.setting and error.value and again:
            self._offerDownload(error, again)
        elif error.kind == "ModalityError" and anyway:
            if confirmOtherModality(error.message):
                anyway()
        else:
            return False
        return True

    def _offerDownload(self, error, again):
        explanation = _("They come from Meta, the makers of SAM 2, under the Apache 2.0 licence.")
        if not Dialogs.confirm(error.message, explanation, _("Download")):
            return

        def onResult(result):
            again()

        def onError(failure):
            self._onStopped(failure)
            self.showError(failure)

        def onProgress(progress):
            self._onProgress(progress["fraction"], ProgressTexts.download(progress))

        callbacks = self._ended(onResult), self._ended(onError), self._unlessLeft(onProgress)
        self._pending = self._downloadBase(error.value, *callbacks)
        self._onProgress(0, _("Starting…"))

    def _ended(self, function):
        def call(value):
            self._pending = None
            self._unlessLeft(function)(value)

        return call

    def _unlessLeft(self, function):
        return lambda value: None if self._isLeft else function(value)


def confirmOtherModality(warning):
    """Ask whether to run a model that was made for another modality than the volume's.

    :param warning: a sentence that says so.
    """
    return Dialogs.confirm(warning, _("The result is likely to be wrong."), _("Run anyway"))
