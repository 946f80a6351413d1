"""Where a file goes that an engine on another computer sends: only where a request of this computer wants it.

What the engine there says is not trusted: it may be broken, or not be what the user believes.
"""

import os
import re
from pathlib import Path

from sam2adapt.shared import files
from sam2adapt.shared.errors import RemoteError
from sam2adapt.shared.labels.image_names import OUTPUT_SUFFIXES
from sam2adapt.shared.safety.private import private_folder

from SAM2AdaptLib.Engine.Remote.Outgoing import MOST_OF_TRAININGS

_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_REMEDY = "Update both sides, and try again."
_OPENED = ("output", "masks", "preview", "bundle")  # fields of answers and notifications that Slicer opens
_WAYS_OUT = re.compile(r"[\x00/\\:]" if os.name == "nt" else r"[\x00/\\]")


def placeOf(facts, requests):
    """The path for a file that arrives, and the most bytes that it may have.

    :param facts: what the engine says of it: "token", for a folder of results also "path" (names, one in the other);
        or "kept" and "digest".
    :param requests: the ``Outgoing.Outgoing`` of those that have no answer yet.
    :raises RemoteError: nobody wants it.
    """
    if "kept" in facts:
        return _placeOfKept(facts, requests)
    token, inside = facts.get("token"), facts.get("path")
    for outgoing in requests:
        if inside is None and isinstance(token, str) and token in outgoing.returns:
            return Path(outgoing.tokens[token]), outgoing.mostBytes(token)
        if inside is not None and isinstance(token, str) and token == outgoing.returnedFolder:
            return _placeInside(outgoing, inside), outgoing.mostBytes(token)
    raise _unwanted()


def checkAnswer(answer, known):
    """Refuse an answer or notification that makes no sense, or names a file that Slicer would open.

    :param answer: dict with this computer's paths in the place of tokens.
    :param known: those paths.
    :raises RemoteError: in this case.
    """
    if "error" in answer:
        if not isinstance(answer["error"], dict) or not isinstance(answer["error"].get("message"), str):
            raise RemoteError("The engine there sent an error that cannot be understood.", _REMEDY)
        return
    if not {"result", "params"} & set(answer):
        raise RemoteError("The engine there gave an answer without a result.", _REMEDY)
    facts = answer.get("result", answer.get("params"))
    named, inside, sources = [], [], []
    if isinstance(facts, list):  # the files of a series
        sources = [item for item in facts if isinstance(item, str)]
    elif isinstance(facts, dict):
        named = [facts[key] for key in _OPENED if facts.get(key) is not None]
        rows = facts.get("studies") if isinstance(facts.get("studies"), list) else ()
        inside = [row["output"] for row in rows if row.get("output")]
        sources = [row["input"] for row in rows]
    if not (
        all(path in known for path in named)
        and all(isinstance(path, str) and all(map(_isName, path.split("/"))) for path in inside)
        and (not sources or _areSent(sources, known))
    ):
        raise RemoteError("The engine there names a file that was not asked for.", _REMEDY)


def _areSent(sources, known):
    """Whether all paths are ones that were sent, or in folders that were."""
    known = set(map(Path, known))
    return all(known & {path, *path.parents} for path in map(Path, map(os.path.normpath, sources)))


def _placeOfKept(facts, requests):
    """The path for what a training keeps for those that continue its model."""
    digest = str(facts.get("digest"))
    isTrained = any(outgoing.method == "train" for outgoing in requests)
    if not isTrained or facts["kept"] not in files.KEPT_WITH_MODELS or not _DIGEST.fullmatch(digest):
        raise _unwanted()
    path = files.KEPT_WITH_MODELS[facts["kept"]](digest)
    private_folder(path.parent)
    return path, MOST_OF_TRAININGS


def _placeInside(outgoing, inside):
    """The path of a result in a folder that holds results, and perhaps other files of the user."""
    if not isinstance(inside, list) or not inside or not all(map(_isName, inside)):
        raise _unwanted()
    if not inside[-1].endswith(OUTPUT_SUFFIXES):
        raise _unwanted()
    outgoing.results.add(tuple(inside))
    if len(outgoing.results) > len(outgoing.files):  # each study has a file at least, and one result
        raise _unwanted()
    place = Path(outgoing.tokens[outgoing.returnedFolder], *inside)
    files.make_folder(place.parent)
    return place


def _isName(text):
    return isinstance(text, str) and text != "" and not text.startswith(".") and not _WAYS_OUT.search(text)


def _unwanted():
    return RemoteError("The engine there sent a file that nobody wanted.", _REMEDY)
