"""The training behind the buttons: what is asked before it, what is shown while it runs, and its end."""

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Panels import Dialogs
from SAM2AdaptLib.Panels.JobControl import JobControl
from SAM2AdaptLib.Panels.Training.Plots import Plots
from SAM2AdaptLib.Panels.Training.Preview import Preview
from SAM2AdaptLib.Training import TrainingJob
from SAM2AdaptLib.Training.TrainingJob import PAUSED, WRITING


class RunControl:
    """One training, estimate or download at a time.

    :ivar addedModel: NAME@VERSION under which the last result was added to the user's models; "" if it was not.
    :ivar bundle: path of the last result's model file, None without one.
    """

    def __init__(self, logic, onProgress, onMessage, onFinished, onStopped, onEstimated):
        """
        :param logic: ``SAM2AdaptTrainingLogic``.
        :param onProgress: called with the fraction done (0..1) and a sentence.
        :param onMessage: called with sentences that the user should be able to read later too.
        :param onFinished: called with the finished ``TrainingJob``.
        :param onStopped: called with the ``EngineError`` of what failed or was cancelled.
        :param onEstimated: called with a sentence on time and memory.
        """
        self._logic = logic
        self._onProgress, self._onMessage, self._onFinished = onProgress, onMessage, onFinished
        self._onStopped, self._onEstimated = onStopped, onEstimated
        self._control = JobControl(logic.downloadBase, onProgress, self._onJobStopped)
        self.isTraining = self._control.isJobRunning  # or an estimate
        self._pending = None  # EngineRequest of adding the model
        self._isTrial = self._isLeft = self._showPlots = False
        self._structures = []
        self._plots, self._preview = Plots(), Preview()
        self.addedModel, self.bundle = "", None

    def isRunning(self):
        """Whether there is something to cancel."""
        return self._control.isRunning() or self._pending is not None

    def canBeStopped(self):
        """Whether there is a training that can be paused, or stopped with its best kept."""
        return self.isTraining() and not self._isTrial and self._job.state != WRITING

    def isPaused(self):
        """Whether the training holds."""
        return self.isTraining() and self._job.state == PAUSED

    def start(self, cases, classes, name, options, showPlots):
        """Train; the parameters are those of ``SAM2AdaptTrainingLogic.startTraining``."""
        self._showPlots = showPlots
        self._structures = [entry.toJson() for entry in classes if entry.use]

        def start(**callbacks):
            return self._logic.startTraining(cases, classes, name, **callbacks, **options)

        self._begin(start, name)

    def resume(self, run, showPlots):
        """Go on with an unfinished run, one of ``RunFolders.unfinishedRuns``."""
        self._showPlots, self._structures = showPlots, []
        self._begin(lambda **callbacks: self._logic.resumeTraining(run["folder"], **callbacks), run["name"])

    def estimate(self, cases, classes, options):
        """Measure what a training would cost."""

        def start(**callbacks):
            return self._logic.startEstimate(cases, classes, **callbacks, **options)

        self._isTrial = True
        self._control.start(start, lambda job: self._onEstimated(estimateInWords(job.result)))

    def pauseOrProceed(self):
        """Hold the training, or go on with it."""
        if self.isPaused():
            self._job.proceed()
        else:
            self._job.pause()

    def stop(self):
        """End the training and keep the best."""
        self._job.stop()

    def cancel(self):
        """End at once; what finished epochs have reached can be resumed."""
        self._control.cancel()
        if self._pending is not None:
            self._pending.cancel()

    def leave(self):
        """Stop to work with the panel, which is about to go: a training can be resumed, and nothing is called back."""
        self._isLeft = True
        self._control.leave()
        if self._job is not None:
            self._job.leave()
        self._preview.remove()

    def export(self, path, onExported, onFailed):
        """Copy the last result's model file to a path."""
        name = self.addedModel or str(self.bundle)
        self._logic.exportModel(name, path, self._unlessLeft(onExported), self._unlessLeft(onFailed))

    def sceneClosed(self):
        """The nodes of preview and plots are gone; the training goes on with its copies."""
        self._plots.hide()

    @property
    def _job(self):
        """The last ``TrainingJob``, None before the first."""
        return self._control.job

    def _begin(self, start, name):
        """Start a training with a function that takes its callbacks."""
        self._isTrial = False
        self.addedModel, self.bundle = "", None
        self._plots.begin(name)
        self._control.start(start, self._onJobFinished, onProgress=self._onJobProgress, onLog=self._onMessage)

    def _onJobStopped(self, error):
        self._preview.remove()
        self._onStopped(error)

    def _onJobProgress(self, progress):
        self._onProgress(progress["fraction"], progress["text"])
        if progress.get("unit") == "epoch":
            self._draw(self._job)
        if progress.get("preview"):
            self._showPreview(progress["preview"], progress["previewCase"])

    def _draw(self, job):
        self._plots.draw(job.history())
        if self._showPlots:
            self._plots.show()

    def _showPreview(self, path, case):
        volumeId = self._job.caseIds.get(case, (None, None))[0]
        if volumeId:
            self._preview.update(path, slicer.mrmlScene.GetNodeByID(volumeId), self._structures)

    def _onJobFinished(self, job):
        self._preview.remove()
        self._draw(job)
        self.bundle = job.result["bundle"]
        former = job.result.get("former")
        if TrainingJob.forgets(former) and not _confirmForgetting(former):
            self._onFinished(job)
            return
        self._pending = self._logic.addModel(
            self.bundle,
            onResult=self._unlessLeft(lambda row: self._onAdded(job, row)),
            onError=self._unlessLeft(lambda error: self._onNotAdded(job, error)),
        )

    def _onAdded(self, job, row):
        self._pending = None
        self.addedModel = f"{row['name']}@{row['version']}"
        self._onFinished(job)

    def _onNotAdded(self, job, error):
        self._pending = None
        self._onFinished(job)
        self._control.showError(error)

    def _unlessLeft(self, function):
        """The function, which does nothing once the panel has been left: its widgets are gone then."""
        return lambda value: None if self._isLeft else function(value)


def estimateInWords(result):
    """The engine's answer to ``estimate`` as a sentence."""
    time = ProgressTexts.duration(60 * result["minutes"])
    if result["memoryBytes"] is None:  # Windows does not tell it of a CPU
        return _("Measured: {time}.").format(time=time)
    return _("Measured: {time}, {memory} GB of memory.").format(time=time, memory=f"{result['memoryBytes'] / 1e9:.1f}")


def _confirmForgetting(former):
    text = _("The new model is worse at what it could before: accuracy {after} instead of {before}.")
    question = text.format(**{key: f"{value:.3f}" for key, value in former.items() if value is not None})
    explanation = _("If it is not added, it stays in its run folder and can be exported.")
    return Dialogs.confirm(question, explanation, _("Add it anyway"))
