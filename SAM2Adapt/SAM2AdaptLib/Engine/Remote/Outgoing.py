"""Requests on their way to another computer: their paths become files that are sent, or that are to be sent back.

What a path of a request means, ``sam2adapt.shared.requests`` says; what stands in its place, and what the engine's side
makes of it, ``sam2adapt.server.remote.session``.
"""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sam2adapt.shared import files, known_bases, model_cards, paths
from sam2adapt.shared.errors import ModelNotFoundError, UserError
from sam2adapt.shared.labels.image_names import DETACHED, stem_of, suffix_of
from sam2adapt.shared.protocol import CASES, MODELS, VOXELS
from sam2adapt.shared.requests.fields import SERVER, key_of, settings_of
from sam2adapt.shared.requests.schema import METHODS
from sam2adapt.shared.safetensors_header import MODEL_KEY, SUFFIX, read_metadata
from sam2adapt.shared.strict_json import loads

_TRAININGS = frozenset(["train", "estimate"])
_KEPT_AS_CASES = frozenset(["train", "estimate", "segmentBatch"])
MOST_OF_TRAININGS = 1 << 33  # bytes of a file that a training gives: the largest base has 0.9 GB
# A file of the others is at most so many times as large as what was sent (uncertainty has four bytes for a voxel, which
# may have one), and so many bytes: the header of an array, or the pictures of a page and what a format adds.
_TIMES, _OF_ARRAYS, _OF_FILES = 4, 1 << 12, 1 << 26
_TOKEN = re.compile(r"\{sam2adapt-[0-9a-f]{12}\}")


@dataclass(frozen=True)
class SentFile:
    """A file that a request needs there: its SHA-256, path here, store there, and size in bytes."""

    digest: str
    path: Path
    store: str
    size: int


class Outgoing:
    """The files of a request, and what its paths are called on the way.

    :ivar files: list of SentFile.
    :ivar tokens: dict from each token to the path here.
    :ivar returns: tokens of the files that come back.
    :ivar returnedFolder: token of the folder whose files come back; None if there is none.
    :ivar results: those that came, each a tuple of names.
    """

    def __init__(self, method, hashes, cancelled):
        """
        :param hashes: ``Hashes`` of the connection.
        :param cancelled: function; once it is true, ``sam2adapt.shared.errors.CancelledError`` is raised.
        """
        self.method, self.files, self.tokens = method, [], {}
        self.returns, self.returnedFolder, self.results = set(), None, set()
        self._hashes, self.isCancelled = hashes, cancelled
        self._store = CASES if method in _KEPT_AS_CASES else VOXELS

    def packed(self, params):
        """The parameters with objects in the place of paths.

        :raises UserError: a file cannot be read, or there is no such model.
        """
        packed = dict(params)
        for name, setting in settings_of(METHODS[self.method], SERVER).items():
            key = key_of(name, setting)
            if packed.get(key) is not None:
                packed[key] = self._value(setting, key, packed[key])
        return packed

    def _value(self, setting, key, value):
        if setting.kind in ("image", "image or file"):
            return (
                {**value, "array": self.file(value["array"], VOXELS)} if isinstance(value, dict) else self.source(value)
            )
        if setting.kind == "model" or key == "base":
            return self._model(value, key)
        if setting.kind == "path":
            return self.source(value) if setting.reads else self.returned(value)
        return value

    def token(self, path):
        """A new token for a path."""
        token = f"{{sam2adapt-{secrets.token_hex(6)}}}"
        self.tokens[token] = os.fspath(path)
        return token

    def returned(self, path):
        """The object for a file that is to be sent back.

        :raises OutputError: it could not be written.
        """
        files.check_output(Path(path))
        return {"returned": Path(path).name, "token": self.returnedToken(path)}

    def returnedToken(self, path):
        """A new token for a file that is to be sent back."""
        token = self.token(path)
        self.returns.add(token)
        return token

    def keptWith(self, model):
        """The objects for what a model's training has kept here, so that a model that continues it does not forget."""
        card = _cardOf(modelFile(model))
        digest = str(card.get("digest")) if card else ""
        kept = {kind: pathOf(digest) for kind, pathOf in files.KEPT_WITH_MODELS.items()}
        return [
            self.file(path, CASES) | {"kept": kind, "digest": digest} for kind, path in kept.items() if path.is_file()
        ]

    def mostBytes(self, token):
        """The most bytes that a file can have which comes back for a token."""
        if self.method in _TRAININGS:
            return MOST_OF_TRAININGS
        sent = sum(file.size for file in self.files)
        return _TIMES * sent + (_OF_ARRAYS if self.tokens[token].endswith(".npy") else _OF_FILES)

    def source(self, path):
        """The object for a file or folder that is read; a header is sent with the files of its voxels."""
        if paths.is_dir(path):
            return self.folder(path, filesIn(path))
        if others := voxelFiles(path):
            folder = self.folder(Path(path).parent, [path, *others])
            return {**folder, "within": Path(path).name, "token": self.token(path)}
        return self.file(path, self._store)

    def file(self, path, store):
        """The object for a file that is read."""
        return {"file": self._sent(path, store), "store": store, "name": Path(path).name, "token": self.token(path)}

    def folder(self, path, files, store=None):
        """The object for a folder.

        :param files: the paths of those of its files that are needed.
        """
        store = store or self._store
        inside = [{"path": Path(file).relative_to(path).parts, "file": self._sent(file, store)} for file in files]
        return {"folder": inside, "store": store, "name": Path(path).name or "root", "token": self.token(path)}

    def _sent(self, path, store):
        digest, size = self._hashes.of(path, self.isCancelled)
        self.files.append(SentFile(digest, Path(path), store, size))
        return digest

    def _model(self, name, key):
        """The object for a model or weights of this computer; a name that the engine knows by itself stays."""
        if key in ("base", "source") or (key == "name" and name in known_bases.NAMES):
            return self.file(name, MODELS) if os.path.isabs(name) else name
        return self.file(modelFile(name), MODELS)


