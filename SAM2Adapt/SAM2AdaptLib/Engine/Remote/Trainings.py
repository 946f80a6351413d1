"""Trainings on another computer: how a run folder here is known there, so that it can go on."""

import json
import secrets
from pathlib import Path

from sam2adapt.shared import paths
from sam2adapt.shared.errors import RemoteError, UserError
from sam2adapt.shared.files import write_json
from sam2adapt.shared.safety.private import private_folder

#: Option of a training: hours for which it may go on without this computer.
HOURS = "goOnHours"
_NOTE = "elsewhere.json"
_HELD = ("images", "labels")


def note(runFolder):
    """What a run's engine folder says of a training on another computer: "place" and "run"; None if there is none.

    :param runFolder: folder of the run, or of the model file.
    """
    try:
        return json.loads(paths.read_text(Path(runFolder) / "model.run" / _NOTE))
    except (UserError, ValueError):
        return None


class RemoteTraining:
    """The fields that go with the request of a training.

    :ivar run: its id there.
    :ivar resumes: whether it was begun before.
    """

    def __init__(self, outgoing, params, place):
        """
        :param outgoing: ``Outgoing.Outgoing`` of the request.
        :param params: of ``train``, with paths of this computer.
        :param place: where the engine is, as the user chose it.
        :raises RemoteError: the training was begun somewhere else.
        """
        self._outgoing, self._place = outgoing, place
        self._params = {key: value for key, value in params.items() if key != HOURS}
        self._hours = params.get(HOURS)
        self._engineFolder = Path(params["output"]).with_suffix(".run")
        self.resumes = bool(params.get("resume"))
        self.run = secrets.token_hex(8)
        if self.resumes:
            known = self._known()
            self.run = known["run"]

    def _known(self):
        known = note(self._engineFolder.parent)
        if known is None:
            raise RemoteError("This training was begun on this computer.", "Choose “This computer” to resume it.",
                              setting="engine_on")  # fmt: skip
        if known["place"] != self._place:
            raise RemoteError(
                f"This training was begun on '{known['place']}', not on '{self._place}'.",
                f"Choose '{known['place']}' to resume it.",
                setting="engine_on",
            )
        return known

    def message(self):
        """The fields "params" and "remote" of the message."""
        log = self._outgoing.returnedToken(private_folder(self._engineFolder) / "log.csv")
        about = {"run": self.run, "hours": self._hours, "resumes": self.resumes, "log": log}
        params = self._params
        if params.get("init"):
            about["kept"] = self._outgoing.keptWith(params["init"])
        held = {name: params[name] for name in _HELD if params.get(name)} if self.resumes else {}
        packed = self._outgoing.packed({key: value for key, value in params.items() if key not in held})
        packed |= {name: {"held": Path(path).name, "token": self._outgoing.token(path)} for name, path in held.items()}
        return {"params": packed, "remote": about}

    def begins(self):
        """Note where it is, before it is sent: from now on it can be resumed."""
        write_json(self._engineFolder / _NOTE, {"place": self._place, "run": self.run})

    def ended(self):
        """Its model is here: nothing is left to go on with."""
        (self._engineFolder / _NOTE).unlink(missing_ok=True)
