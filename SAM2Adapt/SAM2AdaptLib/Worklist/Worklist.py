"""A worklist in a folder that the user names: its cases, what became of each, and the models that compete.

The images stay where they are and as they are. Every change is written at once, so a restart loses nothing.
"""

import contextlib
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from sam2adapt.shared.errors import InputFileError, OutputError
from sam2adapt.shared.files import check_output, make_folder, write_json
from sam2adapt.shared.safety.private import Lock
from slicer.i18n import tr as _

from SAM2AdaptLib.Training import CaseFiles, FolderCases

FORMAT = 1
NEW, OPEN, DONE, LEARNT = "new", "open", "done", "learnt"
_FILE, _LOCK, _CORRECTIONS = "worklist.json", "worklist.lock", "corrections"


@dataclass
class Entry:
    """A case.

    :ivar id: name of its files; ``image``: path of the image.
    :ivar state: "new", "open" (loaded, not yet right), "done" (corrected) or "learnt" (a model has trained on it).
    :ivar score: how unsure a model was of it, 0 to 1, None if none was asked; ``scoredBy``: that model.
    :ivar isComplete: whether the correction counts on all slices; else only where something is drawn or filled.
    :ivar wasLearnt: whether a model has trained on an earlier correction of it, so that it cannot compare models.
    :ivar startedBy: the model that began the correction, "" if it was drawn.
    :ivar accuracy: mean Dice with the correction of each model that was measured before it learnt the case; None where
        it could not be measured.
    """

    id: str
    image: str
    state: str = NEW
    score: float | None = None
    scoredBy: str = ""
    isComplete: bool = False
    wasLearnt: bool = False
    startedBy: str = ""
    accuracy: dict[str, float | None] = field(default_factory=dict)


@dataclass
class Comparison:
    """Two models on corrections that neither had learnt: mean accuracy of each, on ``count`` cases, and the better."""

    former: str
    newer: str
    formerAccuracy: float
    newerAccuracy: float
    count: int
    kept: str


