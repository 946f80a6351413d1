"""The image of the tutorial in Slicer's Sample Data module."""

import os

import slicer

CATEGORY = "SAM2Adapt"
_CHECKSUM = "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"
_URL = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{_CHECKSUM}"


def register():
    """Add Slicer's own chest CT to the Sample Data module, in a group of this extension. Downloads nothing."""
    if not hasattr(slicer.modules, "sampledata"):
        return  # Slicer can be started without some of its modules
    import SampleData

    folder = os.path.dirname(slicer.util.modulePath("SampleData"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="SAM2AdaptChest",
        thumbnailFileName=os.path.join(folder, "Resources", "Icons", "CTChest.png"),
        uris=_URL,
        fileNames="CT-chest.nrrd",
        checksums=f"SHA256:{_CHECKSUM}",
        nodeNames="CTChest",
    )
