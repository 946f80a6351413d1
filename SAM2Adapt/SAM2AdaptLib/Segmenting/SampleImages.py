"""The images of Slicer's Sample Data module in a group of this extension: one for each bundled model, one to train on.

The chest CT is Slicer's own and is downloaded when it is asked for. The others come with the extension, so that they
need no network; ``Resources/Samples/README.md`` names their sources and licences.
"""

import os
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError

CATEGORY = "SAM2Adapt"
FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Samples"
_CHECKSUM = "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"
_URL = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{_CHECKSUM}"
_SINGLE_FILE = 4  # of vtkSlicerVolumesLogic::LoadingOptions

#: Name of each sample that comes with the extension: the name of its volume in the scene, its image, and its
#: segmentation, "" without one.
BUNDLED = {
    "SAM2AdaptHippocampus": ("Hippocampus MR", "hippocampus.nii.gz", ""),
    "SAM2AdaptLumbarSpine": ("Lumbar spine MR", "lumbar-spine.png", ""),
    "SAM2AdaptRetina": ("Retina", "retina.jpg", ""),
    "SAM2AdaptTraining": ("Chest CT", "chest.nrrd", "chest-drawn.seg.nrrd"),
}


def register():
    """Add the samples to the Sample Data module. Downloads nothing."""
    if not hasattr(slicer.modules, "sampledata"):
        return  # Slicer can be started without some of its modules
    import SampleData

    folder = os.path.dirname(slicer.util.modulePath("SampleData"))
    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="SAM2AdaptChest",
        thumbnailFileName=os.path.join(folder, "Resources", "Icons", "CTChest.png"),
        uris=_URL,
        fileNames="CT-chest.nrrd",
        checksums=f"SHA256:{_CHECKSUM}",
        nodeNames="CTChest",
    )
    for name, (title, image, _segmentation) in BUNDLED.items():
        logic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris=(FOLDER / image).as_uri(),  # Slicer asks for one, though the function below loads the sample
            fileNames=image,
            nodeNames=title,
            thumbnailFileName=str(FOLDER / f"{image.partition('.')[0]}-thumbnail.png"),
            customDownloader=lambda source, name=name: load(name),
        )


def load(name):
    """Load a sample that comes with the extension.

    :param name: a key of ``BUNDLED``.
    :return: list of the nodes: the volume and, where there is one, its segmentation.
    :raises EngineError: it cannot be loaded.
    """
    title, image, segmentation = BUNDLED[name]
    volumeNode = slicer.modules.volumes.logic().AddArchetypeVolume(str(FOLDER / image), title, _SINGLE_FILE)
    nodes = [volumeNode]
    if volumeNode and segmentation:
        path = str(FOLDER / segmentation)
        node = slicer.modules.segmentations.logic().LoadSegmentationFromFile(path, True, f"{title} segmentation")
        if node:
            node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        nodes.append(node)
    if None in nodes:
        raise EngineError("InputFileError", _("'{path}' cannot be loaded.").format(path=FOLDER / image))
    return nodes
