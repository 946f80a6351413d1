"""How far to trust a result, in sentences for people who do not measure models."""

from slicer.i18n import tr as _


def sentences(model, mismatch="", isPlausible=None, missing=()):
    """What is known of a model's accuracy, and how it did on this volume.

    :param model: ``Catalog.Model``.
    :param mismatch: a sentence that warns of a volume of another kind; "" for none.
    :param isPlausible: whether a trial on the volume went well; None without one.
    :param missing: names of structures that the model knows and did not find.
    :return: text of a few sentences.
    """
    texts = [_measured(model), mismatch]
    if isPlausible is not None and not mismatch:
        sure = _("On three slices of this volume it was sure of its answer.")
        texts.append(sure if isPlausible else _("On this volume it was unsure of its answer: look at every slice."))
    if missing:
        texts.append(_("Not found: {structures}.").format(structures=", ".join(missing)))
    texts.append(_("Check the outlines before you rely on them."))
    return " ".join(filter(None, texts))


def _measured(model):
    if model.dice is None:
        return _("Nobody has measured how accurate this model is.")
    names = {"percent": _percent(model.dice), "count": model.measuredOn}
    if model.measuredOn == 1:
        text = _(
            "On one image that it was not trained on, this model agreed with outlines drawn by people to {percent} %"
        )
    elif model.measuredOn:
        text = _(
            "On {count} images that it was not trained on, this model agreed with outlines drawn by people to"
            " {percent} %"
        )
    else:
        text = _("On other images this model agreed with outlines drawn by people to {percent} %")
    text = text.format(**names)
    worst = min(model.accuracy, key=model.accuracy.get, default="")
    if worst and _percent(model.accuracy[worst]) < _percent(model.dice):
        least = _("least for {structure}: {percent} %")
        text += f" ({least.format(structure=worst, percent=_percent(model.accuracy[worst]))})"
    return text + "."


def _percent(share):
    return round(100 * share)
