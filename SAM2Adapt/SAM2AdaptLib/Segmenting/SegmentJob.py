"""One run of a model over one volume (one or all time points), from the node to the segmentation.

Nothing here waits: each step is a callback of the engine. The scene does not change before the whole result is there.
"""

import time

import numpy as np
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import asEngineErrors, fromException
from SAM2AdaptLib.Engine.Job import DONE, FAILED, RUNNING, stopped, takeCallbacks
from SAM2AdaptLib.Engine.SceneJob import SceneJob, requireInScene
from SAM2AdaptLib.Scene import (
    LabelImport,
    LabelMaps,
    NewNodes,
    Results,
    SegmentationHistory,
    Sequences,
    VolumeGrid,
    VolumeModality,
    Volumes,
    VolumeTransfer,
)
from SAM2AdaptLib.Segmenting.Choices import ExistingSegments, TimePoints
from SAM2AdaptLib.Segmenting.Options import Options


def start(engine, volumeNode, model, segmentationNode=None, **options):
    """Start segmenting a volume; returns at once.

    :param engine: has ``request(method, params, onResult, onError, onProgress, onLog)``, which returns an object with
      ``cancel()`` and calls back later (``Client.EngineClient``).
    :param volumeNode: vtkMRMLScalarVolumeNode or, for colour, vtkMRMLVectorVolumeNode.
    :param model: name of a model, or path of a model file.
    :param segmentationNode: where to put the segments; without it a new node is named after the volume, once the model
      has found something.
    :param options: those of ``Options.Options`` and the callbacks of ``Job``. onProgress gets the engine's progress
      (see ``sam2adapt.server.methods``), with "fraction" over all time points and "text", the same in words. When
      onError is called, scene and segmentation are as before.
    :return: the SegmentJob.
    :raises EngineError: what is known before anything runs: a volume without voxels or with sheared axes, a region
      outside of it, a segmentation that cannot take the result, a node that is not in the scene, no structure.
    :raises ValueError: as ``Options.Options``.
    """
    callbacks = takeCallbacks(options)
    options = Options(**options)
    with asEngineErrors():
        Volumes.requireVoxels(volumeNode)
        requireInScene(volumeNode, segmentationNode)
        request = options.request(model)
        target, items = _plan(volumeNode, segmentationNode, options)
        points = [_TimePoint(volumeNode, *item, options.roiNode) for item in items]
        job = SegmentJob(engine, volumeNode, points, target, request, options.uncertainty, **callbacks)
        job.begin([volumeNode, *target.nodes])
    return job


class SegmentJob(SceneJob):
    """A run on its way; made by ``start``.

    :ivar segmentationNode: the result, once it is there; None if the model found nothing and no node was given.
    :ivar uncertaintyNode: vtkMRMLScalarVolumeNode, if the options ask for it.
    :ivar result: the engine's answer for the last time point (see ``sam2adapt.server.methods.segment``).
    :ivar message: one sentence on the result, "No structure was found." for instance.
    :ivar seconds: "transfer" (volume to file), "engine", "import" (labels to segments), "total".
    """

    def __init__(self, engine, volumeNode, points, target, request, uncertainty, **callbacks):
        super().__init__(**callbacks)
        self.segmentationNode = self.uncertaintyNode = self.result = None
        self.message = ""
        self.seconds = {"transfer": 0.0, "engine": 0.0, "import": 0.0, "total": 0.0}
        self._engine, self._points, self._target = engine, points, target
        self._request, self._uncertainty = request, uncertainty
        self._modality = VolumeModality.dicomModality(volumeNode)
        self._index, self._found = 0, set()

    def _cancelledError(self):
        return stopped(_("The segmentation was cancelled."), _("Nothing was changed."))

    def _send(self):
        """Hand the next time point to the engine."""
        began = time.perf_counter()
        point = self._points[self._index]
        self._files = {
            name: str(self._folder.path / f"{name}-{self._index}.npy") for name in ("volume", "labels", "uncertainty")
        }
        parameters = self._request | {
            "input": VolumeTransfer.writeVolume(point.node, self._files["volume"], self._modality),
            "roi": point.roi,
            "labels": self._files["labels"],
            "uncertainty": self._files["uncertainty"] if self._uncertainty else None,
        }
        self._sent = time.perf_counter()
        self.seconds["transfer"] += self._sent - began
        self._ask(self._engine, "segment", parameters)

    def _onResult(self, result):
        self.seconds["engine"] += time.perf_counter() - self._sent
        self.result = result
        fraction = (self._index + 1) / len(self._points)
        try:
            self._report({"stage": "importing", "fraction": fraction, "text": _("Importing the result")})
        finally:  # a caller's onProgress that fails is not the end of the run
            self._import(result)

    def _import(self, result):
        if self.isOver:
            return  # cancelled by the caller's onProgress
        try:
            isLast = self._take(result)
        except Exception as exception:
            self._end(FAILED, fromException(exception, _("The result could not be put into the scene: {error}.")))
            return
        if isLast:
            self._end(DONE)

    def _take(self, result):
        """Take the labels of a time point; after the last one put everything into the scene and say True."""
        began = time.perf_counter()
        count, point = len(self._points), self._points[self._index]
        point.grid.requireUnchanged()
        labels = np.load(self._files["labels"])
        uncertainty = np.load(self._files["uncertainty"]) if self._uncertainty else None
        self._target.add(point.indexValue, point.node, labels, result["structures"], uncertainty)
        self._found |= {structure["name"] for structure in result["structures"] if structure["voxels"]}
        for path in self._files.values():
            self._folder.remove(path)
        self._index += 1
        if self._index == count:
            self._commit(result)
        self.seconds["import"] += time.perf_counter() - began
        if self._index < count:
            self._send()
        return self._index == count

    def _commit(self, result):
        isNew = not self._target.nodes[0]
        self.segmentationNode, self.uncertaintyNode = self._target.commit(bool(self._found))
        if self.segmentationNode:
            model = result.get("model", {}).get("name", "")
            names = {structure["name"] for structure in result["structures"]}
            Results.mark(self.segmentationNode, model or self._request["model"], names, isNew)

    def _onEngineProgress(self, progress):
        self.state = RUNNING
        count = len(self._points)
        left = progress.get("secondsLeft")
        if left is not None and count > 1:
            # A time point takes as long as those before it, or as long as this one seems to take.
            whole = self.seconds["engine"] / self._index if self._index else time.perf_counter() - self._sent + left
            left += whole * (count - self._index - 1)
        progress = progress | {"fraction": (self._index + progress["fraction"]) / count, "secondsLeft": left}
        text = ProgressTexts.segmenting(progress)
        if count > 1:
            text = _("Time point {number} of {count}. {text}").format(number=self._index + 1, count=count, text=text)
        self._report(progress | {"text": text})

    def _end(self, state, error=None):
        if state == DONE:
            self.message = _("No structure was found.")
            if self._found:
                names = [one["name"] for one in self.result["structures"] if one["name"] in self._found]
                self.message = _("Found: {structures}.").format(structures=", ".join(names))
        super()._end(state, error)

    def _release(self):
        super()._release()
        self._points, self._target = [], None


