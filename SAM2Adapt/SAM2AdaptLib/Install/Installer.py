"""Installs what the engine needs, step by step; what is there already is left alone, so that a stopped one goes on.

PyTorch comes through the extension that all of Slicer's extensions share, or with all the rest from a folder that was
filled on another computer. At the end the engine is started, since only that shows that it works.
"""

import functools
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Job import CANCELLED, DONE, FAILED, Job, stopped
from SAM2AdaptLib.Engine.Process import LineProcess, waitForKilled
from SAM2AdaptLib.Engine.Requirements import requirements
from SAM2AdaptLib.Install import Check, OfflineFolder, PyTorchExtension, Unfinished
from SAM2AdaptLib.Install.Packages import PackageInstaller, slicerPackaging, writeConstraints
from SAM2AdaptLib.Install.PythonEnvironment import (
    BROKEN,
    BUILD_TOOLS,
    IMPORT_NAMES,
    OK,
    PROTECTED,
    SAM2,
    TORCH,
    PythonEnvironment,
    packageName,
    torchRequirements,
)

# Megabytes of the larger downloads; all others are small. PyTorch for NVIDIA GPUs brings CUDA along.
MEGABYTES = {
    "torch": 200, "scipy": 37, "SimpleITK": 50, "numpy": 17, "scikit-image": 16, "scikit-learn": 9, "Pillow": 7,
}  # fmt: skip
MEGABYTES_TORCH_CUDA = 2800
SECONDS_TO_FINISH = 60  # for packages that are being written when Slicer quits; it mostly takes a few

_running = []  # the one installation that is running, if any


@dataclass
class Step:
    """One step of an installation: id, what the user reads, what is missing, and about how much is downloaded."""

    id: str
    title: str
    missing: list = field(default_factory=list)
    megabytes: int = 0


def plan(wheelFolder=None, python=None):
    """What an installation would do now; nothing is started.

    :param wheelFolder: folder of packages to use instead of the network, or None.
    :param python: path of the engine's interpreter; None for the one that is used.
    :return: list of ``Step``, those with nothing missing left out; empty if all is there.
    """
    environment = PythonEnvironment(python)

    def missing(needed):
        return [text for text in needed if environment.state(text) != OK]

    def size(texts):
        cuda = {"torch": MEGABYTES_TORCH_CUDA} if Check.hasNvidiaDriver() else {}
        return sum((MEGABYTES | cuda).get(packageName(text), 1) for text in texts)

    torch = missing(torchRequirements(environment.sitePackages))
    steps = [Step("torch", _("PyTorch"), torch, size(torch))]
    for name, title, needed in (
        ("tools", _("Build tools"), BUILD_TOOLS),
        ("packages", _("Packages for images and networks"), requirements()),
        ("sam2", _("SAM 2"), SAM2),
    ):
        texts = missing(needed)
        if name == "packages":
            texts += environment.unfinishedBeside((*TORCH, *BUILD_TOOLS, *requirements(), *SAM2))
        steps.append(Step(name, title, texts, size(texts)))
    if wheelFolder and Path(wheelFolder).is_dir():
        names = [name for name, _arguments in OfflineFolder.weightFiles(wheelFolder)]
        steps.append(Step("weights", _("Models and weights"), names))
    return [step for step in steps if step.missing]


def install(wheelFolder=None, python=None, **callbacks):
    """Install what is missing, then start it to see that it works. The user must have agreed before.

    Without ``wheelFolder``, PyTorch is installed by the PyTorch extension, whose function keeps Slicer busy for some
    minutes and imports torch when it is done; all the rest runs beside Slicer. No dialog is opened.

    :param wheelFolder: folder of packages, models and weights to use instead of the network, or None.
    :param python: path of the engine's interpreter; None for the one that is used.
    :param callbacks: those of ``Job``. onProgress gets "step" (id), "title", "index" and "count" of the step in work;
      onLog each line that pip writes; onError an error of kind "CancelledError", "InstallError",
      "PyTorchExtensionMissing", or "EngineMissing" when all was installed and does not work.
    :return: ``InstallJob``; the callbacks are called from the event loop, never from here.
    :raises EngineError: an installation is running already.
    """
    if _running:
        raise EngineError("InstallError", _("The engine is being installed already."), _("Wait until it is done."))
    job = InstallJob(wheelFolder, PythonEnvironment(python), **callbacks)
    _running.append(job)
    job._later(job._begin)
    return job


