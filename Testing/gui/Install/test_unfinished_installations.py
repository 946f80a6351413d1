"""Installations that are stopped or killed: what is half there is seen, and installing again repairs it."""

import os
from pathlib import Path

import fake_packages
from installer_testing import Run, complete, folder, python, versions
from SAM2AdaptLib.Engine import ProcessTree
from SAM2AdaptLib.Install import Check, Installer, Packages, Unfinished
from SAM2AdaptLib.Install.PythonEnvironment import OK, PythonEnvironment

__all__ = ["folder", "python"]


def test_cancel_kills_pip_and_the_next_installation_goes_on(slicerHost, python, folder):
    complete(python, "torch", "monai")
    run = Run(slicerHost, cancelAt="Packages for images and networks: looking", wheelFolder=folder, python=python)
    assert run.error.kind == "CancelledError" and run.job.state == "cancelled" and not run.finished
    assert versions(python)["torch"] and not versions(python)["monai"]
    running = [number for number in ProcessTree.descendants(os.getpid()) if _commandHas(number, python)]
    assert running == []
    again = Run(slicerHost, wheelFolder=folder, python=python)
    assert again.job.state == "done", f"{again.error}\n{again.text}"
    assert "torch-2.9.1" not in again.text


def _commandHas(number, python):
    try:
        return python in Path(f"/proc/{number}/cmdline").read_text("utf-8").split("\0")[:1]
    except OSError:
        return False


def test_cancel_does_not_tear_a_package_apart(slicerHost, python, folder):
    complete(python, "torch", "torchvision", "monai")
    run = Run(slicerHost, cancelAt="PyTorch: installing", wheelFolder=folder, python=python)
    assert run.error.kind == "CancelledError"
    environment = PythonEnvironment(python)
    assert environment.state("torch") == OK and environment.version("torchvision") and not environment.version("monai")


def test_remains_of_a_killed_installation_are_replaced(slicerHost, python, folder):
    site = complete(python, "torch", "monai", "scikit-image", "networkx")
    fake_packages.putMetadata(site, "torch", "2.9.1")
    (site / "torch" / "lib").mkdir(parents=True)
    for name in ("monai-1.5.1", "networkx-3.5", "SimpleITK-2.5.0"):  # scikit-image brings networkx along
        (site / f"{name}.dist-info").mkdir()
    assert "half installed" in Check.findProblem(python).message
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert not (site / "torch" / "lib").exists()
    assert "Removing what is left of monai" in run.text  # else pip, since version 24, finds nothing to do
    assert "Removing what is left of networkx" in run.text and PythonEnvironment(python).version("networkx") == "3.5"
    assert (site / "SimpleITK-2.5.0.dist-info").exists()  # Slicer's own build


def test_an_installation_that_was_killed_while_pip_wrote_is_seen_and_repaired(slicerHost, python, folder):
    """pip lists monai and can import it, though half of its code is missing; networkx, which others need, is absent."""
    site = complete(python, "networkx")
    Unfinished.begin(site, ["monai", "networkx"])
    assert "missing: monai, networkx." in Check.findProblem(python).message
    (site / "monai" / "remains.py").write_text("")
    run = Run(slicerHost, wheelFolder=folder, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert Check.findProblem(python) is None and PythonEnvironment(python).version("networkx") == "3.5"
    assert (site / "monai-1.5.1.dist-info" / "INSTALLER").exists() and not (site / "monai" / "remains.py").exists()
    assert not (site / Unfinished.NOTE).exists()


def test_a_file_that_lost_its_content_makes_a_package_unfinished(python):
    site = complete(python)
    Unfinished.begin(site, [])
    fake_packages.putPackage(site, "omega", "1.0")
    metadata = site / "omega-1.0.dist-info"
    (metadata / "INSTALLER").write_text("pip")
    size = (site / "omega/__init__.py").stat().st_size
    (metadata / "RECORD").write_text(f"omega/__init__.py,sha256=x,{size}\n")
    assert Unfinished.unfinished(site) == []
    (site / "omega/__init__.py").write_text("")  # as after a power cut
    assert Unfinished.unfinished(site) == ["omega"] and "omega" in Check.findProblem(python).message
    Unfinished.end(site)
    assert (site / Unfinished.NOTE).exists()
    (site / Unfinished.NOTE).write_text("{")  # nothing of Slicer's own must count as unfinished, and be removed
    assert Unfinished.unfinished(site) == [] and Check.findProblem(python) is None


def test_quitting_slicer_waits_until_packages_are_whole(slicerHost, python, folder):
    complete(python, "monai")
    job = Installer.install(wheelFolder=folder, python=python)
    writes = lambda: isinstance(job._work, Packages.PackageInstaller) and job._work._writing  # noqa: E731
    assert slicerHost.processEvents(100, until=lambda: writes() and writes()._process.state())
    job._onQuit()
    assert job.state == "cancelled"
    assert PythonEnvironment(python).state("monai==1.5.1") == OK and PythonEnvironment(python).unfinished == []
