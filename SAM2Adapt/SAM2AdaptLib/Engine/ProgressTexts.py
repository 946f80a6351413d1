"""The progress of a training in plain words."""

from slicer.i18n import tr as _

_STAGES = {
    "writing": lambda: _("Writing the cases"),
    "reading": lambda: _("Reading the cases"),
    "loading": lambda: _("Loading the model"),
    "preparing": lambda: _("Preparing the slices"),
    "training": lambda: _("Training"),
    "validating": lambda: _("Validating"),
    "evaluating": lambda: _("Measuring the result"),
    "estimating": lambda: _("Measuring the time of a step"),
    "paused": lambda: _("Paused"),
}


def progressText(progress):
    """The engine's progress as a sentence without full stop.

    :param progress: dict with "stage", and where they are known "done", "total", "unit", "loss", "bestDice" and
      "secondsLeft".
    """
    stage = progress["stage"]
    text = _STAGES[stage]() if stage in _STAGES else stage
    numbers = {"done": progress.get("done"), "total": progress.get("total")}
    if stage == "writing":
        return _("Writing case {number} of {total}").format(number=numbers["done"] + 1, total=numbers["total"])
    if progress.get("unit") == "epoch":
        text = _("{stage}: epoch {done} of {total}").format(stage=text, **numbers)
    elif stage == "preparing" and progress.get("unit") == "%":
        text = _("{stage}: {done} %").format(stage=text, done=numbers["done"])
    parts = [text]
    if (loss := progress.get("loss")) is not None:
        parts.append(_("loss {loss}").format(loss=f"{loss:.3f}"))
    if (dice := progress.get("bestDice")) is not None:
        parts.append(_("best Dice {dice}").format(dice=f"{dice:.3f}"))
    if stage != "paused" and (left := progress.get("secondsLeft")) is not None:
        parts.append(timeLeft(left))
    return ", ".join(parts)


def timeLeft(seconds):
    """A time as people say it."""
    if seconds < 90:
        return _("about {seconds} s left").format(seconds=round(seconds))
    if seconds < 5400:
        return _("about {minutes} min left").format(minutes=round(seconds / 60))
    return _("about {hours} h left").format(hours=round(seconds / 3600, 1))
