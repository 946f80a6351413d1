"""One training run, from cases in the scene or in files to a model file; it outlives Slicer in its run folder.

Nothing here waits: the cases are written one at a time from the event loop, then each step is a callback of the engine.
The scene is read only until the cases are written, and never changed.
"""

import contextlib

import slicer
from sam2adapt.shared import protocol
from sam2adapt.shared.errors import InputFileError, ModalityError, UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import EngineError, asEngineErrors, fromException
from SAM2AdaptLib.Engine.Job import DONE, FAILED, Job, stopped
from SAM2AdaptLib.Engine.Remote import Trainings
from SAM2AdaptLib.Engine.SceneJob import NodeWatch
from SAM2AdaptLib.Training import CaseFiles, Classes, RunFolders
from SAM2AdaptLib.Training.Cases import IGNORE, TRAIN, VALIDATE

WRITING, TRAINING, PAUSED = ProgressTexts.WRITING, protocol.TRAINING, protocol.PAUSED


def start(engine, cases, classes, name, options=None, **callbacks):
    """Start a training; returns at once.

    :param engine: as for ``SegmentJob.start``; its requests also have ``control(action)``, which gives whether the
      action could be sent. Best not the one that segments, which would have to wait for the training.
    :param cases: list of ``Cases.TrainingCase``; those to ignore are left out. If none is for validation, the engine
      chooses.
    :param classes: what ``Classes.match`` gave for these cases.
    :param name: of the new model.
    :param options: dict of further parameters of the engine's ``train``: preset, base, method, settings, init, epochs,
      device, license … ; "preview": True asks for labels of a validation case, see ``onProgress``.
    :param callbacks: those of ``Job``. onProgress gets in the stage "writing" "done" and "total" cases, then the
      engine's progress (see ``sam2adapt.server.train_methods``); "fraction" starts again at 0 after "writing".
      "preview" is a file of labels, once after it was written, and "previewCase" its case's name in ``caseIds``.
    :return: the TrainingJob.
    :raises EngineError: what is known before anything runs (``Classes.problems``).
    """
    return _begin(engine, cases, classes, name, options, callbacks, isTrial=False)


def estimate(engine, cases, classes, options=None, **callbacks):
    """Measure what a training would cost, by a few real steps; nothing is kept.

    Parameters as of ``start``; the result of the job is the engine's: "secondsPerStep", "minutes", "memoryBytes".
    """
    return _begin(engine, cases, classes, _("estimate"), options, callbacks, isTrial=True)


def resume(engine, folder, **callbacks):
    """Go on with a run from its last whole epoch, or from the start if it has none; returns at once.

    :param folder: run folder, see ``RunFolders.unfinishedRuns``.
    :param callbacks: as of ``start``.
    :raises EngineError: there is nothing to go on with, or another Slicer works on it.
    """
    with asEngineErrors():
        run = RunFolders.Run(folder)
        try:
            run.request()
        except UserError:
            run.release()
            raise
        if run.content["state"] != RunFolders.TRAINING:
            run.release()
            raise InputFileError(
                _("The run '{name}' cannot be resumed.").format(name=run.name), _("Start a new training.")
            )
    job = TrainingJob(engine, run, isResumed=True, **callbacks)
    job.train()
    return job


def forgets(former):
    """Whether a continued model has lost more than it may of what it could before.

    :param former: None, or dict with the mean Dice "before" and "after" on the former validation slices.
    """
    return bool(former) and former["before"] - former["after"] > protocol.FORGETTING


def _begin(engine, cases, classes, name, options, callbacks, isTrial):
    cases = [case for case in cases if case.use != IGNORE]
    with asEngineErrors():
        if problems := Classes.problems(cases, classes):
            raise problems[0]
        options = {"modality": _modality(cases), **(options or {})}
        if isTrial:
            options.pop(Trainings.HOURS, None)
        run = RunFolders.create(name)
    job = TrainingJob(engine, run, isTrial, **callbacks)
    job.write(cases, classes, options)
    return job