class _TimePoint:
    """One volume to segment: its node, the voxel box of the region, and the grid on which the result must fit."""

    def __init__(self, volumeNode, indexValue, node, roiNode):
        VolumeTransfer.requireSegmentable(node)
        self.indexValue, self.node = indexValue, node
        self.roi = roiNode and VolumeTransfer.voxelBox(node, roiNode, volumeNode.GetParentTransformNode())
        self.grid = VolumeGrid.Snapshot(node)


class _VolumeTarget:
    """The result of one volume; the interface of ``Sequences.SequenceTarget``."""

    def __init__(self, volumeNode, segmentationNode, existing):
        if segmentationNode:
            LabelMaps.requireLabelmaps(segmentationNode, volumeNode)
        self._volumeNode, self._segmentationNode, self._existing = volumeNode, segmentationNode, existing
        self.nodes = [segmentationNode]

    def add(self, indexValue, volumeNode, labels, structures, uncertainty):
        self._labels, self._structures, self._uncertainty = labels, structures, uncertainty

    def commit(self, found):
        segmentationNode = self._segmentationNode
        arguments = self._volumeNode, self._labels, self._structures, segmentationNode, self._existing
        if segmentationNode:
            isReplacing = self._existing == LabelImport.REPLACE
            names = {structure["name"] for structure in self._structures} if isReplacing else ()
            with SegmentationHistory.recorded(segmentationNode, names):
                LabelImport.importLabels(*arguments)
        elif found:
            segmentationNode = LabelImport.importLabels(*arguments)
            SegmentationHistory.recordCreated(segmentationNode)
        uncertaintyNode = None
        if self._uncertainty is not None:
            uncertaintyNode = Sequences.newUncertaintyNode(self._volumeNode)
            NewNodes.fillVolume(uncertaintyNode, self._uncertainty, self._volumeNode)
        return segmentationNode, uncertaintyNode


def _plan(volumeNode, segmentationNode, options):
    """Where the result goes, and the (index value, volume node) of each time point to segment."""
    existing = options.existingSegments.value
    if options.existingSegments is ExistingSegments.NEW:
        segmentationNode, existing = None, LabelImport.ADD
    items = Sequences.items(volumeNode) if options.timePoints is TimePoints.ALL else []
    if len(items) > 1:
        return Sequences.SequenceTarget(volumeNode, segmentationNode, existing), items
    browser = Sequences.browserOf(volumeNode)
    if browser and segmentationNode and browser.GetSequenceNode(segmentationNode):
        # The user may move the time slider during the run: the result belongs to the time point shown now.
        return Sequences.SequenceTarget(volumeNode, segmentationNode, existing), [Sequences.currentItem(volumeNode)]
    return _VolumeTarget(volumeNode, segmentationNode, existing), [(None, volumeNode)]
