"""Nodes that are made from a volume: named after it, under its transform, beside it in the subject hierarchy."""

import slicer
import vtk
from slicer.i18n import tr as _


def createSegmentationNode(volumeNode):
    """New vtkMRMLSegmentationNode named after a volume, under its transform and beside it in the subject hierarchy."""
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", segmentationName(volumeNode))
    segmentationNode.CreateDefaultDisplayNodes()
    putBeside(volumeNode, segmentationNode)
    return segmentationNode


def segmentationName(volumeNode):
    """A free name for a segmentation of a volume."""
    return freeNodeName(_("{name} segmentation").format(name=volumeNode.GetName()))


def createUncertaintyNode(volumeNode):
    """New vtkMRMLScalarVolumeNode for the uncertainty of each voxel, 0 to 1, beside the volume and without voxels.

    It is no image to segment, so it is hidden from the lists of nodes; a panel shows it over the image.
    """
    scene = slicer.mrmlScene
    name = freeNodeName(_("{name} uncertainty").format(name=volumeNode.GetName()))
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(name)
    node.SetHideFromEditors(True)  # before it is in the scene, so that no list takes it for an image
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    if colours := scene.GetFirstNodeByName("Inferno"):
        display.SetAndObserveColorNodeID(colours.GetID())
    putBeside(volumeNode, node)
    return node


def fillVolume(node, array, gridNode):
    """Give a volume node voxels (K, J, I) on the grid of another volume."""
    matrix = vtk.vtkMatrix4x4()
    gridNode.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(node, array)


def freeNodeName(name):
    """The name, with a number if a node has it; Slicer's own way counts nodes that are gone, too, by undo perhaps."""
    return slicer.mrmlScene.GenerateUniqueName(name) if slicer.mrmlScene.GetFirstNodeByName(name) else name


def putBeside(volumeNode, node):
    """Put what was made from a volume under its parent transform and beside it in the subject hierarchy."""
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    # Without the subject hierarchy plugins of the application nodes have no item, and item 0 is "invalid".
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volumeItem = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if volumeItem and item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volumeItem))


def belongings(node):
    """The display and storage nodes of a node."""
    nodes = [node.GetStorageNode()]
    if node.IsA("vtkMRMLDisplayableNode"):
        nodes += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    return [belonging for belonging in nodes if belonging]


def removeNode(node):
    """Remove a node from its scene, if it is in one, with its display and storage nodes."""
    scene = node.GetScene()
    if scene:
        for belonging in belongings(node):
            scene.RemoveNode(belonging)
        scene.RemoveNode(node)


def addAgain(node, itsBelongings):
    """Put a node back into the scene after ``removeNode``.

    :param itsBelongings: what ``belongings`` gave before.
    """
    for belonging in itsBelongings:
        slicer.mrmlScene.AddNode(belonging)
    slicer.mrmlScene.AddNode(node)
    for belonging in itsBelongings:  # removing them made the node forget them
        if belonging.IsA("vtkMRMLDisplayNode"):
            node.AddAndObserveDisplayNodeID(belonging.GetID())
        else:
            node.SetAndObserveStorageNodeID(belonging.GetID())
