"""The cases in the panel's table, from the scene and from folders, and the structures that they have together."""

import time
from pathlib import Path

import slicer
import vtk
from sam2adapt.shared.errors import UserError
from sam2adapt.shared.labels.overlaps import LAST

from SAM2AdaptLib.Scene import Volumes
from SAM2AdaptLib.Training import Cases, Classes, FolderCases, LabelNames
from SAM2AdaptLib.Training.Cases import IGNORE, TRAIN, VALIDATE

#: Attribute of a segmentation node that is in the table of cases: what it is used for.
USE_ATTRIBUTE = "SAM2Adapt.Use"
_PATIENCE = 0.01  # s of the processor that cases are examined at once
_REMOVED = "-"  # use of a case of a folder that was taken out of the table


class CaseList:
    """Which cases there are and what they are for is kept in the scene, so that it is saved with it.

    A case is examined again only after its nodes have changed, because that reads all of its voxels, and only as much
    of the cases at once as Slicer can wait for. Until a case that changed is examined, it is shown as it was.

    :ivar cases: list of ``Cases.TrainingCase``.
    :ivar classes: what ``Classes.match`` made of them.
    :ivar isWaiting: whether ``read`` has to be called again, because cases are left that were not examined.
    :ivar refused: list of UserError about folders that have no case with the chosen channel.
    """

    def __init__(self, onChanged):
        """
        :param onChanged: called when the nodes of a case were changed.
        """
        self._onChanged = onChanged
        self._examined = {}  # (ID of segmentation, ID of volume) -> SceneCase
        self._outdated = set()  # keys of these that have changed since
        self._begun = {}  # key -> SceneCase that is being examined and its steps
        self._observed = {}  # key of ``_examined`` -> pairs of a node or segmentation and the tag of an observer
        self._leftOver = []  # such pairs that tell nothing any more
        self._folders = {}  # (path, channel) -> cases
        self.cases, self.classes, self.refused, self.isWaiting = [], [], [], False
        self._overlap = LAST

    def clear(self):
        """Forget all nodes; ``unfollowSome`` comes next."""
        self._leftOver += [pair for pairs in self._observed.values() for pair in pairs]
        self._observed = {}
        self._examined, self._begun, self.cases, self.classes = {}, {}, [], []
        self._outdated.clear()

    def unfollowSome(self):
        """Remove observers that are left over, as many as Slicer can wait for; returns whether more are left."""
        until = time.thread_time() + _PATIENCE
        while self._leftOver and time.thread_time() < until:
            observed, tag = self._leftOver.pop()
            observed.RemoveObserver(tag)
        return bool(self._leftOver)

    def addScene(self, nodes=None):
        """Put every segmentation of the scene that is meant for the user into the table, except empty ones.

        A generator: it stops whenever Slicer has waited long enough, and is to be continued from the event loop.

        :param nodes: take only these segmentations, and those of these volumes.
        :return: of the generator: (how many are new, names of empty segmentations that were left out).
        """

        def skip(segmentationNode):
            wanted = nodes is None or segmentationNode in nodes or Volumes.volumeOf(segmentationNode) in nodes
            return not wanted or bool(segmentationNode.GetAttribute(USE_ATTRIBUTE))

        count, empty, began = 0, [], time.thread_time()
        for case in Cases.sceneCases(skip):
            if case is None:
                pass  # it is looking at a large one
            elif case.isEmpty:
                empty.append(case.segmentationNode.GetName())
            else:
                count += 1
                case.segmentationNode.SetAttribute(USE_ATTRIBUTE, case.use)
                self._examined[_key(case.volumeNode, case.segmentationNode)] = case
            if time.thread_time() - began > _PATIENCE:
                yield
                began = time.thread_time()
        return count, empty

    def addFolder(self, parameterNode, path):
        """Put the pairs of a folder into the table, those that were taken out before too.

        :return: how many pairs it has.
        :raises UserError: it holds none, or cannot be read.
        """
        path = str(Path(path).resolve())
        channel = parameterNode.channel
        self._folders[path, channel] = FolderCases.fromFolder(path, channel=channel)
        labels = {str(case.label) for case in self._folders[path, channel]}
        uses = list(parameterNode.fileUses)
        kept = [entry for entry in uses if _parts(entry)[1] not in labels or _parts(entry)[0] != _REMOVED]
        if kept != uses:
            parameterNode.fileUses = kept
        parameterNode.caseFolders = [*(known for known in parameterNode.caseFolders if known != path), path]
        return len(labels)

    def remove(self, parameterNode, case):
        """Take a case out of the table; its data stay as they are."""
        if case.segmentationNode is None:
            self.setUse(parameterNode, case, _REMOVED)
            return
        case.segmentationNode.RemoveAttribute(USE_ATTRIBUTE)
        if parameterNode.exampleSegmentation is case.segmentationNode:
            parameterNode.exampleSegmentation = None

    def setUse(self, parameterNode, case, use):
        """Say what a case is for."""
        if case.segmentationNode:
            case.segmentationNode.SetAttribute(USE_ATTRIBUTE, use)
        else:
            others = [entry for entry in parameterNode.fileUses if _parts(entry)[1] != str(case.label)]
            parameterNode.fileUses = others if use == TRAIN else [*others, f"{use} {case.label}"]

    def read(self, parameterNode):
        """Update the cases and match their structures."""
        example = parameterNode.exampleSegmentation
        if example and not example.GetAttribute(USE_ATTRIBUTE):
            example.SetAttribute(USE_ATTRIBUTE, TRAIN)
        self._overlap = parameterNode.overlap or LAST
        self.cases = self._sceneCases() + self._folderCases(parameterNode)
        self.classes = Classes.match(self.cases)
        skipped = set(parameterNode.skippedClasses)
        for entry in self.classes:
            entry.use = entry.key not in skipped

    def problems(self):
        """What forbids to train, as a list of UserError."""
        return Classes.problems(self.cases, self.classes)

    def _sceneCases(self):
        cases, until, self.isWaiting = {}, None, False
        for segmentationNode in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            use = segmentationNode.GetAttribute(USE_ATTRIBUTE)
            if use not in (TRAIN, VALIDATE, IGNORE):
                continue
            volumeNode = Volumes.volumeOf(segmentationNode)
            key = _key(volumeNode, segmentationNode)
            case = self._examined.get(key)
            if case is None or key in self._outdated or case.overlap != self._overlap:
                # Counted from here: in a large scene it may take as long to come here, and none would be looked at.
                until = until or time.thread_time() + _PATIENCE
                case = self._lookedAt(key, volumeNode, segmentationNode, until) or case
            if case is not None:
                case.use = use
                cases[key] = case
        self._examined = cases
        self._outdated &= cases.keys()
        self._observe()
        return list(cases.values())

    def _lookedAt(self, key, volumeNode, segmentationNode, until):
        """A new SceneCase; None while it is not examined, which goes on until a time of the processor."""
        case, steps = self._begun.get(key, (None, None))
        if case is None or case.overlap != self._overlap:
            case = Cases.SceneCase(volumeNode, segmentationNode, overlap=self._overlap, isExamined=False)
            self._begun[key] = case, (steps := case.examineSteps())
        while time.thread_time() < until:
            if next(steps, self) is self:
                del self._begun[key]
                self._outdated.discard(key)
                return case
        self.isWaiting = True
        return None

    def lookAgain(self, case):
        """Examine a case of the scene anew, because what is said of it has changed."""
        key = _key(case.volumeNode, case.segmentationNode)
        self._begun.pop(key, None)
        self._outdated.add(key)

    def _observe(self):
        """Follow the nodes of all cases; those that are followed already stay, because of hundreds it takes long."""
        known = {key: case for key, (case, _steps) in self._begun.items()} | self._examined
        for key in self._observed.keys() - known.keys():
            self._follow(key, [])
        for key, case in known.items():
            if key in self._observed:
                continue
            segmentation = case.segmentationNode.GetSegmentation()
            events = [
                (segmentation, segmentation.SegmentAdded),
                (segmentation, segmentation.SegmentRemoved),
                (segmentation, segmentation.SegmentModified),
                (segmentation, segmentation.SourceRepresentationModified),
                (case.segmentationNode, case.segmentationNode.ReferenceModifiedEvent),
                (case.segmentationNode, case.segmentationNode.TransformModifiedEvent),
            ]
            if case.volumeNode:
                events.append((case.volumeNode, case.volumeNode.TransformModifiedEvent))
                events.append((case.volumeNode, case.volumeNode.ImageDataModifiedEvent))
                events.append((case.volumeNode, vtk.vtkCommand.ModifiedEvent))
            self._follow(key, events)

    def _follow(self, key, events):
        """Follow a case by these (object, event), and by no others."""
        for observed, tag in self._observed.pop(key, ()):
            observed.RemoveObserver(tag)
        if events:

            def onChanged(caller, event):
                self._onNodeChanged(key)

            self._observed[key] = [(observed, observed.AddObserver(event, onChanged)) for observed, event in events]

    def _onNodeChanged(self, key):
        if key not in self._observed:
            return
        self._begun.pop(key, None)
        self._outdated.add(key)
        self._onChanged()

    def _folderCases(self, parameterNode):
        chosen = {label: use for use, label in map(_parts, parameterNode.fileUses)}
        names, cases = self._labelNames(parameterNode), []
        self.refused = []
        for path in parameterNode.caseFolders:
            for case in self._inFolder(path, parameterNode.channel):
                case.use, case.overlap = chosen.get(str(case.label), TRAIN), self._overlap
                if names and case.isUnnamed:
                    case.nameLabels(names)
                if case.use != _REMOVED:
                    cases.append(case)
        return cases

    def _labelNames(self, parameterNode):
        """Names of label values that the user has typed; {} without any, or while they cannot be read."""
        try:
            return LabelNames.parse(parameterNode.labelNames)
        except UserError:
            return {}

    def _inFolder(self, path, channel):
        if (path, channel) not in self._folders:
            try:
                self._folders[path, channel] = FolderCases.fromFolder(path, channel=channel)
            except UserError as error:
                if "channel" in error.setting:
                    self.refused.append(error)
                    return []
                self._folders[path, channel] = []  # of a scene from another computer; its cases are simply not here
        return self._folders[path, channel]


def _key(volumeNode, segmentationNode):
    return segmentationNode.GetID(), volumeNode and volumeNode.GetID()


def _parts(entry):
    """Use and label file of an entry of the parameter fileUses."""
    use, _space, label = entry.partition(" ")
    return use, label
