"""Carries out ``Evaluate``."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from ..evaluation.cases import as_classes_of, read_split, select
from ..modelfiles.catalog import find_model
from ..shared.errors import SettingsError
from ..shared.files import atomic_write, check_output, write_json
from ..shared.requests.actions import Evaluate
from .cases import find_cases_and_classes


def evaluate(
    request: Evaluate,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict:
    """Measure a model and write the results.

    :param progress: called with (cases done, all cases).
    :param say: called with sentences about what is left out and about decisions that reading took.
    :return: as ``metrics.aggregate``.
    :raises UserError: before anything is measured: unknown model, no cases, an output that cannot be written.
    """
    for path in filter(None, (request.report, request.table)):
        check_output(path)
    cases, named = find_cases_and_classes(request, say=say)
    if request.split:
        cases = select(cases, read_split(request.split), request.subset)
    if not cases:
        raise SettingsError(f"The split's '{request.subset}' is empty.", "Choose the other part.", setting="subset")
    find_model(request.model)

    from ..evaluation.evaluate import evaluate as measure
    from ..machine.device import choose_device  # only now: importing torch takes seconds
    from ..segmenting.model import load_model

    device, _ = choose_device(request.device)
    model = load_model(request.model, device)
    result = measure(model, as_classes_of(model.structures, cases, named), progress, say=say)
    if request.report:
        write_json(request.report, result)
    if request.table:
        _write_table(request.table, result)
    return result


def _write_table(path: Path, result: dict) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["case", "class", "dice", "iou", "hd95", "assd"])
    for case in result["cases"]:
        for name in case["dice"]:
            writer.writerow([case["id"], name, *(case[m][name] for m in ("dice", "iou", "hd95", "assd"))])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