class Worklist:
    """The worklist of a folder, which no other Slicer can use until ``close``.

    :ivar folder, images: pathlib.Path of its own folder and of the folder of images.
    :ivar entries: list of ``Entry``.
    :ivar model: NAME@VERSION of the best model so far, "" before there is one; ``newer``: a model that has learnt since
        and is not yet compared, "" for none.
    :ivar comparisons: list of ``Comparison``, the last one last.
    :param images: folder of images, for a new worklist; None: that of the worklist that is there.
    :raises InputFileError: there is no worklist, another Slicer uses it, or it cannot be read.
    :raises OutputError: the folder cannot be written, or lies where the images are.
    """

    def __init__(self, folder, images=None):
        self.folder = Path(folder).absolute()
        self.images, self.entries = Path(images or self.folder).absolute(), []
        self.model = self.newer = ""
        self.comparisons = []
        exists = (self.folder / _FILE).is_file()
        if not exists:
            self._requireOwnFolder(images)
        self._lock = Lock(self.folder / _LOCK)
        if not self._lock.held:
            raise InputFileError(
                _("The worklist in '{folder}' is used by another Slicer.").format(folder=self.folder),
                _("Go on with it there, or close that Slicer."),
            )
        try:
            if exists:
                self._read()
            self._addImages()
            self.save()
        except BaseException:
            self.close()
            raise

    def close(self):
        """Let others use the folder."""
        if self._lock:
            self._lock.release()
            self._lock = None

    def save(self):
        """Write everything.

        :raises OutputError: it cannot be written; the file is as before.
        """
        content = {
            "format": FORMAT, "images": str(self.images), "model": self.model, "newer": self.newer,
            "comparisons": [dataclasses.asdict(one) for one in self.comparisons],
            "cases": [dataclasses.asdict(entry) for entry in self.entries],
        }  # fmt: skip
        write_json(self.folder / _FILE, content)

    def correction(self, entry):
        """Path of the corrected segmentation of a case (may not exist)."""
        return self.folder / _CORRECTIONS / f"{entry.id}.seg.nrrd"

    def next(self):
        """The case to correct next, None if all are done: one that is open, else the one that a model is least sure of.

        Cases of which no model was asked come after those.
        """
        waiting = [entry for entry in self.entries if entry.state == OPEN]
        waiting += sorted(
            (entry for entry in self.entries if entry.state == NEW),
            key=lambda entry: 1.0 if entry.score is None else -entry.score,
        )
        return waiting[0] if waiting else None

    def inState(self, *states):
        """The cases in one of these states."""
        return [entry for entry in self.entries if entry.state in states]

    def competing(self):
        """The models that predict each correction before they learn it."""
        return [name for name in (self.model, self.newer) if name]

    def toMeasure(self):
        """Pairs of a corrected case that nothing has learnt and a model that was not measured on it."""
        return [(e, name) for e in self._unlearnt() for name in self.competing() if name not in e.accuracy]

    def toRank(self):
        """Cases that wait, and of which the model in use was not asked."""
        return [entry for entry in self.inState(NEW) if self.inUse() and entry.scoredBy != self.inUse()]

    def inUse(self):
        """The model that segments the next case; two that compete take turns.

        A correction begins with the outlines of one of them, which favours it; so each begins every second case.
        """
        isTurnOfFormer = len(self._unlearnt()) % 2 == 1
        return self.model if isTurnOfFormer and self.model else self.newer or self.model

    def decide(self):
        """Keep the better of the competing models, if there is something to compare."""
        former, newer, count = self._accuracies()
        if not self.newer or (self.model and not count):
            return
        if self.model:
            kept = self.newer if newer >= former else self.model
            self.comparisons.append(Comparison(self.model, self.newer, former, newer, count, kept))
            self.model = kept
        else:
            self.model = self.newer
        self.newer = ""

    def opened(self, entry):
        """Note that the user works on a case; one that was done stays so until it is corrected again."""
        if entry.state == NEW:
            entry.state = OPEN
            self.save()

    def corrected(self, entry, isComplete):
        """Note that a correction is written; models are measured on it anew."""
        entry.state, entry.isComplete, entry.accuracy = DONE, isComplete, {}
        self.save()

    def learnt(self, entries, name):
        """Note that a new model has learnt cases; it competes with the best one from now on."""
        for entry in entries:
            entry.wasLearnt = True
            if entry.state == DONE:
                entry.state = LEARNT
        self.newer = name
        if not self.model:
            self.decide()

    def _accuracies(self):
        """Mean accuracy of the best and the newer model on the cases that measured both, and the number of cases."""
        groups = {}  # by the model that began them, so that neither profits from having begun more of them
        for entry in self._unlearnt():
            pair = entry.accuracy.get(self.model), entry.accuracy.get(self.newer)
            if self.newer and None not in pair:
                groups.setdefault(entry.startedBy, []).append(pair)
        if not groups:
            return 0.0, 0.0, 0
        means = [[sum(values) / len(pairs) for values in zip(*pairs, strict=True)] for pairs in groups.values()]
        former, newer = (sum(values) / len(means) for values in zip(*means, strict=True))
        return former, newer, sum(map(len, groups.values()))

    def _unlearnt(self):
        return [entry for entry in self.inState(DONE) if not entry.wasLearnt]

    def _requireOwnFolder(self, images):
        if images is None:
            raise InputFileError(
                _("There is no worklist in '{folder}'.").format(folder=self.folder), _("Choose the folder of images.")
            )
        inside = self.images.resolve()
        if self.folder.resolve() == inside or inside in self.folder.resolve().parents:
            raise OutputError(
                _("'{folder}' lies in the folder of the images.").format(folder=self.folder),
                _("Choose a folder elsewhere, because nothing is written beside the images."),
            )
        make_folder(self.folder)
        check_output(self.folder / _FILE)

    def _read(self):
        path = self.folder / _FILE
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] == FORMAT:
                self.images, self.model, self.newer = Path(content["images"]), content["model"], content["newer"]
                self.comparisons = [Comparison(**one) for one in content["comparisons"]]
                self.entries = [Entry(**case) for case in content["cases"]]
                return
        raise InputFileError(
            _("'{path}' is not a worklist of this SAM2Adapt.").format(path=path), _("Choose another folder.")
        )

    def _addImages(self):
        """Add the images that came into their folder since."""
        known = {entry.image for entry in self.entries}
        new = [path for path in map(str, FolderCases.imageFiles(self.images)) if path not in known]
        cases = [*self.entries, *(Entry(Path(path).name.partition(".")[0], path) for path in new)]
        names = CaseFiles.identifiers([_Named(entry.id) for entry in cases])
        for entry, name in list(zip(cases, names, strict=True))[len(self.entries) :]:
            entry.id = name
        self.entries = cases
        make_folder(self.folder / _CORRECTIONS)


@dataclass
class _Named:
    name: str
