"""What keeps the engine from starting: a quick look at what is installed, and a thorough one that starts it.

Slicer's own process never imports torch: the quick look reads which packages are there, the thorough one imports them
in another process, where a broken library can do no harm.
"""

import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Process import LineProcess
from SAM2AdaptLib.Engine.Remote import Place
from SAM2AdaptLib.Engine.Requirements import requirements
from SAM2AdaptLib.Install.PythonEnvironment import (
    BROKEN,
    LONGEST_PATH,
    MAX_WINDOWS_PATH,
    OK,
    OTHER_VERSION,
    PROTECTED,
    SAM2,
    TORCH,
    PythonEnvironment,
    packageName,
)  # fmt: skip

SMOKE_TEST = ["-m", "SAM2AdaptLib.Install.SmokeTest"]
# Unpacked, the packages are about three times as large as their downloads.
UNPACKED = 3


def findProblem(python=None):
    """Say what keeps the engine from starting, as far as that is seen without starting it (some 30 ms).

    :param python: path of the engine's interpreter; None for the one that is used, unless the engine is elsewhere.
    :return: None, or an ``EngineError`` of kind "EngineMissing".
    """
    if python is None and Place.chosen().isElsewhere:
        return None
    environment = PythonEnvironment(python)
    if not os.path.exists(environment.python):
        return _problem(
            _("The engine's Python “{path}” does not exist.").format(path=environment.python),
            _("Correct or remove the environment variable SAM2ADAPT_ENGINE_PYTHON, then start Slicer again."),
        )
    if not environment.sitePackages:
        return None  # somebody's own Python, of a kind that is not known here: the engine itself will say what it lacks
    if problem := findTorchProblem(environment) or findVersionProblem(environment):
        return problem
    needed = (*TORCH, *requirements(), *SAM2)
    missing = [packageName(text) for text in needed if environment.state(text) != OK]
    missing += environment.unfinishedBeside(needed)
    if not missing:
        return None
    return _problem(
        _("The engine, which does the computing, is not installed completely; missing: {names}.").format(
            names=", ".join(sorted(missing))
        ),
        _("Install the engine."),
    )


def findTorchProblem(environment):
    """An ``EngineError`` if PyTorch is there and of no use, else None."""
    for text in TORCH:
        name, state = packageName(text), environment.state(text)
        if state == BROKEN:
            return _problem(
                _("The package “{name}” is only half installed.").format(name=name),
                _("Install the engine again; the remains are removed first."),
            )
        if state == OTHER_VERSION:
            return _problem(
                _("{name} {version} is too old: the engine needs {requirement}.").format(
                    name=name, version=environment.version(name), requirement=text
                ),
                _(
                    "Other extensions may be using it, so it is not replaced. Uninstall PyTorch in the module PyTorch"
                    " Utils, start Slicer again and install the engine."
                ),
            )
    return None


def findVersionProblem(environment):
    """An ``EngineError`` if a package that belongs to Slicer is too old for the engine, else None."""
    for text in requirements():
        name = packageName(text)
        if name in PROTECTED and environment.state(text) == OTHER_VERSION:
            return _problem(
                _("{name} {version}, which came with Slicer, is too old: the engine needs {requirement}.").format(
                    name=name, version=environment.version(name), requirement=text
                ),
                _("Use Slicer 5.12 or newer."),
            )
    return None


def findObstacle(environment, megabytes, windows=os.name == "nt"):
    """Say what would make an installation fail, before anything is downloaded.

    :param megabytes: about how much is going to be downloaded.
    :return: None, or an ``EngineError``.
    """
    folder = environment.sitePackages
    if not folder:
        return EngineError(
            "InstallError",
            _("The engine's Python “{path}” is one of your own, of a kind that is not known here.").format(
                path=environment.python
            ),
            _("Install the packages in it yourself, with the commands of the list of what to fetch."),
        )
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        return EngineError(
            "InstallError",
            _("There is no PyTorch that is new enough for this Slicer, which is made for Intel processors on macOS."),
            _("Use a Slicer for Apple processors, or Slicer on Windows or Linux."),
        )
    if windows and len(folder) + 1 + LONGEST_PATH > MAX_WINDOWS_PATH:
        return EngineError(
            "InstallError",
            _("The path of Slicer's Python packages is too long for Windows: “{folder}” ({length} characters).").format(
                folder=folder, length=len(folder)
            ),
            _("Install Slicer in a folder with a shorter path, such as C:\\Slicer, and install the engine there."),
        )
    return _unusableFolder(folder, megabytes) or findVersionProblem(environment)


