"""The part of a module's logic about model files and what computes; the engine reads and changes them."""

import os

from SAM2AdaptLib.Models import Catalog


class ModelsLogic:
    """Comes before ``ScriptedLoadableModuleLogic`` in the bases of a module's logic, which has ``modelEngine``.

    Methods with callbacks return the request at once; all others wait for the engine. What goes wrong is an
    ``EngineError``, raised or given to ``onError``.
    """

    def models(self) -> list[Catalog.Model]:
        """The models on this computer, read without the engine."""
        return Catalog.modelList()

    def devices(self) -> list[dict]:
        """What can compute; the first is what ``auto`` takes, and why."""
        return self._ask("devices")

    def modelDetails(self, name) -> dict:
        """All that a model's file says: its ``card``, and the same as ``text``."""
        return self._ask("modelDetails", name=str(name))

    def removeModel(self, name) -> None:
        """Delete one of the user's models."""
        self._ask("removeModel", name=name)

    def addModel(self, path, onResult=None, onError=None):
        """Check a model file and copy it to the user's models, where Auto-segment shows it.

        :return: with callbacks the request, else the engine's row of the model.
        """
        return self._askOrSend("addModel", {"path": os.path.abspath(path)}, onResult, onError)

    def exportModel(self, name, path, onResult=None, onError=None):
        """Copy a model to a file.

        :return: with callbacks the request.
        """
        return self._askOrSend("exportModel", {"name": name, "path": os.path.abspath(path)}, onResult, onError)

    def downloadBase(self, base, onResult=None, onError=None, onProgress=None):
        """Download the weights of a base network; returns the request."""
        callbacks = {"onResult": onResult, "onError": onError, "onProgress": onProgress}
        return self.modelEngine.request("downloadBase", {"base": base}, **callbacks)

    def _askOrSend(self, method, params, onResult, onError):
        if onResult is None and onError is None:
            return self._ask(method, **params)
        return self.modelEngine.request(method, params, onResult=onResult, onError=onError)

    def _ask(self, method, **params):
        return self.modelEngine.request(method, params).wait().result
