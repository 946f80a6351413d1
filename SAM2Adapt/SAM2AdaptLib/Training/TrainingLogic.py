"""The part of the module's logic that trains, and ranks what to correct next."""

import os

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Job import takeCallbacks
from SAM2AdaptLib.Scene import Volumes
from SAM2AdaptLib.Training import Cases, Classes, FolderCases, RankingJob, RunFolders, TrainingJob


class TrainingLogic:
    """Comes before ``ModelsLogic`` in the bases of a module's logic; ``engine`` trains, ``modelEngine`` ranks."""

    def train(self, cases, name="my-model", allowForgetting=False, **options):
        """Train and wait for it; Slicer stays alive. The model is added to the user's models.

        :param cases: list of (volume node, segmentation node), list of ``TrainingCase``, or a folder.
        :param allowForgetting: also add a continued model that lost some of what it could before.
        :return: path of the model file.
        """
        job = self.startTraining(cases, None, name, **options).wait()
        if TrainingJob.forgets(job.result.get("former")) and not allowForgetting:
            message = _("The new model is worse at what it could before.")
            remedy = _("It was not added; its file is {path}.").format(path=job.result["bundle"])
            raise EngineError("ForgettingError", message, remedy)
        return self.addModel(job.result["bundle"])["path"]

    def startTraining(self, cases, classes=None, name="my-model", **options):
        """Begin a training; returns a ``TrainingJob`` at once.

        :param cases: as of ``train``.
        :param classes: what ``Classes.match`` gave for the cases; without it all structures are learned.
        :param options: also the callbacks of ``Job``. When onFinished is called, the model is not among the user's yet,
          see ``addModel``.
        """
        cases, callbacks = self.cases(cases), takeCallbacks(options)
        classes = classes or Classes.match(cases)
        return TrainingJob.start(self.engine, cases, classes, name, options, **callbacks)

    def startEstimate(self, cases, classes=None, **options):
        """Begin to measure what a training would cost, by a few real steps; returns a ``TrainingJob`` at once."""
        cases, callbacks = self.cases(cases), takeCallbacks(options)
        return TrainingJob.estimate(self.engine, cases, classes or Classes.match(cases), options, **callbacks)

    def cases(self, cases) -> list:
        """A list of ``TrainingCase`` from such a list, from pairs of nodes, or from a folder."""
        if isinstance(cases, str | os.PathLike):
            return FolderCases.fromFolder(cases)
        return [Cases.SceneCase(*case) if isinstance(case, tuple) else case for case in cases]

    def unfinishedRuns(self) -> list[dict]:
        """Trainings that were interrupted, the newest first."""
        return RunFolders.unfinishedRuns()

    def resumeTraining(self, folder, **callbacks):
        """Go on with an unfinished training; returns a ``TrainingJob`` at once."""
        return TrainingJob.resume(self.engine, folder, **callbacks)

    def rankUnlabelled(self, volumes, model, **options) -> list:
        """Rank volumes by how unsure a model is of them, and wait for it.

        :param volumes: volume nodes, or a folder of images; None: the volumes of the scene without a segmentation.
        :return: list of ``RankingJob.RankedVolume``, the least sure first.
        """
        volumes = Volumes.unlabelled() if volumes is None else volumes
        return self.startRanking(volumes, model, **options).wait().ranked

    def startRanking(self, volumes, model, **options):
        """Begin to rank volumes; returns a ``RankingJob.RankingJob`` at once."""
        return RankingJob.start(self.modelEngine, volumes, model, **options)