def _unusableFolder(folder, megabytes):
    """An ``EngineError`` if nothing can be written into the folder or its disk is too small, else None."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return EngineError(
            "InstallError",
            _("Python packages cannot be installed in “{folder}”: {reason}.").format(
                folder=folder, reason=error.strerror or error
            ),
            _(
                "Start Slicer as somebody who may write there for the installation, or install a Slicer of your own in"
                " your home folder."
            ),
        )
    free = shutil.disk_usage(folder).free / 1e6
    if free < megabytes * UNPACKED:
        return EngineError(
            "InstallError",
            _("The disk has too little space: about {needed} MB are needed, {free} MB are free in “{folder}”.").format(
                needed=round(megabytes * UNPACKED), free=round(free), folder=folder
            ),
            _("Free some space, then install the engine."),
        )
    return None


def hasNvidiaDriver():
    """Whether an NVIDIA driver is installed on this computer (no process is started)."""
    library = Path(os.environ.get("SystemRoot", "C:/Windows"), "System32", "nvcuda.dll")
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists() or library.exists()


def _problem(message, remedy):
    return EngineError("EngineMissing", message, remedy)


@dataclass
class Diagnosis:
    """What a start of the engine's packages showed.

    problem: None, or an ``EngineError``; torch: its version, or None; gpu: name of the GPU that it can use, or None;
    device: a sentence about the device that is going to be used and why ("" if there is a problem).
    """

    problem: EngineError | None = None
    torch: str | None = None
    gpu: str | None = None
    device: str = ""


def diagnose(onFinished, python=None):
    """Import what the engine needs in another process, and compute a little on CPU and GPU (some seconds).

    :param onFinished: called with a ``Diagnosis``, from the event loop.
    :param python: path of the engine's interpreter; None for the one that is used.
    :return: the process; its ``kill()`` stops the diagnosis, and nothing is called then.
    """
    environment = PythonEnvironment(python)
    lines = []

    def onEnd(code):
        onFinished(readSmokeTest(lines, code, environment))

    process = LineProcess([environment.python, "-u", *SMOKE_TEST], {}, lines.append, onEnd)
    process.start()
    return process


def readSmokeTest(lines, code, environment):
    """Turn what the smoke test wrote into a ``Diagnosis``.

    :param lines: list of its lines, with those of libraries among them.
    :param code: its exit code, negative after a crash.
    :param environment: ``PythonEnvironment`` that it ran in.
    """
    diagnosis = Diagnosis()
    current, cuda = "", None
    for line in lines:
        message = _message(line)
        current = message.get("importing", current)
        cuda = message.get("cuda", cuda)
        diagnosis.gpu = message.get("gpu", diagnosis.gpu)
        if "failed" in message:
            diagnosis.problem = _importProblem(message, diagnosis, environment)
            break
        if "torch" in message and not message["torch"]:
            diagnosis.problem = _brokenTorch(_("there is no code in it"))
            break
        diagnosis.torch = message.get("torch", diagnosis.torch)
    if not diagnosis.problem:
        diagnosis.problem = findTorchProblem(environment) if environment.sitePackages else None
    if not diagnosis.problem and code:
        name = current or environment.python
        diagnosis.problem = _problem(
            _("The engine's Python crashed while it loaded “{name}” (exit code {code}).").format(name=name, code=code),
            _("Install the engine again. If that does not help, update the graphics driver, then start Slicer again."),
        )
    if diagnosis.problem:
        diagnosis.problem.details = "\n".join(lines)
    else:
        diagnosis.device = deviceNote(cuda, diagnosis.gpu, hasNvidiaDriver())
    return diagnosis


def deviceNote(cuda, gpu, driver):
    """Say which device will be used and, if it is the CPU, what is missing for the GPU.

    :param cuda: version of CUDA that PyTorch was built for, or None.
    :param gpu: name of the GPU that PyTorch can use, or None.
    :param driver: whether an NVIDIA driver is installed.
    """
    if gpu:
        return _("GPU: {name}.").format(name=gpu)
    if cuda and driver:
        return _(
            "CPU: the NVIDIA driver is too old for this PyTorch (CUDA {version}), or there is no GPU. Update the driver"
            " to use the GPU."
        ).format(version=cuda)
    if cuda:
        return _("CPU: no NVIDIA driver was found. If this computer has an NVIDIA GPU, install its driver.")
    if driver:
        return _(
            "CPU: this PyTorch was built without GPU support, though an NVIDIA driver is installed. To use the GPU,"
            " uninstall PyTorch in the module PyTorch Utils, start Slicer again and install the engine."
        )
    return _("CPU: no NVIDIA GPU was found.")


def _importProblem(message, diagnosis, environment):
    """The EngineError for an import that failed."""
    name, text = message["failed"], message["text"]
    reason = f"{message['kind']}: {text}"
    if message["missing"]:
        return _problem(
            _("The engine is not installed: its Python package “{name}” is missing.").format(name=message["missing"]),
            _("Install the engine."),
        )
    if "WinError 206" in text or (os.name == "nt" and len(environment.sitePackages) + LONGEST_PATH > MAX_WINDOWS_PATH):
        return _problem(
            _("Windows cannot open a file of “{name}” because its path is too long.").format(name=name),
            _("Install Slicer in a folder with a shorter path, such as C:\\Slicer, and install the engine there."),
        )
    if "no kernel image" in text or "not compatible with the current PyTorch" in text:
        return _problem(
            _("This PyTorch has no code for the GPU “{name}”.").format(name=diagnosis.gpu),
            _("Uninstall PyTorch in the module PyTorch Utils, start Slicer again and install the engine."),
        )
    if "torchvision::" in text:
        return _problem(
            _("torch and torchvision do not belong together ({reason}).").format(reason=reason),
            _("Uninstall PyTorch in the module PyTorch Utils, start Slicer again and install the engine."),
        )
    if "umpy" in text and name != "numpy":
        return _problem(
            _("“{name}” was built for another version of numpy ({reason}).").format(name=name, reason=reason),
            _("Uninstall it, then install the engine."),
        )
    if name == "torch":
        return _brokenTorch(reason)
    return _problem(
        _("The engine's package “{name}” cannot be loaded ({reason}).").format(name=name, reason=reason),
        _("Install the engine again."),
    )


def _brokenTorch(reason):
    return _problem(
        _("PyTorch is installed but broken ({reason}).").format(reason=reason),
        _("Uninstall PyTorch in the module PyTorch Utils, start Slicer again and install the engine."),
    )


def _message(line):
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
