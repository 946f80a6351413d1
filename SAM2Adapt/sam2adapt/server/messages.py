"""Messages of the engine server: read and check those that arrive, write those that leave.

Error codes: 1 for an error that the user can fix, -32000 for a bug of ours (``data``: ``kind``, ``traceback``), those
of JSON-RPC for invalid messages. The data of code 1: ``kind``, a class of ``errors.py`` or ``EngineMissing``;
``remedy``; perhaps ``setting``, parameters to change or methods to call, and ``value``, the value for the first of
them.
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
    """An invalid message; the text is a sentence for the developer of a client."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class Answered(Exception):
    """An error of another process of the engine, which has described it already.

    :ivar error: as ``error_of`` gives it.
    """

    def __init__(self, error: dict[str, Any]):
        super().__init__(error["message"])
        self.error = error


class Message:
    """A request or notification as it arrived; only ``check`` makes sure that it is valid.

    :ivar id: None if it is missing or invalid.
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
        """Make sure that the message is valid.

        :param methods: names of the methods, apart from ``cancel``, ``control`` and ``shutdown``.
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
            raise ProtocolError(INVALID_REQUEST, f"'{self.method}' needs an id: a text or a whole number.")
        if problem := _problem_of(self.method, self.params):
            raise ProtocolError(INVALID_PARAMS, problem)


def encode(message: dict[str, Any]) -> bytes:
    """A message as one line; NaN and infinity become null, NumPy numbers plain numbers, paths text."""
    # ASCII only, so that even a path that is not UTF-8 passes.
    return json.dumps(_plain({"jsonrpc": "2.0", **message}), allow_nan=False).encode() + b"\n"


def error_of(error: Exception) -> dict[str, Any]:
    """The error of an answer for an exception; call it where the exception was caught."""
    if isinstance(error, Answered):
        return error.error
    trace = "".join(traceback.format_exception(error))
    if _ran_out_of_memory(error):
        error = DeviceError(
            "Memory ran out.", "Close other programs, or reduce the work: a region, a smaller batch, the CPU."
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
    # Numbers and choices outside their limits are errors of the user, which the request reports as on the command line.
    limits = method in (CANCEL, CONTROL, SHUTDOWN)
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{method}", "$defs": schema(limits)["$defs"]})


def _problem_of(method: str, params: Any) -> str:
    """A sentence about the parameter of a method that is wrong; "" if none is."""
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
