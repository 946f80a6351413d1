"""What the segments of all cases mean together: one class for each structure, matched by code or name only."""

import collections

from sam2adapt.shared.errors import ClassesError, TrainingDataError
from sam2adapt.shared.labels.annotation import LARGEST_CLASS
from slicer.i18n import tr as _

from SAM2AdaptLib.Training.Cases import IGNORE, TRAIN

# Slicer calls each new segment "Tissue", and these say no more than that.
_UNSPECIFIC_TYPES = {"SCT^85756007", "SCT^123037004", ""}


class TrainingClass:
    """One structure to learn.

    :ivar id: label value in the files, 1 and up.
    :ivar key: what its segments have in common, the same each time the cases are matched.
    :ivar name, terminology, color: of the first segment that has them; terminology is "" where no segment has a code
      that says anything, and color None where no segment has one.
    :ivar members: list of (case, segment ID).
    :ivar ambiguous: sentence that says why the class cannot be used as it is; None if it can.
    :ivar mayBeAbsent: whether the engine may leave it out because no label file shows it.
    :ivar missing: names of the cases without a segment of the class; there it counts as absent.
    :ivar use: whether it is to be learned; else its segments count as background.
    """

    def __init__(self, number, key, segments):
        self.id, self.key = number, key
        self.members = [(case, segment.id) for case, segment in segments]
        self.name = segments[0][1].name.strip()
        self.terminology = next((s.terminology for _case, s in segments if codeOf(s.terminology)), "")
        self.color = next((tuple(s.color) for _case, s in segments if s.color is not None), None)
        self.names = {segment.name.strip().lower() for _case, segment in segments}
        self.voxels = _sum(s.voxels for _case, s in segments)
        self.mayBeAbsent = all(s.mayBeAbsent for _case, s in segments)
        self.ambiguous, self.missing, self.use = None, [], True

    def toJson(self):
        """The class as the engine's ``train`` wants it; what is left out is filled in from the name."""
        described = {"id": self.id, "name": self.name}
        if self.terminology:
            described["terminology"] = self.terminology
        if self.color is not None:
            described["color"] = [float(part) for part in self.color]
        if self.mayBeAbsent:
            described["optional"] = True
        return described


def match(cases):
    """Make the classes out of the segments of all cases that are not ignored.

    Segments belong together if they have the same terminology code. One without a code that says anything belongs to
    those of its name, upper and lower case being the same. Label values and the order of segments mean nothing.

    :param cases: list of ``Cases.TrainingCase``.
    :return: list of TrainingClass in the order in which they occur first. Where that is not certain, their
      ``ambiguous`` says so, and nothing is guessed.
    """
    cases = [case for case in cases if case.use != IGNORE]
    segments = [(case, segment) for case in cases for segment in case.segments()]
    classes = [TrainingClass(number, *group) for number, group in enumerate(_groups(segments).items(), start=1)]
    uses = collections.Counter(name for entry in classes for name in entry.names)
    for entry in classes:
        having = {case for case, _segmentId in entry.members}
        entry.missing = [case.name for case in cases if case not in having]
        entry.ambiguous = _twiceInACase(entry) or _oneNameManyCodes(entry, uses)
    return classes


def problems(cases, classes):
    """What forbids to train, as a list of UserError; empty if nothing does.

    :param cases: list of ``Cases.TrainingCase``.
    :param classes: what ``match`` gave for them.
    """
    casesInUse = [case for case in cases if case.use != IGNORE]
    errors = [problem for case in casesInUse for problem in case.problems]
    errors += [
        ClassesError(entry.ambiguous, _("Give each segment a different name or code, or leave the structure out."))
        for entry in classes
        if entry.use and entry.ambiguous
    ]
    if not any(case.use == TRAIN for case in casesInUse):
        errors.append(TrainingDataError(_("There is no case to train on."), _("Set the use of a case to “train”.")))
    errors += _volumesUsedTwice(casesInUse)
    learned = [entry for entry in classes if entry.use]
    if not learned:
        errors.append(ClassesError(_("There is no structure to learn."), _("Check at least one structure.")))
    if len(learned) > LARGEST_CLASS:
        errors.append(
            ClassesError(
                _("{count} structures are more than the {limit} that a model can have.").format(
                    count=len(learned), limit=LARGEST_CLASS
                ),
                _("Leave out those that are not needed."),
            )
        )
    voxels = {(case, segment.id): segment.voxels for case in cases for segment in case.segments()}
    return errors + [error for entry in learned if (error := _nothingToLearnFrom(entry, voxels))]


def codeOf(terminology):
    """What a serialized terminology entry says, without lists and names of codes; "" if it says nothing in particular.

    :param terminology: context~category~type~modifier~context~region~modifier, each code as scheme^value^meaning.
    """
    parts = [*terminology.split("~"), "", "", "", "", "", "", ""]
    kind, modifier, region, regionModifier = ("^".join(part.split("^")[:2]).strip("^") for part in
                                              (parts[2], parts[3], parts[5], parts[6]))  # fmt: skip
    if kind in _UNSPECIFIC_TYPES and not region:
        return ""
    return "~".join((kind, modifier, region, regionModifier))


def _groups(segments):
    """Dict from a key to the list of (case, segment) that belong together, in the order of first occurrence."""
    groups, namesOfCodes = {}, {}
    for _case, segment in segments:
        if code := codeOf(segment.terminology):
            namesOfCodes.setdefault(segment.name.strip().lower(), set()).add(code)
    for case, segment in segments:
        name = segment.name.strip().lower()
        codes = namesOfCodes.get(name, set())
        key = codeOf(segment.terminology) or (next(iter(codes)) if len(codes) == 1 else f"name {name}")
        groups.setdefault(key, []).append((case, segment))
    return groups


def _twiceInACase(entry):
    seen = set()
    for case, _segmentId in entry.members:
        if case in seen:
            return _("'{case}' has several segments for the structure '{name}'.").format(
                case=case.name, name=entry.name
            )
        seen.add(case)
    return None


def _oneNameManyCodes(entry, uses):
    """What is wrong with a name of several classes; ``uses``: how many classes have each name."""
    shared = sorted(name for name in entry.names if uses[name] > 1)
    return _("The name '{name}' is used with different codes.").format(name=shared[0]) if shared else None


def _volumesUsedTwice(cases):
    errors, seen = [], set()
    for case in cases:
        if case.volumeNode is None:
            continue
        if case.volumeNode in seen:
            errors.append(
                TrainingDataError(
                    _("Volume '{name}' is used by two cases.").format(name=case.volumeNode.GetName()),
                    _("Set the use of one of them to ignore."),
                )
            )
        seen.add(case.volumeNode)
    return errors


def _nothingToLearnFrom(entry, voxels):
    """The error of a class that no training case shows, or None; files that were not read are left to the engine.

    :param voxels: dict from (case, segment ID) to the number of voxels, None where that is not known.
    """
    counts = {
        use: _sum(voxels.get(member, 0) for member in entry.members if member[0].use == use)
        for use in {case.use for case, _segmentId in entry.members}
    }
    if counts.get(TRAIN, 0) != 0:
        return None
    if any(count != 0 for count in counts.values()):
        return ClassesError(
            _("The structure '{name}' occurs only in cases for validation.").format(name=entry.name),
            _("Use one of its cases for training, or leave the structure out."),
        )
    return ClassesError(
        _("'{name}' is not drawn in any case.").format(name=entry.name),
        _("Draw it on a few slices, or leave it out."),
    )


def _sum(counts):
    """Sum of counts; None as soon as one of them is not known."""
    counts = list(counts)
    return None if None in counts else sum(counts)
