"""One run of a model over one volume (one or all time points), from the node to the segmentation.

Nothing here waits: each step is a callback of the engine. The scene does not change before the whole result is there.
"""

import time

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import GeometryError, SettingsError, UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import fromException, fromUserError
from SAM2AdaptLib.Engine.Job import DONE, FAILED, RUNNING, Job, stopped
from SAM2AdaptLib.Scene import SegmentationBridge, SegmentationHistory, Sequences, VolumeModality, VolumeTransfer
from SAM2AdaptLib.Segmenting.Choices import ExistingSegments, TimePoints

WAITING = "waiting"


def start(
    engine,
    volumeNode,
    model,
    segmentationNode=None,
    device="auto",
    structures=None,
    roiNode=None,
    tta=False,
    uncertainty=False,
    postProcess=True,
    existingSegments=ExistingSegments.REPLACE,
    timePoints=TimePoints.CURRENT,
    anyModality=False,
    **callbacks,
):
    """Start segmenting a volume; returns at once.

    :param engine: has ``request(method, params, onResult, onError, onProgress, onLog)``, which returns an object with
      ``cancel()`` and calls back later (``Client.EngineClient``).
    :param volumeNode: vtkMRMLScalarVolumeNode or, for colour, vtkMRMLVectorVolumeNode.
    :param model: name of a model, or path of a model file.
    :param segmentationNode: where to put the segments; without it a node named after the volume is made at the end,
      unless nothing was found.
    :param device: "auto", "cpu", "cuda:0" …
    :param structures: names of the structures to segment; None: all that the model knows.
    :param roiNode: vtkMRMLMarkupsROINode; outside of it nothing is labelled.
    :param tta: average three scales: slower, a little better.
    :param uncertainty: also make a volume of each voxel's uncertainty, 0 to 1.
    :param postProcess: remove stray pieces and holes as the model's card says.
    :param existingSegments: "replace" gives segments of the same name their new shape, "add" adds segments under new
      names, "new" makes a new node; other segments are never touched. Also the values of ``ExistingSegments``.
    :param timePoints: "current", or "all" of a volume sequence. Also the values of ``TimePoints``.
    :param anyModality: do not refuse CT for an MR model and the reverse.
    :param callbacks: those of ``Job``. onProgress gets the engine's progress (see ``sam2adapt.server.methods``), its
      fraction counted over all time points, and "text", the same in words. When onError is called, scene and
      segmentation are as before.
    :return: the SegmentJob.
    :raises EngineError: what is known before anything runs: a volume without voxels or with sheared axes, a region
      outside of it, a segmentation that cannot take the result, a node that is not in the scene, no structure.
    :raises ValueError: existingSegments or timePoints is none of the above.
    """
    existing, times = ExistingSegments(existingSegments), TimePoints(timePoints)
    request = {
        "model": str(model),
        "device": device,
        "structures": structures,
        "tta": tta,
        "anyModality": anyModality,
        "postProcess": postProcess,
    }
    try:
        SegmentationBridge.requireVoxels(volumeNode)
        _requireInScene(volumeNode, segmentationNode)
        if structures is not None and not structures:
            raise SettingsError(_("No structure was chosen."), _("Choose at least one structure."))
        target, items = _plan(volumeNode, segmentationNode, existing, times)
        points = [_TimePoint(volumeNode, *item, roiNode) for item in items]
        job = SegmentJob(engine, volumeNode, points, target, request, uncertainty, **callbacks)
        job.begin()
    except UserError as error:
        raise fromUserError(error) from error
    return job


class SegmentJob(Job):
    """A run on its way; made by ``start``.

    :ivar state: "waiting" before the engine works on it, then as of ``Job``.
    :ivar segmentationNode: the result, once it is there; None if nothing was found and none was given.
    :ivar uncertaintyNode: vtkMRMLScalarVolumeNode, if it was asked for.
    :ivar result: the engine's answer for the last time point (see ``sam2adapt.server.methods.segment``).
    :ivar message: one sentence on the result, "No structure was found." for instance.
    :ivar seconds: "transfer" (volume to file), "engine", "import" (labels to segments), "total".
    """

    def __init__(self, engine, volumeNode, points, target, request, uncertainty, **callbacks):
        super().__init__(**callbacks)
        self.state = WAITING
        self.segmentationNode = self.uncertaintyNode = self.result = None
        self.message = ""
        self.seconds = {"transfer": 0.0, "engine": 0.0, "import": 0.0, "total": 0.0}
        self._engine, self._points, self._target = engine, points, target
        self._request, self._uncertainty = request, uncertainty
        self._modality = VolumeModality.dicomModality(volumeNode)
        self._watched = [volumeNode, *target.nodes]
        self._index, self._found, self._observers = 0, set(), []
        self._folder = None

    def begin(self):
        """Send the first time point; called by ``start``."""
        self._began = time.perf_counter()
        self._folder = VolumeTransfer.PrivateFolder()
        try:
            self._send()
        except Exception:
            self._release()
            raise
        self._observe(slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        self._observe(slicer.mrmlScene.StartCloseEvent, self._onSceneClosing)

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
        point.requireUnchanged()
        labels = np.load(self._files["labels"])
        uncertainty = np.load(self._files["uncertainty"]) if self._uncertainty else None
        self._target.add(point.indexValue, point.node, labels, result["structures"], uncertainty)
        self._found |= {structure["name"] for structure in result["structures"] if structure["voxels"]}
        for path in self._files.values():
            self._folder.remove(path)
        self._index += 1
        if self._index == count:
            self.segmentationNode, self.uncertaintyNode = self._target.commit(bool(self._found))
        self.seconds["import"] += time.perf_counter() - began
        if self._index < count:
            self._send()
        return self._index == count

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
        self.seconds["total"] = time.perf_counter() - self._began
        if state == DONE:
            self.message = _("No structure was found.")
            if self._found:
                self.message = _("Found: {structures}.").format(structures=", ".join(sorted(self._found)))
        super()._end(state, error)

    def _release(self):
        for tag in self._observers:
            slicer.mrmlScene.RemoveObserver(tag)
        self._observers, self._points, self._watched, self._target = [], [], [], None
        self._folder.close()

    def _observe(self, event, callback):
        self._observers.append(slicer.mrmlScene.AddObserver(event, callback))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller, event, node):
        if node in self._watched:
            message = _("'{name}' was removed while it was in use.").format(name=node.GetName())
            self._stop(stopped(message, _("Nothing was changed.")))

    def _onSceneClosing(self, caller, event):
        self._stop(stopped(_("The scene was closed."), _("Nothing was changed.")))


