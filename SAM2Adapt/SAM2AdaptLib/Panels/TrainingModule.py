"""The training module, opened from another one."""

import slicer


def useForTraining(segmentationNode):
    """Open the module with a segmentation in its table of cases; slices that were filled weigh less there."""
    parameterNode = slicer.util.getModuleLogic("SAM2AdaptTraining").getParameterNode()
    parameterNode.exampleSegmentation = segmentationNode
    slicer.util.selectModule("SAM2AdaptTraining")
