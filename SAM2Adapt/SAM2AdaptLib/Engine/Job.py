"""Work that goes on beside Slicer: what all jobs share, from their states and callbacks to waiting for them.

A job is a chain of callbacks, of the engine or of the event loop; nothing in it waits, so Slicer stays alive.
"""

from SAM2AdaptLib.Engine.Error import EngineError

RUNNING, DONE, CANCELLED, FAILED = "running", "done", "cancelled", "failed"


class Waitable:
    """Something that ends once. Subclasses have ``isOver``, ``cancel()``, and call ``_wake()`` when they end.

    :ivar error: EngineError of what failed or was cancelled, else None.
    """

    def __init__(self):
        self.error = None
        self._loops = []

    def wait(self):
        """Wait for the end in a nested event loop, for scripts and the Python console; Slicer stays alive.

        It needs Qt, but neither a main window nor an event loop that runs already.

        :return: this object.
        :raises EngineError: it failed or was cancelled.
        """
        if not self.isOver:
            import qt

            loop = qt.QEventLoop()
            self._loops.append(loop)
            loop.exec_()
            self._loops.remove(loop)
        if not self.isOver:
            self.cancel()  # the application quits
        if self.error:
            raise self.error
        return self

    def _wake(self):
        for loop in self._loops:
            loop.quit()


class Job(Waitable):
    """Base of the jobs. A subclass asks the engine with ``_ask``, reports with ``_report`` and calls ``_end`` once.

    Once a job is over, nothing changes it any more: what the engine still says is ignored.

    :ivar state: "running", "done", "cancelled" or "failed"; some jobs have further states before the last three.
    :ivar error: EngineError of a job that failed or was cancelled.
    :ivar log: what the engine said on the way that the user should know, as sentences.
    """

    def __init__(self, onProgress=None, onFinished=None, onError=None, onLog=None, later=None):
        """
        :param onProgress: called with dicts; "fraction" (0 to 1) and "text" are in each.
        :param onFinished: called with the job.
        :param onError: called with the job and an EngineError, which is of kind "CancelledError" after ``cancel``.
        :param onLog: called with each sentence of ``log``.
        :param later: function that calls a function from the event loop soon; without it Qt's timer.
        """
        super().__init__()
        self.state = RUNNING
        self.log = []
        self._onProgress, self._onFinished, self._onError, self._onLog = onProgress, onFinished, onError, onLog
        self._later = later or _fromEventLoop
        self._pending = None  # what to cancel with the job: a request of the engine, or another job

    @property
    def isOver(self):
        """Whether nothing more will happen."""
        return self.state in (DONE, CANCELLED, FAILED)

    def cancel(self):
        """End at once; ``onError`` is called before this returns. Does nothing once the job is over."""
        self._stop(self._cancelledError())

    def _cancelledError(self):
        """The EngineError of ``cancel``: a sentence that says what was cancelled, and what is left of it."""
        raise NotImplementedError

    def _stop(self, error):
        """End at once with an error, and cancel what the job waits for."""
        if self.isOver:
            return
        self.state = CANCELLED  # first, so that what the engine says about it is ignored
        if self._pending:
            self._cancelPending()
        self._end(CANCELLED, error)

    def _cancelPending(self):
        """Cancel what the job waits for."""
        self._pending.cancel()

    def _ask(self, engine, method, params, **callbacks):
        """Send a request; ``_onResult``, ``_onEngineError`` and ``_onEngineProgress`` get the answers.

        :param callbacks: further ones of the request.
        """
        self._pending = engine.request(
            method,
            params,
            self._unlessOver(self._onResult),
            self._unlessOver(self._onEngineError),
            self._unlessOver(self._onEngineProgress),
            lambda entry: self._say(entry["message"]),
            **callbacks,
        )

    def _unlessOver(self, function):
        """The function, which does nothing once the job is over."""
        return lambda *arguments: None if self.isOver else function(*arguments)

    def _onResult(self, result):
        raise NotImplementedError

    def _onEngineError(self, error):
        self._end(CANCELLED if error.kind == "CancelledError" else FAILED, error)

    def _onEngineProgress(self, progress):
        self._report(progress)

    def _report(self, progress):
        if self._onProgress:
            self._onProgress(progress)

    def _say(self, text):
        self.log.append(text)
        if self._onLog:
            self._onLog(text)

    def _end(self, state, error=None):
        """End the job: first let go of what it holds, then tell.

        :param state: DONE, CANCELLED or FAILED.
        :param error: EngineError, unless it is done.
        """
        self.state, self.error = state, error
        self._release()
        self._pending = None
        self._wake()
        if error is None and self._onFinished:
            self._onFinished(self)
        elif error is not None and self._onError:
            self._onError(self, error)

    def _release(self):
        """Let go of files, nodes and observers, so that a job that is over may be kept for as long as one likes."""


def takeCallbacks(options):
    """Take the callbacks of ``Job`` out of a dict of options and give them as a dict."""
    names = ("onProgress", "onFinished", "onError", "onLog", "later")
    return {name: options.pop(name) for name in names if name in options}


def stopped(message, remedy=""):
    """The EngineError of a job that was cancelled."""
    return EngineError("CancelledError", message, remedy)


def _fromEventLoop(function):
    import qt

    qt.QTimer.singleShot(0, function)
