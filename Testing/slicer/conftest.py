"""Real MRML without the Slicer application: PyPI's slicer-core plus the few names that ``slicer.util`` expects.

Only scene, module logics and untranslated texts are here. Whatever else a test touches (``slicer.app``, Qt, modules
that are not listed) fails with AttributeError, so nothing passes here by a stand-in's kindness.
"""

import contextlib
import importlib
import sys
import types
from pathlib import Path

import pytest

# Now, before a test puts Testing on the path: slicer-core takes each folder "slicer" there for a part of itself.
with contextlib.suppress(ImportError):
    import slicer  # noqa: F401

from example_engines import ServedEngine
from example_nodes import Nodes

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "SAM2Adapt"))


@pytest.fixture(scope="session")
def slicerCore():
    """The slicer package with one scene and the module logics that the product uses, for the whole process."""
    slicer = pytest.importorskip("slicer", reason="needs the PyPI package slicer-core")
    pytest.importorskip("slicer.util")
    scene = slicer.vtkMRMLScene()
    applicationLogic = slicer.vtkSlicerApplicationLogic()
    applicationLogic.SetMRMLScene(scene)
    colorLogic = applicationLogic.GetColorLogic()
    colorLogic.SetMRMLScene(scene)
    colorLogic.AddDefaultColorNodes()
    applicationLogic.SetModuleLogic("Colors", colorLogic)
    slicer.mrmlScene, slicer.modules = scene, types.SimpleNamespace()
    logics = {
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
        "Volumes": slicer.vtkSlicerVolumesLogic,
        "Sequences": slicer.vtkSlicerSequencesLogic,
        "Markups": slicer.vtkSlicerMarkupsLogic,
    }
    for name, logicClass in logics.items():
        logic = logicClass()
        logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(scene)
        applicationLogic.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), types.SimpleNamespace(logic=lambda logic=logic: logic))
    slicer.i18n = sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
    slicer.i18n.tr = lambda text: text
    slicer.applicationLogicOfTests = applicationLogic  # the scene does not keep it alive
    return slicer


@pytest.fixture
def scene(slicerCore):
    """An empty scene, emptied again afterwards."""
    slicerCore.mrmlScene.Clear(0)
    yield slicerCore.mrmlScene
    slicerCore.mrmlScene.Clear(0)


@pytest.fixture
def nodes(slicerCore, scene):
    """Makes nodes in the empty scene."""
    return Nodes(slicerCore, scene)


@pytest.fixture(scope="session")
def lib(slicerCore):
    """The modules of SAM2AdaptLib that need no Qt; they need the slicer package above to be imported."""
    names = [
        "Correcting.SceneGestures",
        "Engine.Error",
        "Engine.Job",
        "Engine.PrivateFolder",
        "Engine.ProgressTexts",
        "Filling.Drawings",
        "Filling.FillJob",
        "Report.DicomSource",
        "Report.Export",
        "Report.Surfaces",
        "Report.PageJob",
        "Scene.Geometry",
        "Scene.LabelExport",
        "Scene.LabelImport",
        "Scene.LabelMaps",
        "Scene.NewNodes",
        "Scene.Results",
        "Scene.SegmentMasks",
        "Scene.SegmentationHistory",
        "Scene.Sequences",
        "Scene.SliceTags",
        "Scene.Statistics",
        "Scene.VolumeGrid",
        "Scene.VolumeModality",
        "Scene.VolumeTransfer",
        "Scene.Volumes",
        "Segmenting.FolderBatch",
        "Segmenting.ProposalJob",
        "Segmenting.SegmentJob",
        "Training.CaseFiles",
        "Training.Cases",
        "Training.Classes",
        "Training.FolderCases",
        "Training.RankingJob",
        "Training.RunFolders",
        "Training.TrainingJob",
    ]
    modules = {name.rpartition(".")[2]: importlib.import_module(f"SAM2AdaptLib.{name}") for name in names}
    return types.SimpleNamespace(**modules)


@pytest.fixture(scope="session")
def servedEngine():
    """The real engine, warm for all tests."""
    engine = ServedEngine()
    yield engine
    engine.close()
