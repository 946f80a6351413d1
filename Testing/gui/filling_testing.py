"""What the tests of the Segment Editor effect share: drawings, and the editor with what a user does and sees."""

import numpy as np
import slicer

SHAPE = (12, 20, 24)  # K, J, I
NAME = "Fill from drawn slices"


def disc(radius, center=(10, 12)):
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def stack(places, radius=5):
    mask = np.zeros(SHAPE, np.uint8)
    mask[list(places)] = disc(radius)
    return mask


def filled(masks):
    """The slices between the first and the last drawn one as the first."""
    masks = masks.copy()
    masks[:, 3:10] = masks[:, 2:3]
    return masks


def addDrawings(masks):
    """A volume, 3 mm between slices from 7.25 mm on, and a segmentation with these masks."""
    from SAM2AdaptLib.Scene import LabelImport

    ijkToRAS = np.diag([-0.7, -0.9, 3.0, 1.0])
    ijkToRAS[:3, 3] = 12.5, -40.0, 7.25
    voxels = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    volumeNode = slicer.util.addVolumeFromArray(voxels, ijkToRAS=ijkToRAS, name="CT")
    segmentationNode = None
    for name, mask in masks.items():
        structure = {"id": 1, "name": name}
        segmentationNode = LabelImport.importLabels(volumeNode, mask, [structure], segmentationNode)
    return volumeNode, segmentationNode


class FillPanel:
    """The Segment Editor on a volume and a segmentation, with the effect chosen."""

    def __init__(self, volumeNode, segmentationNode, engine, processEvents):
        slicer.util.selectModule("SegmentEditor")
        self.volume, self.segmentation, self.engine = volumeNode, segmentationNode, engine
        self.editor = slicer.util.getModuleWidget("SegmentEditor").editor
        self.editor.setSegmentationNode(segmentationNode)
        self.editor.setSourceVolumeNode(volumeNode)
        self.editor.setActiveEffectByName(NAME)
        self.effect = self.editor.activeEffect().self()
        self.options = self.effect._options
        processEvents()

    @property
    def message(self):
        return self.options.messageLabel.text

    def widget(self, name):
        return getattr(self.effect, name)

    def texts(self, name):
        return self.widget(name).text

    def previewNode(self):
        return self.effect.getPreviewNode()

    def masks(self):
        return self._read(self.segmentation)

    def previewMasks(self):
        return self._read(self.previewNode())

    def draw(self, name, mask):
        from SAM2AdaptLib.Scene import SegmentMasks

        segmentId = self.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        SegmentMasks.add(self.segmentation, segmentId, mask, self._grid())

    def chooseStructure(self, name):
        box = self.options.structureComboBox
        box.setCurrentIndex(box.findText(name))

    def sendPreview(self, masks):
        request = self.engine.last
        np.save(request.params["preview"], masks)
        request.sendPreview({"id": 1, "masks": request.params["preview"]})

    def sendResult(self, masks, log=(), **changes):
        request = self.engine.last
        np.save(request.params["masks"], masks)
        for text in log:
            request.sendLog({"level": "warning", "message": text})
        structures = [{"name": name, "filled": [3, 4, 5, 7, 8, 9]} for name in request.params["structures"]]
        report = {
            "output": request.params["masks"], "expectedDice": 0.914, "nextSlice": 8, "axis": "K",
            "structures": structures,
        }  # fmt: skip
        request.sendResult(report | changes)

    def _grid(self):
        from SAM2AdaptLib.Scene import SegmentMasks

        return SegmentMasks.drawingGrid(self.volume, self.segmentation)

    def _read(self, node):
        from SAM2AdaptLib.Scene import SegmentMasks

        return SegmentMasks.read(node, list(node.GetSegmentation().GetSegmentIDs()), self._grid())
