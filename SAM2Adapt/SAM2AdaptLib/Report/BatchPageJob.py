"""Makes a page of a batch: a table of volumes, and a gallery to look through the results."""

import os

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Job import DONE, Job, stopped


def start(engine, folder, path, showNames=False, **callbacks):
    """Start making the page; returns at once.

    :param folder: results of the batch.
    :param path: ``.html``; only this user can read it.
    :param showNames: whether names of files stand on it, which can be those of patients.
    :param callbacks: those of ``Job``; onProgress gets "fraction" and "text".
    """
    return BatchPageJob(engine, os.path.abspath(folder), os.path.abspath(path), showNames, **callbacks)


class BatchPageJob(Job):
    """A page on its way; made by ``start``.

    :ivar path: the page.
    """

    def __init__(self, engine, folder, path, showNames, **callbacks):
        super().__init__(**callbacks)
        self.path = path
        self._ask(engine, "reportBatch", {"folder": folder, "output": path, "showNames": showNames})

    def _cancelledError(self):
        return stopped(_("The page was cancelled."), _("Nothing was written."))

    def _onResult(self, result):
        self._end(DONE)

    def _onEngineProgress(self, progress):
        text = _("Drawing study {number} of {count}").format(
            number=min(progress["done"] + 1, progress["total"]), count=progress["total"]
        )
        self._report({"fraction": progress["fraction"], "text": text})
