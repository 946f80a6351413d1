"""What tests of the installer share: environments with small packages under real names, and the real pip in them."""

import os
from pathlib import Path

import fake_packages
import pytest
from SAM2AdaptLib.Install import Check, Installer
from SAM2AdaptLib.Install.PythonEnvironment import PythonEnvironment

# Without the engine itself, which needs the real packages.
SMOKE_TEST = """from SAM2AdaptLib.Install import SmokeTest
SmokeTest.PACKAGES = SmokeTest.PACKAGES[:-1]
SmokeTest.main()
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Interpreter of an environment like that of a Slicer; pip in it uses no network and no settings of the user."""
    monkeypatch.setattr(Check, "SMOKE_TEST", ["-c", SMOKE_TEST])
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return fake_packages.makeSlicersEnvironment(tmp_path / "environment")


@pytest.fixture
def folder(tmp_path):
    """A folder of packages; its path has a space, as those of users have."""
    return fake_packages.fillFolder(tmp_path / "from the net")


def complete(python, *without):
    """Put in place all that the engine needs, apart from some packages: each real installation takes its seconds."""
    site = Path(PythonEnvironment(python).sitePackages)
    packages = {name: version for name, (version, _requires) in fake_packages.PACKAGES.items()} | {"sam2": "1.1.0"}
    for name, version in packages.items():
        if name not in (*fake_packages.SLICERS, *without):
            fake_packages.putPackage(site, name, version)
    return site


class Run:
    """One installation, waited for."""

    def __init__(self, slicerHost, seconds=200, cancelAt=None, **options):
        self.log, self.progress, self.error, self.finished = [], [], None, None
        self.job = Installer.install(
            onLog=self.log.append,
            onProgress=self.onProgress,
            onFinished=lambda job: setattr(self, "finished", job),
            onError=lambda job, error: setattr(self, "error", error),
            **options,
        )
        self.cancelAt = cancelAt
        assert self.job.state == "running" and not self.progress
        assert slicerHost.processEvents(seconds, until=lambda: self.finished or self.error), self.log[-5:]

    def onProgress(self, progress):
        self.progress.append(progress)
        if self.cancelAt and self.cancelAt in progress["text"]:
            self.job.cancel()

    @property
    def text(self):
        return "\n".join(self.log)


def versions(python):
    environment = PythonEnvironment(python)
    return {name: environment.version(name) for name in (*fake_packages.SLICERS, "torch", "monai", "sam2")}
