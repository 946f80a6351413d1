"""Where the files of a connection lie, and how a client's names for them become paths and back.

A request from another computer names no path of this one. In the place of a path it has an object:

- ``{"file": SHA-256, "store", "name", "token"}``: a file that was sent;
- ``{"folder": [{"path": ["a", "b.nii.gz"], "file": SHA-256}, …], "store", "name", "token"}``: a folder of such files;
- the same with ``"within": "a.mhd"``: that file of the folder;
- ``{"inside": ["a", "b.nii.gz"], "name", "token"}``: a path in the folder that the message's ``tree`` describes;
- ``{"held": "images", "token"}``: that folder of the training that is resumed;
- ``{"returned": "labels.npy", "token"}``: a file that the request writes, which is sent back.
- ``{"returnedFolder": "out", "token"}``: a folder, of which the files that the request writes are sent back.

The session puts links to the files into folders of the request. In all that goes back to the client, paths are replaced
by the tokens, which the client replaces by its own paths.
"""

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ...shared import paths
from ...shared.errors import InputFileError, SettingsError, UserError
from ...shared.files import KEPT_WITH_MODELS, link
from ...shared.protocol import CASES, MODELS, VOXELS
from ...shared.safety.private import FOLDER_MODE, Claim, private_folder
from ...shared.study_lists import results_in
from ..held.runs import HeldRun
from ..held.stores import DIGEST, Store, kept_store, remote_folder

_VOXELS_KEPT = 6  # files: a volume is filled or segmented again and again
_KINDS = ("file", "folder", "inside", "held", "returned", "returnedFolder")
_WAYS_OUT = re.compile(r"[\x00/\\]")


