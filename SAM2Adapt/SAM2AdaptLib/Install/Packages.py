"""Installs Python packages with pip, without ever replacing those that belong to Slicer.

What is needed is first looked up and downloaded to a temporary folder, which can be stopped at any moment, and then
installed from there in one go, which takes seconds and is never interrupted.
"""

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Process import LineProcess
from SAM2AdaptLib.Install import Unfinished
from SAM2AdaptLib.Install.PipMessages import pipError
from SAM2AdaptLib.Install.PythonEnvironment import OK, PROTECTED


class PackageInstaller:
    """One group of packages on its way into the engine's Python.

    :param environment: ``PythonEnvironment`` to install into.
    :param title: what the user reads.
    :param requirements: list of texts such as ``monai>=1.5``.
    :param folder: pathlib.Path of an empty folder for what is downloaded.
    :param wheelFolder: folder of packages to use instead of the network, or None.
    :param withDependencies: whether packages that they need come along.
    :param onProgress: called with (0..1, text); onLog: with each line of pip.
    :param onEnd: called with (None) when they are installed, or with an ``EngineError``.
    """

    def __init__(
        self, environment, title, requirements, folder, wheelFolder, withDependencies, onProgress, onLog, onEnd
    ):
        self._environment = environment
        self._title = title
        self._requirements = requirements
        self._folder = folder
        self._wheelFolder = wheelFolder
        self._onProgress = onProgress
        self._onLog = onLog
        self._onEnd = onEnd
        self._process = None
        self._writing = None
        self._lines = []
        # No build isolation: it would fetch build tools, and for sam2 a whole torch, that are here already.
        self._options = ["--no-build-isolation", *([] if withDependencies else ["--no-deps"])]
        if wheelFolder:
            # No cache: pip 23.0 takes what it once built from another file of the same path, and tells its hash.
            self._options += ["--no-index", "--no-cache-dir", "--find-links", str(wheelFolder)]

    def start(self):
        """Let pip find out what is to be installed, given all that is there."""
        report = self._folder / "report.json"
        constraints = writeConstraints(self._environment, self._folder)
        arguments = ["install", "--dry-run", "--report", str(report), "-c", str(constraints)]
        self._pip([*arguments, *self._options, *self._requirements], lambda: self._onResolved(report))
        self._onProgress(0, _("{title}: looking up versions").format(title=self._title))

    def kill(self):
        """Stop, unless packages are being written: those are finished, and the end is then reported as always.

        :return: whether it was stopped; nothing is called then.
        """
        if not self._process:
            return False
        self._process.kill()
        return True

    def finish(self, seconds):
        """Wait until packages that are being written are whole; after some time give up, the next installation goes on.

        :param seconds: how long at most.
        """
        if self._writing:
            self._writing.wait(seconds)

    def _onResolved(self, report):
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
        local, pins = [], []
        for package in packages:
            url = package["download_info"]["url"]
            if url.startswith("file:") and url.endswith(".whl"):
                local.append(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
            else:
                pins.append(package)
        if pins:
            self._fetch(local, pins)
        elif local:
            self._install(local)
        else:
            self._onEnd(None)  # an earlier group has brought it

    def _fetch(self, local, pins):
        """Download or build the wheels that are not on this computer."""
        folder = self._folder / "wheels"
        arrived = set()
        lines = [_pin(package) for package in pins]
        if not all(" --hash=" in line for line in lines):
            self._log(_("The index gives no SHA-256 for some packages, so none is checked."))
            lines = [line.partition(" ")[0] for line in lines]
        path = self._folder / "pins.txt"
        path.write_text("\n".join(lines), encoding="utf-8")

        def onLine(line):
            word, _space, name = line.strip().partition(" ")
            if word == "Collecting":
                name = name.partition(" (from")[0]
                arrived.add(name)
                text = _("{title}: downloading {name} ({number} of {count})")
                text = text.format(title=self._title, name=name, number=len(arrived), count=len(pins))
                self._onProgress(0.1 + 0.7 * (len(arrived) - 1) / len(pins), text)

        def onDone():
            self._install([*local, *(str(path) for path in sorted(folder.glob("*.whl")))])

        self._pip(["wheel", *self._options, "--no-deps", "--wheel-dir", str(folder), "-r", str(path)], onDone, onLine)

    def _install(self, wheels):
        self._onProgress(0.8, _("{title}: installing").format(title=self._title))
        arguments = ["--no-index", "--no-deps", *wheels]
        try:
            # The first part of a wheel's name is that of the package.
            Unfinished.begin(self._environment.sitePackages, [Path(wheel).name.partition("-")[0] for wheel in wheels])
        except OSError as error:
            self._log(f"ERROR: {error}")
            self._onInstalled(1)
            return
        packaging = slicerPackaging(self._environment)
        if not packaging:
            self._pip(["install", *arguments], lambda: self._onInstalled(0))
            # A package that is half written is worse than a short wait.
            self._writing, self._process = self._process, None
            return
        self._lines = []
        try:
            packaging.pip_install(
                arguments,
                blocking=False,
                show_progress=False,
                logCallback=self._log,
                completedCallback=self._onInstalled,
            )
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            self._log(f"ERROR: {error}")
            self._onInstalled(1)
            return
        if slicer.app.testingEnabled():
            self._onInstalled(0)  # in testing mode it has waited, and calls nothing

    def _onInstalled(self, code):
        self._writing = None
        if not code:
            Unfinished.end(self._environment.sitePackages)
        self._onEnd(pipError(self._lines, self._wheelFolder) if code else None)

    def _pip(self, arguments, onDone, onLine=None):
        """Run pip beside Slicer; whatever it says is kept to explain a failure."""
        options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        command = [self._environment.python, "-m", "pip", arguments[0], *options, *arguments[1:]]
        self._lines = []

        def say(line):
            self._log(line)
            if onLine:
                onLine(line)

        def onEnd(code):
            self._process = None
            if code:
                self._onInstalled(code)
            else:
                onDone()

        self._process = LineProcess(command, {"SAM2_BUILD_CUDA": "0"}, say, onEnd)
        self._process.start()

    def _log(self, line):
        self._lines.append(line)
        self._onLog(line)


def _pin(package):
    """A line for pip that names one version and, if pip was told it, the SHA-256 of its file, which it then compares.

    :param package: entry of pip's report.
    """
    archive = package["download_info"].get("archive_info", {})
    # pip before 23.1 tells it in the older form alone where it computed it itself.
    algorithm, _equals, value = archive.get("hash", "").partition("=")
    digest = {algorithm: value, **archive.get("hashes", {})}.get("sha256")
    pin = "{name}=={version}".format_map(package["metadata"])
    return f"{pin} --hash=sha256:{digest}" if digest else pin


def writeConstraints(environment, folder):
    """Pin what must not be replaced to the versions that are there.

    :param environment: ``PythonEnvironment``.
    :param folder: pathlib.Path of the folder to write to.
    :return: pathlib.Path of a file for pip's option ``-c``.
    """
    lines = []
    for name in PROTECTED:
        version = environment.version(name)
        if version:
            lines.append(f"{name}=={version}\n")
        elif environment.state(name) == OK:
            # Slicer's own build of it says no version: let a package that wants another one fail.
            lines.append(f"{name}<0\n")
    path = folder / "constraints.txt"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def slicerPackaging(environment):
    """Slicer's own way to run pip, or None for a Python that is not Slicer's (and in Slicer before 5.12)."""
    if not environment.isOwn:
        return None
    try:
        from slicer import packaging
    except ImportError:
        return None
    return packaging