class _TimePoint:
    """One volume to segment: its node, the voxel box of the region, and the grid as it was sent."""

    def __init__(self, volumeNode, indexValue, node, roiNode):
        VolumeTransfer.requireSegmentable(node)
        self.indexValue, self.node = indexValue, node
        self.roi = roiNode and VolumeTransfer.voxelBox(node, roiNode, volumeNode.GetParentTransformNode())
        self._grid = self._currentGrid()

    def requireUnchanged(self):
        """Refuse the result if the voxels that were sent are no longer the grid of the volume; their values may change.

        :raises GeometryError: size, spacing, origin or directions changed.
        """
        if not np.array_equal(self._grid, self._currentGrid()):
            raise GeometryError(
                _("The geometry of volume '{name}' changed while it was segmented.").format(name=self.node.GetName()),
                _("Start the segmentation again."),
            )

    def _currentGrid(self):
        image = self.node.GetImageData()
        dimensions = image.GetDimensions() if image else (0, 0, 0)
        return np.vstack([SegmentationBridge.ijkToRAS(self.node), [*dimensions, 0]])


class _VolumeTarget:
    """The result of one volume; the interface of ``Sequences.SequenceTarget``."""

    def __init__(self, volumeNode, segmentationNode, existing):
        if segmentationNode:
            SegmentationBridge.requireUsable(segmentationNode, volumeNode)
        self._volumeNode, self._segmentationNode, self._existing = volumeNode, segmentationNode, existing
        self.nodes = [segmentationNode]

    def add(self, indexValue, volumeNode, labels, structures, uncertainty):
        self._labels, self._structures, self._uncertainty = labels, structures, uncertainty

    def commit(self, found):
        segmentationNode = self._segmentationNode
        arguments = self._volumeNode, self._labels, self._structures, segmentationNode, self._existing
        if segmentationNode:
            isReplacing = self._existing == SegmentationBridge.REPLACE
            names = {structure["name"] for structure in self._structures} if isReplacing else ()
            with SegmentationHistory.recorded(segmentationNode, names):
                SegmentationBridge.importLabels(*arguments)
        elif found:
            segmentationNode = SegmentationBridge.importLabels(*arguments)
            SegmentationHistory.recordCreated(segmentationNode)
        uncertaintyNode = None
        if self._uncertainty is not None:
            uncertaintyNode = VolumeTransfer.createUncertaintyNode(self._volumeNode)
            VolumeTransfer.fillVolume(uncertaintyNode, self._uncertainty, self._volumeNode)
        return segmentationNode, uncertaintyNode


def _requireInScene(*nodes):
    """Refuse nodes that were removed: what a result refers to would be gone.

    :raises SettingsError: in this case.
    """
    for node in nodes:
        if node and node.GetScene() is not slicer.mrmlScene:
            raise SettingsError(
                _("'{name}' is not in the scene.").format(name=node.GetName()), _("Choose one that is there.")
            )


def _plan(volumeNode, segmentationNode, existingSegments, timePoints):
    """Where the result goes, and the (index value, volume node) of each time point to segment."""
    existing = existingSegments.value
    if existingSegments is ExistingSegments.NEW:
        segmentationNode, existing = None, SegmentationBridge.ADD
    items = Sequences.items(volumeNode) if timePoints is TimePoints.ALL else []
    if len(items) > 1:
        return Sequences.SequenceTarget(volumeNode, segmentationNode, existing), items
    browser = Sequences.browserOf(volumeNode)
    if browser and segmentationNode and browser.GetSequenceNode(segmentationNode):
        # The user may move the time slider meanwhile: the result belongs to the time point that is shown now.
        return Sequences.SequenceTarget(volumeNode, segmentationNode, existing), [Sequences.currentItem(volumeNode)]
    return _VolumeTarget(volumeNode, segmentationNode, existing), [(None, volumeNode)]
