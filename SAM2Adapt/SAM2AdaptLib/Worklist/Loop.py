"""What goes on beside the user's work on a worklist: models are measured, cases ranked, and models trained.

Measuring and ranking give way to everything that the user asks of the engine. Nothing here waits.
"""

import time
from pathlib import Path

from sam2adapt.shared.errors import UserError
from sam2adapt.shared.labels.label_names import label_table
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import PASSING, EngineError, fromUserError
from SAM2AdaptLib.Training import Classes, FolderCases, RankingJob
from SAM2AdaptLib.Worklist.Worklist import DONE, LEARNT

_REST = 60  # s before the engine is asked again after an error that is none of a case's


class Loop:
    """One thing at a time, on the cases of a worklist.

    :ivar text: what it does at the moment, as a sentence without full stop; "" for nothing.
    :ivar trainAfter: how many new corrections start a training.
    """

    def __init__(self, logic, worklist, options, freeName, onChanged, onError, later):
        """
        :param logic: ``SAM2AdaptTrainingLogic``.
        :param worklist: ``Worklist.Worklist``.
        :param options: function that gives the options of a training, as of ``TrainingLogic.startTraining``.
        :param freeName: function that gives a name for a new model.
        :param onChanged: called when a state or ``text`` has changed.
        :param onError: called with the ``EngineError`` of a training that failed or was cancelled.
        :param later: calls a function from the event loop, see ``Job``.
        """
        self._logic, self.worklist, self._options, self._freeName = logic, worklist, options, freeName
        self._onChanged, self._onError, self._later = onChanged, onError, later
        self.text, self.trainAfter = "", 5
        self._pending = self._training = None
        self._isLeft, self._notBefore, self._restsUntil = False, 0, 0.0

    def isTraining(self):
        """Whether a training is on its way, its preparation included."""
        return self._training is not None

    def work(self):
        """Begin what is due, unless something is on its way; cheap, so it may be called again and again."""
        isResting = time.monotonic() < self._restsUntil
        if self._pending is not None or self.isTraining() or self._isLeft or isResting:
            return
        if measured := self.worklist.toMeasure():
            self._measure(*measured[0])
        elif len(self.worklist.inState(DONE)) >= max(self.trainAfter, self._notBefore):
            self.train()
        elif waiting := self.worklist.toRank():
            self._rank(waiting[0])

    def train(self):
        """Keep the better model, then train a newer one on all corrections."""
        try:
            self.worklist.decide()
            self.worklist.save()
        except UserError as error:
            self._stopped(fromUserError(error))
            return
        entries = self.worklist.inState(DONE, LEARNT)
        self._training, cases = entries, []
        self._say(_("Preparing the corrections"))

        def prepareNext():
            if self._training is not entries or self._isLeft:
                return
            try:
                if len(cases) < len(entries):
                    cases.append(self._case(entries[len(cases)]))
                    self._later(prepareNext)
                else:
                    self._startTraining(entries, cases)
            except UserError as error:
                self._stopped(fromUserError(error))
            except EngineError as error:
                self._stopped(error)

        self._later(prepareNext)

    def cancel(self):
        """Stop the training; measuring and ranking go on."""
        if hasattr(self._training, "cancel"):
            self._training.cancel()
        elif self.isTraining():
            self._stopped(EngineError("CancelledError", _("The training was cancelled.")))

    def leave(self):
        """Stop for good: nothing is called back any more."""
        self._isLeft = True
        if hasattr(self._training, "leave"):
            self._training.leave()
        if self._pending is not None:
            self._pending.release() if hasattr(self._pending, "release") else self._pending.cancel()
        self._pending = self._training = None

    def _case(self, entry):
        path = self.worklist.correction(entry)
        case = FolderCases.FileCase(entry.id, Path(entry.image), path, label_table(path))
        case.isComplete = entry.isComplete
        return case

    def _startTraining(self, entries, cases):
        options = self._options()
        if self.worklist.model:
            without = ("preset", "base", "method", "settings", "quick")
            options = {key: value for key, value in options.items() if key not in without}
            options["init"] = self.worklist.model
        self._training = self._logic.startTraining(
            cases, Classes.match(cases), self._freeName(), later=self._later,
            onProgress=lambda progress: self._say(progress["text"]),
            onFinished=lambda job: self._onTrained(job, entries),
            onError=lambda job, error: self._stopped(error), **options,
        )  # fmt: skip

    def _onTrained(self, job, entries):
        def added(row):
            self._training, self._notBefore = None, 0
            self.worklist.learnt(entries, f"{row['name']}@{row['version']}")
            self.worklist.save()
            self._say("")

        self._logic.addModel(job.result["bundle"], onResult=self._unlessLeft(added), onError=self._stopped)

    def _stopped(self, error):
        if self._isLeft:
            return
        self._training = None
        self._notBefore = len(self.worklist.inState(DONE)) + 1  # it would fail again before the next correction
        self._say("")
        self._onError(error)

    def _measure(self, entry, name):
        def take(value):
            self._pending = None
            entry.accuracy[name] = value
            self.worklist.save()
            self._say("")

        self._say(_("Measuring {model} on {case}").format(model=name, case=entry.id))
        params = {"model": name, "image": entry.image, "labels": str(self.worklist.correction(entry))}
        self._pending = self._logic.modelEngine.request(
            "measureCase", params, onResult=self._unlessLeft(lambda result: take(result["dice"]["mean"])),
            onError=self._unlessLeft(lambda error: self._onAnswerless(error, lambda: take(None))), givesWay=True,
        )  # fmt: skip

    def _rank(self, entry):
        name = self.worklist.inUse()

        def take(score):
            self._pending = None
            entry.score, entry.scoredBy = score, name
            self.worklist.save()
            self._say("")

        def failed(job, error):
            self._unlessLeft(lambda error: self._onAnswerless(error, lambda: take(entry.score)))(error)

        self._say(_("Looking at {case}").format(case=entry.id))
        self._pending = RankingJob.start(
            self._logic.modelEngine, [Path(entry.image)], name, slices=1, givesWay=True, later=self._later,
            onFinished=self._unlessLeft(lambda job: take(job.ranked[0].score)), onError=failed,
        )  # fmt: skip

    def _onAnswerless(self, error, takeNothing):
        if error.kind in PASSING:
            self._pending = None
            if error.kind != "CancelledError":  # it gave way to the user
                self._restsUntil = time.monotonic() + _REST
            self._say("")
        else:
            takeNothing()

    def _unlessLeft(self, function):
        return lambda value: None if self._isLeft else function(value)

    def _say(self, text):
        self.text = text
        self._onChanged()