class Places:
    """The paths of a request.

    :ivar run: of a training that outlives the connection's files, else None.
    :ivar hours: the time limit of a training that goes on without the connection, else None.
    :ivar resumes: whether the training was begun before.
    """

    def __init__(self, folder: Path):
        self.folder, self.run, self.hours, self.resumes = folder, None, None, False
        self.keeps = False  # the folder after the request
        self.log: tuple[Path, str] | None = None  # of a training, sent back whenever it changes
        self._tokens: dict[str, str] = {}
        self._returned: dict[Path, str] = {}
        self._sent: dict[Path, tuple[int, int]] = {}  # time of change and size
        self._output: tuple[Path, str] | None = None  # folder of a batch

    def know(self, path: Path, token: str, returned: bool = False) -> None:
        """Remember what the client calls a path."""
        self._tokens[os.fspath(path)] = token
        if returned:
            self._returned[path] = token

    def know_output(self, folder: Path, token: str, present: list[str]) -> None:
        """Remember a folder of results. What the client has is not sent again; what it lacks is made again."""
        self._tokens[os.fspath(folder)], self._output = token, (folder, token)
        for path in results_in(folder):
            if path.relative_to(folder).as_posix() in present:
                self._has_changed(path)
            else:
                path.unlink()

    def hidden(self, value: Any) -> Any:
        """A message with tokens in the place of paths."""
        longest_first = sorted(self._tokens.items(), key=lambda item: len(item[0]), reverse=True)

        def replaced(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: replaced(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [replaced(item) for item in value]
            if not isinstance(value, str | Path):
                return value
            text = os.fspath(value)
            for path, token in longest_first if os.sep in text else ():  # a batch has many paths, and more other texts
                text = text.replace(path, token)
            return text

        return replaced(value)

    def to_return(self, message: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
        """The files to send before a message, each with its facts: those that a notification names, or all."""
        if "result" in message:
            wanted = dict(self._returned)
        else:
            texts = [value for value in message.get("params", {}).values() if isinstance(value, str | Path)]
            named = {os.fspath(text) for text in texts}
            wanted = {path: token for path, token in self._returned.items() if os.fspath(path) in named}
        if self.log:
            wanted[self.log[0]] = self.log[1]
        found = [(path, {"token": token}) for path, token in wanted.items() if self._has_changed(path)]
        return found + self._of_batch(message)

    def _of_batch(self, message: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
        if not self._output or not ("result" in message or message.get("params", {}).get("studies")):
            return []
        folder, token = self._output
        return [
            (path, {"token": token, "path": path.relative_to(folder).parts})
            for path in results_in(folder)
            if self._has_changed(path)
        ]

    def _has_changed(self, path: Path) -> bool:
        state = paths.status(path)
        if state is None:
            return False
        stamp = (state.st_mtime_ns, state.st_size)
        if self._sent.get(path) == stamp:
            return False
        self._sent[path] = stamp
        return True


class Session:
    """The files of one connection; ``close`` removes them, or, after a crash, the next engine that starts."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sam2adapt-"))  # mode 0700; ``private.sweep`` knows the name
        self._claim = Claim(self.folder)
        self._stores = {VOXELS: Store(self.folder / VOXELS)}
        self._count = 0

    def close(self) -> None:
        """Remove the files of the connection."""
        self._claim.close()

    def store(self, kind: str) -> Store:
        """The store of a kind.

        :raises SettingsError: there is none.
        """
        if kind not in (VOXELS, MODELS, CASES):
            raise SettingsError(f"There is no store '{kind}'.", "Update both sides.")
        if kind not in self._stores:
            self._stores[kind] = kept_store(kind)
        return self._stores[kind]

    def missing(self, files: list[dict[str, Any]]) -> list[str]:
        """The hashes of the files that were not sent yet."""
        return [file["file"] for file in files if not self.store(file["store"]).has(file["file"])]

    def resolve(self, message: dict[str, Any]) -> Places:
        """Put paths of this computer into a request.

        :raises UserError: it names what was not sent.
        """
        self._count += 1
        places = Places(self.folder / f"request-{self._count}")
        places.folder.mkdir(FOLDER_MODE)
        self._find_run(message, places)
        if tree := message.pop("tree", None):
            self._placed(tree, places)
        params = message.get("params")
        if isinstance(params, dict):
            message["params"] = self._resolved(params, places)
            if places.run and places.resumes:
                message["params"]["resume"] = paths.exists(places.run.engine_folder / "checkpoint.pt")
        return places

    def release(self, places: Places) -> None:
        """Remove what a request needed; the last volumes stay, because they may be used again."""
        if not places.keeps:
            shutil.rmtree(places.folder, ignore_errors=True)
        with contextlib.suppress(UserError, OSError):
            stored = paths.listing(self._stores[VOXELS].folder)
            for path in sorted(stored, key=_last_read, reverse=True)[_VOXELS_KEPT:]:
                if path.suffix != ".part":
                    path.unlink()

    def _find_run(self, message: dict[str, Any], places: Places) -> None:
        about = message.pop("remote", None)
        if not isinstance(about, dict):
            return
        if about.get("batch"):
            # The same folders whenever a batch goes on, because a study is known by its path.
            places.folder, places.keeps = remote_folder() / "batches" / HeldRun(str(about["batch"])).id, True
            for folder in (remote_folder(), places.folder.parent, places.folder):
                private_folder(folder)
            return
        places.run, places.hours = HeldRun(str(about.get("run"))), about.get("hours")
        places.resumes = bool(about.get("resumes"))
        if places.resumes and not places.run.is_present():
            raise InputFileError(
                "What this training had reached on the other computer was deleted.", "Start a new training."
            )
        if not places.resumes:
            places.run.begin(str(message.get("params", {}).get("name") or ""), places.hours)
        for kept in about.get("kept", ()):
            self._place_kept(kept)
        places.log = (places.run.engine_folder / "log.csv", str(about.get("log")))

    def _place_kept(self, about: dict[str, Any]) -> None:
        """Put slices or names that the client has kept of a model where a training looks, unless they are there.

        It is a link to the file among the cases, so that it ends with it.
        """
        digest = str(about["digest"]).removeprefix("sha256:")
        if about["kept"] not in KEPT_WITH_MODELS or not DIGEST.fullmatch(digest):
            raise SettingsError(f"There is nothing '{about['kept']}' of a model.", "Update both sides.")
        place, stored = KEPT_WITH_MODELS[about["kept"]](digest), self._stored(about)
        if paths.exists(place):
            return
        private_folder(place.parent)
        place.unlink(missing_ok=True)  # a link to what was deleted
        try:
            place.symlink_to(stored)
        except OSError:  # on Windows most users may not
            link(stored, place)

    def _resolved(self, value: Any, places: Places) -> Any:
        if isinstance(value, dict):
            if any(kind in value and "token" in value for kind in _KINDS):
                return os.fspath(self._placed(value, places))
            return {key: self._resolved(item, places) for key, item in value.items()}
        return [self._resolved(item, places) for item in value] if isinstance(value, list) else value

    def _placed(self, about: dict[str, Any], places: Places) -> Path:
        """The path for an object that stands for one."""
        token = str(about["token"])
        inside = places.run.folder if places.run else places.folder
        if "held" in about:
            path = inside / _name(about["held"])
        elif "inside" in about:
            path = inside.joinpath(_name(about["name"]), *map(_name, about["inside"]))
        elif "returnedFolder" in about:
            path = private_folder(inside / _name(about["returnedFolder"]))
            places.know_output(path, token, list(about.get("present", ())))
            return path
        elif "returned" in about:
            path = (inside if places.run else _own(places)) / _name(about["returned"])
        elif "file" in about and about.get("store") == MODELS:
            path = self._stored(about)  # as it lies there, so that the model stays warm
        elif "file" in about:
            path = _own(places) / _name(about["name"])
            link(self._stored(about), path)
        else:
            path = (inside if places.run or places.keeps else _own(places)) / _name(about["name"])
            self._place_folder(about, path)
            path = path / _name(about["within"]) if "within" in about else path
        places.know(path, token, returned="returned" in about)
        return path

    def _place_folder(self, about: dict[str, Any], folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(FOLDER_MODE)
        for file in about["folder"]:
            target = folder.joinpath(*map(_name, file["path"]))
            target.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            link(self._stored({**file, "store": about.get("store")}), target)

    def _stored(self, about: dict[str, Any]) -> Path:
        store = self.store(about.get("store"))
        if not store.has(about["file"]):
            raise InputFileError("A file that the request needs was not sent, or was deleted.", "Try again.")
        return store.path(about["file"])


def _last_read(path: Path) -> float:
    state = paths.status(path)
    return 0.0 if state is None else state.st_atime


def _own(places: Places) -> Path:
    """A folder for one file, since several may have the same name."""
    return Path(tempfile.mkdtemp(dir=places.folder))


def _name(text: Any) -> str:
    """A name inside a folder, never a way out of it.

    :raises SettingsError: it is none.
    """
    if not isinstance(text, str) or text in ("", ".", "..") or _WAYS_OUT.search(text):
        raise SettingsError(f"'{text}' is not the name of a file.", "Rename it.")
    return text
