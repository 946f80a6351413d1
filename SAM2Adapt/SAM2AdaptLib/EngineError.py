"""The one failure that all of the Slicer side reports, whether the engine said it or it happened here."""


class EngineError(Exception):
    """A failure with a sentence that says what is wrong and one that says what to do.

    :param kind: class name of ``sam2adapt.errors``, or "EngineStopped", "EngineMissing" or "Defect".
    :param message: one sentence that says what is wrong.
    :param remedy: one sentence that says what to do about it.
    :param details: for a report to the developers: a traceback, or the engine's last words.
    """

    def __init__(self, kind, message, remedy="", details=""):
        super().__init__(kind, message, remedy, details)
        self.kind = kind
        self.message = message
        self.remedy = remedy
        self.details = details

    def __str__(self):
        return f"{self.message} {self.remedy}".strip()
