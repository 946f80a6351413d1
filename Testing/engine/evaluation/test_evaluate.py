"""Evaluation takes all numbers on a case's own grid, not on the one that the network works on."""

import numpy as np
from conftest import blobs
from sam2adapt.evaluation import evaluate as evaluate_module
from sam2adapt.evaluation.cases import Case
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.evaluation.metrics import HistogramAUC
from sam2adapt.imaging.volume import write_volume
from sam2adapt.shared.labels.annotation import IGNORE


def test_scores_and_auc_are_those_of_the_native_grid(make_model, tmp_path, monkeypatch):
    """The authors of SAM2LoRA threshold and rank probabilities on the resized training grid."""
    volume = blobs(size=(90, 70, 3))
    labels = np.zeros((1, 3, 70, 90), np.uint8)
    labels[0, :, 20:40, 30:60], labels[0, :, 50:60, 5:30], labels[0, :, 3:9, 70:80] = 1, 7, 3
    labels[0, 0, 0] = IGNORE
    write_volume(tmp_path / "image.nii.gz", volume)
    write_volume(tmp_path / "label.nii.gz", volume.with_array(labels))
    seen = []

    class Noted(HistogramAUC):
        def update(self, probabilities, truth):
            seen.append((probabilities.shape, truth))
            super().update(probabilities, truth)

    monkeypatch.setattr(evaluate_module, "HistogramAUC", Noted)
    model = make_model()
    result = evaluate(model, [Case("a", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")])
    assert model.slices.size == 32
    assert sum(shape[1] for shape, _ in seen) == 3 * 70 * 90 - 90
    truth = np.concatenate([values for _, values in seen])
    assert [(truth == value).sum() for value in (1, 7, 3)] == [3 * 600, 3 * 250, 3 * 60]
    assert all(0 <= value <= 1 for value in result["auc"].values() if value is not None)
    assert result["distance_unit"] == "mm"
    assert result["cases"][0]["dice"].keys() == {"right lung", "left lung", "heart"}
