"""Carries out ``TryModel``."""

from collections.abc import Callable

from ..shared.requests.server_actions import TryModel
from .arrays import read_input
from .segment import Load


def try_model(
    request: TryModel,
    load: Load | None = None,
    check: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] | None = None,
) -> dict:
    """Try a model on three slices of a volume.

    :param load: see ``segment.segment``; ``check``: called when the model is loaded, and may raise.
    :return: ``found``, ``uncertainty``, ``disagreement`` (see ``trial.Trial``) and ``score``.
    :raises UserError: as ``trial.try_model``.
    """
    from ..machine.device import choose_device
    from ..segmenting import trial
    from ..segmenting.model import load_model

    volume = read_input(request.input)
    model = (load or load_model)(request.model, choose_device(request.device)[0])
    check()
    tried = trial.try_model(volume, model, cancelled)
    return {
        "found": tried.found, "uncertainty": tried.uncertainty, "disagreement": tried.disagreement,
        "score": tried.score,
    }  # fmt: skip
