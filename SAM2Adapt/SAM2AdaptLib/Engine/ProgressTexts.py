"""How far a job is and how long it takes, in plain words."""

from sam2adapt.shared import protocol
from slicer.i18n import tr as _

WRITING = "writing"  # the one stage that is not the engine's: the cases of the scene become files
_TRAINING_STAGES = {
    protocol.READING: lambda: _("Reading the cases"),
    protocol.LOADING: lambda: _("Loading the model"),
    protocol.PREPARING: lambda: _("Preparing the slices"),
    protocol.TRAINING: lambda: _("Training"),
    protocol.VALIDATING: lambda: _("Measuring accuracy"),
    protocol.ESTIMATING: lambda: _("Measuring how long it takes"),
    protocol.PAUSED: lambda: _("Paused"),
}


def duration(seconds):
    """A time as people say it, for instance ``about 40 s``."""
    if seconds < 1:
        return _("less than 1 s")
    if seconds < 90:
        return _("about {seconds} s").format(seconds=round(seconds))
    if seconds < 5400:
        return _("about {minutes} min").format(minutes=round(seconds / 60))
    return _("about {hours} h").format(hours=round(seconds / 3600, 1))


def timeLeft(seconds):
    """The time that is left, for instance ``about 40 s left``."""
    return _("{time} left").format(time=duration(seconds))


def segmenting(progress):
    """The engine's progress of ``segment`` as a sentence without full stop.

    :param progress: dict with "stage", and when it is "segmenting", "done", "total" and, where it is known,
      "secondsLeft".
    """
    stage = progress["stage"]
    if stage == protocol.SENDING:
        return sending(progress)
    if stage == protocol.FINISHING:
        return _("Cleaning up the result")
    if stage != protocol.SEGMENTING:
        return _("Loading the model")
    text = _("Segmenting: {done} of {total} slices").format(done=progress["done"], total=progress["total"])
    return _withTimeLeft(text, progress.get("secondsLeft"))


def batch(number, count, name, secondsLeft=None):
    """Which study of a batch is in work."""
    text = _("Study {number} of {count}: {name}").format(number=number, count=count, name=name)
    return _withTimeLeft(text, secondsLeft)


def ranking(number, count, name, secondsLeft=None):
    """Which volume of a ranking is in work."""
    text = _("Ranking volume {number} of {count}: {name}").format(number=number, count=count, name=name)
    return _withTimeLeft(text, secondsLeft)


def training(progress):
    """The engine's progress of ``train`` or ``estimate`` as a sentence without full stop.

    :param progress: dict with "stage", and where they are known "done", "total", "unit", "bestDice" and
      "secondsLeft".
    """
    stage = progress["stage"]
    if stage == protocol.SENDING:
        return sending(progress)
    text = _TRAINING_STAGES[stage]() if stage in _TRAINING_STAGES else stage
    numbers = {"done": progress.get("done"), "total": progress.get("total")}
    if stage == WRITING:
        return _("Writing case {number} of {total}").format(number=numbers["done"] + 1, total=numbers["total"])
    if progress.get("unit") == "epoch":
        text = _("{stage}: pass {done} of {total}").format(stage=text, **numbers)
    elif stage == protocol.PREPARING and progress.get("unit") == "%":
        text = _("{stage}: {done} %").format(stage=text, done=numbers["done"])
    if (dice := progress.get("bestDice")) is not None:
        text = f"{text}, {_('best accuracy {dice}').format(dice=f'{dice:.2f}')}"
    return _withTimeLeft(text, None if stage == protocol.PAUSED else progress.get("secondsLeft"))


def sending(progress):
    """How much has been sent to another computer; "done" and "total" are bytes."""
    done, total = (f"{progress[key] / 1e6:.0f}" for key in ("done", "total"))
    text = _("Sending: {done} of {total} MB").format(done=done, total=total)
    return _withTimeLeft(text, progress.get("secondsLeft"))


def download(progress):
    """The progress of ``downloadBase``; its "done" and "total" are bytes."""
    done, total = (round(progress[key] / 1e6) for key in ("done", "total"))
    return _("Downloading the weights: {done} of {total} MB").format(done=done, total=total)


def _withTimeLeft(text, seconds):
    return text if seconds is None else f"{text}, {timeLeft(seconds)}"
