"""Messages of the engine server: reading and checking what comes, writing what goes.

Error codes: 1 for what a user can mend, -32000 for a defect of ours (``data``: ``kind``, ``traceback``), JSON-RPC's own
for other messages. The data of code 1: ``kind``, a class of ``errors.py`` or ``EngineMissing``; ``remedy``; where the
error has them, ``setting``, the parameters to change or methods to call, and ``value``, what to give to the first.
"""

import functools
import json
import math
import sys
import traceback
from collections.abc import Container
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import numpy as np

from ..shared import strict_json
from ..shared.errors import DeviceError, UserError
from ..shared.protocol import (
    CANCEL,
    CONTROL,
    DEFECT,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    SHUTDOWN,
    USER_ERROR,
)
from ..shared.requests.fields import camel_case
from ..shared.requests.schema import schema

Id = int | str


class ProtocolError(Exception):
    """A message that is not understood; its text is a sentence for the developer of a client."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class Message:
    """A request or notification as it came; nothing is known to be right before ``check``.

    :ivar id: None also where it is missing or cannot be one.
    """

    def __init__(self, line: bytes):
        self._line, self._problem, content = line, "", None
        try:
            content = strict_json.loads(line)
        except ValueError as error:
            self._problem = str(error)
        self._content = content
        fields = content if isinstance(content, dict) else {}
        given = fields.get("id")
        self.id = given if isinstance(given, Id) and not isinstance(given, bool) else None
        self.method, self.params = fields.get("method"), fields.get("params", {})

    def check(self, methods: Container[str]) -> None:
        """Make sure that the message is one of the protocol.

        :param methods: those that work; ``cancel``, ``control`` and ``shutdown`` are known in any case.
        :raises ProtocolError: it is not.
        """
        if self._problem:
            raise ProtocolError(PARSE_ERROR, f"A message is not JSON: {self._problem}.")
        if not isinstance(self._content, dict) or self._content.get("jsonrpc") != "2.0":
            raise ProtocolError(INVALID_REQUEST, 'A message is one object a line with "jsonrpc": "2.0".')
        if not isinstance(self.method, str):
            raise ProtocolError(INVALID_REQUEST, "'method' of a message is the name of a method.")
        at_once = self.method in (CANCEL, CONTROL, SHUTDOWN)
        if not at_once and self.method not in methods:
            raise ProtocolError(METHOD_NOT_FOUND, f"There is no method '{self.method}'.")
        if self.id is None and ("id" in self._content or not at_once):
            raise ProtocolError(INVALID_REQUEST, f"'{self.method}' needs an id, a text or a whole number.")
        if problem := _problem_of(self.method, self.params):
            raise ProtocolError(INVALID_PARAMS, problem)


def encode(message: dict[str, Any]) -> bytes:
    """A message as one line; NaN and infinity become null, NumPy's numbers plain ones, paths text."""
    # ASCII only: a path with bytes that are no UTF-8 passes as well.
    return json.dumps(_plain({"jsonrpc": "2.0", **message}), allow_nan=False).encode() + b"\n"


def error_of(error: Exception) -> dict[str, Any]:
    """What an answer says of an exception; to be called where it was caught."""
    trace = "".join(traceback.format_exception(error))
    if _ran_out_of_memory(error):
        error = DeviceError(
            "Memory ran out.", "Close other programs, or make the job smaller: a region, a smaller batch, the CPU."
        )
    elif isinstance(error, RuntimeError) and str(error).startswith("CUDA error"):
        error = DeviceError(
            f"The GPU failed ({str(error).splitlines()[0]}).",
            "Update the GPU's driver, or compute on the CPU.",
            setting="device",
            value="cpu",
        )
    if isinstance(error, UserError):
        data: dict[str, Any] = {"kind": type(error).__name__, "remedy": error.remedy}
        if error.setting:
            data["setting"] = [camel_case(name) for name in error.setting]
        if error.value is not None:
            data["value"] = error.value
        return {"code": USER_ERROR, "message": error.message, "data": data}
    if isinstance(error, ImportError):
        data = {"kind": "EngineMissing", "remedy": "Install the engine again.", "traceback": trace}
        return {"code": USER_ERROR, "message": f"A library of the engine cannot be loaded: {error}.", "data": data}
    name = type(error).__name__
    return {"code": DEFECT, "message": str(error) or name, "data": {"kind": name, "traceback": trace}}


def loaded_device_module() -> ModuleType | None:
    """``machine.device``, or None if no request has needed torch so far; importing it here would load torch."""
    return sys.modules.get("sam2adapt.machine.device")


def _ran_out_of_memory(error: Exception) -> bool:
    device = loaded_device_module()
    return isinstance(error, MemoryError) or (device is not None and device.is_out_of_memory(error))


@functools.cache
def _validator(method: str) -> jsonschema.protocols.Validator:
    # Numbers and choices outside their limits are errors of the user: the request says so, as at the command line.
    limits = method in (CANCEL, CONTROL, SHUTDOWN)
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{method}", "$defs": schema(limits)["$defs"]})


def _problem_of(method: str, params: Any) -> str:
    """Say in a sentence which parameter of a method is wrong; empty for none."""
    error = jsonschema.exceptions.best_match(_validator(method).iter_errors(params))
    if error is None:
        return ""
    field = error.json_path.removeprefix("$").removeprefix(".")
    return f"{f'Parameter {field!r}' if field else 'The parameters'} of '{method}': {error.message[:200]}."


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