class TrainingJob(Job):
    """A training on its way; made by ``start``, ``resume`` and ``estimate``.

    :ivar state: "writing", "training" or "paused", then as of ``Job``.
    :ivar name: of the model.
    :ivar folder: run folder; it is gone where ``canResume`` is False after a failure.
    :ivar caseIds: dict from the name under which the engine reports a case to the IDs of its volume and segmentation
      node, None each for cases in files; empty for a resumed run and after the scene was closed, because then the IDs
      may be those of other nodes.
    :ivar result: the engine's answer; its "bundle" is the path of the model file.
    :ivar message: one sentence on the result.
    :ivar canResume: whether a run that failed or was cancelled can go on.
    """

    def __init__(self, engine, run, isTrial=False, isResumed=False, **callbacks):
        super().__init__(**callbacks)
        self.state = WRITING
        self.name, self.folder = run.name, run.folder
        self.caseIds = {}
        self.result = None
        self.message, self.canResume = "", False
        self._engine, self._run, self._isTrial, self._isResumed = engine, run, isTrial, isResumed
        self._unsent = self._watch = None
        self._isLeft = False

    def history(self):
        """Loss and Dice of each finished epoch, those before an interruption too; see ``RunFolders.Run.history``."""
        return self._run.history()

    def pause(self):
        """Hold the training after the step that is being computed; the state is "paused" when it holds."""
        self._control(protocol.PAUSE)

    def proceed(self):
        """Go on after ``pause``."""
        self._control(protocol.RUN)

    def stop(self):
        """End the training now and keep the best that was reached; the job ends as if it were finished."""
        if self.state == WRITING:
            self.cancel()
        else:
            self._control(protocol.STOP)

    def cancel(self):
        """End at once, as ``Job.cancel``; what finished epochs have reached stays in the run folder to go on from."""
        super().cancel()

    def _cancelledError(self):
        return stopped(_("The training was cancelled."))

    @property
    def goesOn(self):
        """Whether it goes on without this Slicer, on another computer."""
        return Trainings.HOURS in self._run.content["request"] and self._run.elsewhere is not None

    def _cancelPending(self):
        # A training that goes on by itself must be told; all others end with the engine's process.
        if self.goesOn and not self._isLeft:
            self._pending.release()
        else:
            self._pending.cancel()

    def leave(self):
        """End at once without a callback, because Slicer closes; what was written stays, so that the run can go on."""
        self._onError, self._isLeft = None, True
        self._stop(EngineError("EngineStopped", _("Slicer was closed.")))

    def write(self, cases, classes, options):
        """Write the cases, one each time the event loop comes round; called by ``start``."""
        names = CaseFiles.identifiers(cases)
        parts = {part: [n for n, case in zip(names, cases, strict=True) if case.use == use] for part, use in
                 (("train", TRAIN), ("val", VALIDATE))}  # fmt: skip
        request = {**options, "classes": [entry.toJson() for entry in classes if entry.use]}
        if parts["val"]:
            request["split"] = parts
        self.caseIds = {
            name: tuple(node and node.GetID() for node in (case.volumeNode, case.segmentationNode))
            for name, case in zip(names, cases, strict=True)
        }
        described = [{"id": name, "name": case.name, "use": case.use, "annotatedSlices": case.annotatedSlices}
                     for name, case in zip(names, cases, strict=True)]  # fmt: skip
        waiting = list(zip(cases, names, strict=True))
        count = len(waiting)

        def writeNext():
            try:
                if not waiting:
                    self._run.update(state=self._stateOfFiles(), request=request, cases=described)
                    self.train()
                    return
                self._report({"stage": WRITING, "done": count - len(waiting), "total": count})
                CaseFiles.writeCase(*waiting.pop(0), classes, self.folder)
            except Exception as exception:
                self._end(FAILED, fromException(exception, _("A case could not be written: {error}.")))
            else:
                self._later(self._unlessOver(writeNext))

        self._later(self._unlessOver(writeNext))

    def train(self):
        """Hand the run to the engine; called when everything is in the run folder."""
        self.state = TRAINING
        self._watchCases()
        self._ask(self._engine, "estimate" if self._isTrial else "train", self._run.request())

    def _stateOfFiles(self):
        # What is left of a trial is removed like what is left of writing.
        return RunFolders.WRITING if self._isTrial else RunFolders.TRAINING

    def _control(self, action):
        if not self.isOver:
            # The engine may not have begun yet; then it is told with its first progress.
            self._unsent = None if self._pending and self._pending.control(action) else action

    def _onEngineProgress(self, progress):
        if self._unsent and self._pending.control(self._unsent):
            self._unsent = None
        self.state = PAUSED if progress["stage"] == protocol.PAUSED else TRAINING
        self._report(progress)

    def _onResult(self, result):
        self.result = result
        if self._isTrial:
            self._end(DONE)
            return
        dice = (result.get("dice") or {}).get("mean")
        self.message = _("The model was trained without cases for validation.")
        if dice is not None:
            self.message = _("The model is trained. Accuracy on the validation cases: {dice}.").format(
                dice=f"{dice:.2f}"
            )
        try:
            self._run.removeData()
            self._run.update(state=RunFolders.DONE, result={k: v for k, v in result.items() if k != "card"})
        except UserError as error:
            self._say(str(error))  # the model is there all the same
        self._end(DONE)

    def _end(self, state, error=None):
        super()._end(state, error and self._keepOrDiscard(error))

    def _release(self):
        if self._watch:
            self._watch.stop()
        if self.state == DONE and self._isTrial:
            self._run.discard()
        self._run.release()

    def _keepOrDiscard(self, error):
        """Keep the folder of a run that can go on, and say so; remove any other."""
        # Without an epoch there is nothing to lose, but an engine that was killed will do better next time; and of a
        # run that goes on, the copies of the cases may be all that is left of them.
        isWorthIt = self._run.epochs > 0 or self._isResumed or error.kind in ("EngineStopped", "RemoteError")
        self.canResume = self._run.content["state"] == RunFolders.TRAINING and isWorthIt
        if not self.canResume:
            self._run.discard()
            return error.withRemedy(error.remedy or _("Nothing was kept."))
        remedy = "" if "resume" in error.setting else _("The training can be resumed.")
        if not self._run.epochs:
            remedy = _("The training can be started again; the cases need not be written again.")
        with contextlib.suppress(UserError):  # a full disk, most likely what the error is about
            self._run.update(error={"kind": error.kind, "message": error.message, "details": error.details})
        return error.withRemedy(f"{error.remedy} {remedy}".strip())

    def _report(self, progress):
        progress = {"fraction": progress.get("done", 0) / max(1, progress.get("total", 1)), **progress}
        super()._report(progress | {"text": ProgressTexts.training(progress)})

    def _watchCases(self):
        """Say what it means from now on when cases leave the scene: nothing, since the engine works on files."""
        nodes = [slicer.mrmlScene.GetNodeByID(nodeId) for ids in self.caseIds.values() for nodeId in ids if nodeId]
        if nodes and not self._isTrial:
            self._watch = NodeWatch(nodes, self._onNodeRemoved, self._onSceneClosing)

    def _onNodeRemoved(self, node):
        text = _("'{name}' was removed from the scene. The training goes on with the copy made before.")
        self._say(text.format(name=node.GetName()))

    def _onSceneClosing(self):
        self.caseIds = {}
        if self._watch.nodeIds:
            self._watch.nodeIds.clear()
            self._say(_("The scene was closed. The training goes on with the copies of the cases made before."))


def _modality(cases):
    """The modality that DICOM gives for all cases; None where it does not, so that the engine looks at the voxels.

    :raises ModalityError: there are several.
    """
    known = {case.modality() for case in cases}
    if len(known - {""}) > 1:
        raise ModalityError(
            _("The cases are of several kinds: {kinds}.").format(kinds=", ".join(sorted(known - {""}))),
            _("Train one model for each."),
        )
    return known.pop() or None if len(known) == 1 else None