class Hashes:
    """SHA-256 and size of files, computed again only when a file has changed."""

    def __init__(self):
        self._known = {}

    def of(self, path, cancelled=None):
        """(SHA-256, bytes) of a file.

        :raises InputFileError: it cannot be read.
        """
        state = paths.check_file(path)
        key = (os.fspath(path), state.st_mtime_ns, state.st_size)
        if key not in self._known:
            self._known[key] = files.hash_file(Path(path), cancelled)
        return self._known[key], state.st_size


def revealed(value, tokens):
    """A message with this computer's paths in the place of tokens.

    :param tokens: dict from token to path.
    """
    if isinstance(value, dict):
        return {key: revealed(item, tokens) for key, item in value.items()}
    if isinstance(value, list):
        return [revealed(item, tokens) for item in value]
    if isinstance(value, str) and "{sam2adapt-" in value:
        return _TOKEN.sub(lambda found: tokens.get(found[0], found[0]), value)
    return value


def voxelFiles(file):
    """The files beside a header that hold its voxels, or may: those of its name; [] for any other file."""
    if suffix_of(file) not in DETACHED:
        return []
    beside, start = paths.listing(Path(file).parent), f"{stem_of(file)}."
    return [path for path in beside if path.name.startswith(start) and path != Path(file) and paths.is_file(path)]


def filesIn(folder):
    """All files of a folder with its subfolders, without hidden ones.

    :raises InputFileError: it cannot be read.
    """
    found = []
    for root, folders, names in paths.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [root / name for name in names if not name.startswith(".")]
    return found


def modelFile(name):
    """The file of a model of this computer.

    :param name: NAME, NAME@VERSION, or the path of a file.
    :raises ModelNotFoundError: no model of this computer has this name.
    :raises InputFileError: there is no such file.
    """
    text = os.fspath(name)
    for folder, _ in model_cards.model_folders():
        for path in sorted(paths.listing(folder)):
            if path.suffix == SUFFIX and (card := cardOf(path)) and model_cards.is_called(text, *card):
                return path
    if os.path.isabs(text):
        paths.check_file(text)
        return Path(text)
    raise ModelNotFoundError(f"No model '{text}' is known on this computer.", "Choose one of the list.")


def cardOf(path):
    """(name, version) of a model file; None for any other."""
    card = _cardOf(path)
    return (str(card["name"]), str(card["version"])) if card and {"name", "version"} <= card.keys() else None


def _cardOf(path):
    try:
        card = loads(read_metadata(path)[MODEL_KEY])
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    return card if isinstance(card, dict) else None