class InstallJob(Job):
    """An installation. Unlike other jobs it may go on for a while after ``cancel``, until a package is whole.

    :ivar diagnosis: ``Check.Diagnosis`` of the engine, once it was installed; it says which device will be used.
    """

    def __init__(self, wheelFolder, environment, **callbacks):
        super().__init__(**callbacks)
        self.diagnosis = None
        self._wheelFolder = wheelFolder
        self._environment = environment
        self._isCancelled = False
        self._work = None  # what runs beside Slicer now
        self._folder = None
        self._steps, self._todo, self._step = [], [], None
        # No package manager outlives Slicer.
        qt.QCoreApplication.instance().connect("aboutToQuit()", self._onQuit)

    def cancel(self):
        """Stop: at once while something is looked up or downloaded, else as soon as the present package is whole."""
        if self.isOver:
            return
        self._isCancelled = True
        if self._work and self._work.kill():
            self._work = None
            self._later(self._next)

    def _onQuit(self):
        work = self._work
        self.cancel()
        waitForKilled()
        if isinstance(work, PackageInstaller):
            work.finish(SECONDS_TO_FINISH)

    # Steps

    def _begin(self):
        try:
            if self._wheelFolder:
                OfflineFolder.checkFolder(self._wheelFolder)
            self._steps = plan(self._wheelFolder, self._environment.python)
            if obstacle := self._findObstacle():
                raise obstacle
            for step in self._steps:
                self._removeRemains(step)
            self._removeEmptyMetadata()
            self._folder = Path(tempfile.mkdtemp(prefix="SAM2Adapt-install-"))
        except EngineError as error:
            self._end(FAILED, error)
        except OSError as error:
            remedy = _("Start Slicer again, then install the engine before anything else.")
            self._end(FAILED, EngineError("InstallError", str(error), remedy))
        else:
            self._steps.append(Step("check", _("Check")))
            self._todo = list(self._steps)
            self._next()

    def _findObstacle(self):
        packaging = slicerPackaging(self._environment)
        if packaging and packaging.isPipInstallInProgress():
            return EngineError(
                "InstallError",
                _("Another extension is installing Python packages."),
                _("Wait until it is done, then install the engine."),
            )
        megabytes = sum(step.megabytes for step in self._steps)
        if obstacle := Check.findObstacle(self._environment, megabytes):
            return obstacle
        torch = Check.findTorchProblem(self._environment)
        # A broken package may be replaced; one that is merely old may not, because others may need it.
        isBroken = any(self._environment.state(text) == BROKEN for text in TORCH)
        if torch and not isBroken:
            return torch
        if any(step.id == "torch" for step in self._steps) and not self._wheelFolder:
            return None if PyTorchExtension.isPyTorchExtensionUsable() else PyTorchExtension.missingExtensionError()
        return None

    def _next(self):
        self._work = None
        self._environment.refresh()
        if self._isCancelled:
            remedy = _("What was downloaded is kept: install the engine again to go on.")
            self._end(CANCELLED, stopped(_("The installation was stopped."), remedy))
        elif not self._todo:
            self._end(DONE)
        else:
            self._step = self._todo.pop(0)
            steps = {"torch": self._installTorch, "weights": self._addWeights, "check": self._check}
            steps.get(self._step.id, self._installPackages)()

    def _release(self):
        _running.remove(self)
        qt.QCoreApplication.instance().disconnect("aboutToQuit()", self._onQuit)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, fraction, text):
        """Report how far the installation is, with every step as long as its download."""
        sizes = [step.megabytes + 20 for step in self._steps]
        index = self._steps.index(self._step)
        done = sum(sizes[:index]) + fraction * sizes[index]
        self._report(
            {
                "step": self._step.id,
                "title": self._step.title,
                "index": index,
                "count": len(self._steps),
                "fraction": done / sum(sizes),
                "text": text,
            }
        )

    def _removeRemains(self, step):
        """Remove what makes pip believe that one of the engine's packages is installed although its code is missing."""
        site = self._environment.sitePackages
        for text in step.missing if step.id != "weights" else ():
            name = packageName(text)
            state = self._environment.state(text)
            if state == BROKEN and name.casefold() in self._environment.unfinished:
                self._say(_("Removing what is left of {name}").format(name=name))
                Unfinished.removeRemains(site, name.casefold(), IMPORT_NAMES.get(name, name))
            elif state == BROKEN and (step.id == "torch" or name not in PROTECTED):
                package = self._environment.distribution(name)
                self._say(_("Removing what is left of {name}").format(name=name))
                shutil.rmtree(Path(package.locate_file(IMPORT_NAMES.get(name, name))), ignore_errors=True)
                shutil.rmtree(package._path)

    def _removeEmptyMetadata(self):
        """Remove what makes pip, since version 24, believe that a package is there, whichever needs it."""
        slicers = {name.casefold() for name in PROTECTED if self._environment.state(name) == OK}  # its builds may be so
        for name, folders in Unfinished.withoutMetadata(self._environment.sitePackages).items():
            if name not in slicers:
                self._say(_("Removing what is left of {name}").format(name=name))
                for folder in folders:
                    shutil.rmtree(folder, ignore_errors=True)

    # PyTorch

    def _installTorch(self):
        if self._wheelFolder:
            self._installPackages()
            return
        self._tell(0, _("Installing PyTorch. Slicer does not respond for some minutes."))
        # So that the text is painted before Slicer is busy.
        qt.QTimer.singleShot(100, self._runPyTorchUtils)

    def _runPyTorchUtils(self):
        if self._isCancelled:
            self._next()
            return
        needed = dict(zip(("torch", "torchvision"), torchRequirements(self._environment.sitePackages), strict=True))
        reason = _("the PyTorch extension gave no reason")
        try:
            versions = [text.removeprefix(name) for name, text in needed.items()]
            Unfinished.begin(self._environment.sitePackages, list(needed))
            PyTorchExtension.installTorch(*versions, writeConstraints(self._environment, self._folder))
        except Exception as error:
            # Whatever it raises, what counts is whether PyTorch is there now.
            reason = f"{type(error).__name__}: {error}"
        self._environment.refresh()
        if any(self._environment.state(text) != OK for text in needed.values()):
            message = _("The PyTorch extension could not install PyTorch ({reason}).").format(reason=reason)
            remedy = _(
                "Look at Slicer's Python console for what it wrote. Without internet, install from a folder that was"
                " filled on another computer."
            )
            self._end(FAILED, EngineError("InstallError", message, remedy, reason))
        else:
            Unfinished.end(self._environment.sitePackages)
            self._next()

    # Packages

    def _installPackages(self):
        folder = self._folder / self._step.id
        folder.mkdir()
        self._work = PackageInstaller(
            self._environment,
            self._step.title,
            self._step.missing,
            folder,
            self._wheelFolder,
            withDependencies=self._step.id != "sam2",  # our list has them
            onProgress=self._tell,
            onLog=self._say,
            onEnd=self._onStepEnd,
        )
        self._work.start()

    def _onStepEnd(self, error):
        if error:
            self._end(FAILED, error)
        else:
            self._next()

    # Weights and check

    def _addWeights(self):
        """Copy models and weights of the folder to where the engine looks for them, one after the other."""
        todo = OfflineFolder.weightFiles(self._wheelFolder)
        count = len(todo)
        lines = []

        def onLine(line):
            lines.append(line)
            self._say(line)

        def nextFile():
            if not todo:
                self._next()
                return
            name, arguments = todo.pop(0)
            command = [self._environment.python, "-u", "-m", "sam2adapt", *arguments]
            lines.clear()
            self._work = LineProcess(command, {}, onLine, functools.partial(onEnd, name))
            self._work.start()
            self._tell(1 - (len(todo) + 1) / count, _("Copying {name}").format(name=name))

        def onEnd(name, code):
            if not code:
                nextFile()
                return
            message = _("“{name}” was not taken over: {reason}").format(name=name, reason=" ".join(lines[-2:]))
            remedy = _("Get the file again, or remove it from the folder.")
            self._end(FAILED, EngineError("InstallError", message, remedy, "\n".join(lines)))

        nextFile()

    def _check(self):
        self._work = Check.diagnose(self._onChecked, self._environment.python)
        self._tell(0, _("Starting the engine's packages for the first time"))

    def _onChecked(self, diagnosis):
        self.diagnosis = diagnosis
        if diagnosis.problem:
            self._end(FAILED, diagnosis.problem)
        else:
            self._next()
