"""Metrics against hand counts, closed forms, MONAI's own functions and an exact rank statistic."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance, compute_iou
from sam2adapt.evaluation.metrics import ConfusionMatrix, HistogramAUC, aggregate, case_metrics
from sam2adapt.imaging.terminology import describe


def cube(shape, start, stop, value=1):
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(*ends) for ends in zip(start, stop, strict=True))] = value
    return array


def test_counts_by_hand():
    truth, prediction = cube((8, 8, 8), (0, 0, 0), (4, 4, 4)), cube((8, 8, 8), (0, 0, 2), (4, 4, 6))
    found = case_metrics(prediction, truth, [1])[1]
    assert found["dice"] == pytest.approx(0.5)
    assert found["iou"] == pytest.approx(1 / 3)


def test_distance_of_shifted_planes_is_the_shift_in_mm():
    truth, prediction = cube((12, 10, 10), (2, 0, 0), (3, 10, 10)), cube((12, 10, 10), (5, 0, 0), (6, 10, 10))
    assert case_metrics(prediction, truth, [1], (2.5, 1, 1))[1]["hd95"] == pytest.approx(7.5)
    assert case_metrics(prediction, truth, [1], (2.5, 1, 1))[1]["assd"] == pytest.approx(7.5)
    assert case_metrics(prediction, truth, [1])[1]["hd95"] == pytest.approx(3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.tuples(*[st.floats(0.3, 5)] * 3))
def test_equals_monai_on_the_whole_volume(seed, spacing):
    generator = np.random.default_rng(seed)
    truth, prediction = np.zeros((2, 9, 14, 13), np.uint8)
    low = generator.integers(1, 4, 3)
    truth[tuple(slice(a, a + 4) for a in low)] = 3
    prediction[tuple(slice(a, a + b) for a, b in zip(low + 1, generator.integers(1, 5, 3), strict=True))] = 3
    prediction[generator.random(prediction.shape) > 0.99] = 3
    found = case_metrics(prediction, truth, [3], spacing)[3]
    masks = [torch.from_numpy(array == 3)[None, None] for array in (prediction, truth)]
    assert found["dice"] == pytest.approx(compute_dice(*masks).item(), rel=1e-6)
    assert found["iou"] == pytest.approx(compute_iou(*masks).item(), rel=1e-6)
    exact = {"include_background": True, "spacing": list(spacing)}
    assert found["hd95"] == pytest.approx(compute_hausdorff_distance(*masks, percentile=95, **exact).item(), rel=1e-4)
    assert found["assd"] == pytest.approx(
        compute_average_surface_distance(*masks, symmetric=True, **exact).item(), rel=1e-4
    )


def test_a_class_that_neither_or_only_one_has():
    truth, prediction = cube((4, 6, 6), (0, 0, 0), (2, 2, 2), 1), cube((4, 6, 6), (0, 0, 0), (2, 2, 2), 2)
    found = case_metrics(prediction, truth, [1, 2, 5])
    for number in (1, 2):
        assert found[number]["dice"] == found[number]["iou"] == 0
        assert math.isnan(found[number]["hd95"]) and math.isnan(found[number]["assd"])
    assert all(math.isnan(value) for value in found[5].values())


def test_perfect_agreement():
    truth = cube((5, 6, 7), (1, 1, 1), (4, 4, 4), 9)
    assert case_metrics(truth, truth, [9], (3, 1, 1))[9] == {"dice": 1, "iou": 1, "hd95": 0, "assd": 0}


def test_a_picture_is_measured_in_plane():
    # filled squares, one a pixel larger on each side: were the picture a thin volume, inner voxels would count
    truth, prediction = cube((1, 40, 40), (0, 10, 10), (1, 30, 30)), cube((1, 40, 40), (0, 9, 9), (1, 31, 31))
    assert 1 <= case_metrics(prediction, truth, [1])[1]["assd"] < 1.1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        case_metrics(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 5), np.uint8), [1])


def test_only_the_joint_box_is_measured():
    truth, prediction = np.zeros((2, 400, 512, 512), np.uint8)  # 100 million voxels: whole distance maps need 2 GB
    truth[100:104, 100:104, 100:104], prediction[101:105, 100:104, 100:104] = 1, 1
    assert case_metrics(prediction, truth, [1], (2, 1, 1))[1]["hd95"] == pytest.approx(2)


def test_miou_is_taken_from_one_matrix_of_the_set():
    matrix = ConfusionMatrix([1, 3])
    matrix.update(np.array([[[0, 1, 1, 3]]], np.uint8), np.array([[[0, 1, 0, 3]]], np.uint8))
    matrix.update(np.array([[[0, 0, 3, 3]]], np.uint8), np.array([[[0, 1, 3, 3]]], np.uint8))
    # background 2 hits of 4, class 1: 1 of 3, class 3: 3 of 3
    np.testing.assert_allclose(matrix.iou(), [2 / 4, 1 / 3, 1])
    assert matrix.miou() == pytest.approx((2 / 4 + 1 / 3 + 1) / 3)


def test_labels_of_no_class_are_background():
    matrix = ConfusionMatrix([2])
    matrix.update(np.array([200, 2, 1], np.uint8), np.array([0, 2, 7], np.uint8))
    assert matrix.counts.tolist() == [[2, 0], [0, 1]]


def test_classes_that_never_occur_are_left_out():
    matrix = ConfusionMatrix([1, 2])
    assert math.isnan(matrix.miou())
    matrix.update(np.array([0, 1], np.uint8), np.array([0, 1], np.uint8))
    assert matrix.miou() == 1 and math.isnan(matrix.iou()[2])


def exact_auc(scores, hits):
    positive, negative = scores[hits][:, None], scores[~hits][None]
    return float(((positive > negative) + 0.5 * (positive == negative)).mean())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 12), st.sampled_from([np.float32, np.float64]))
def test_auc_equals_the_rank_statistic(seed, confidence, kind):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, (4, 10, 25))
    auc = HistogramAUC([1, 2])
    shares = np.stack(
        [
            1 / (1 + np.exp(-confidence * (generator.normal(size=truth.shape) + 2 * (truth == number) - 1)))
            for number in (1, 2)
        ]
    ).astype(kind)
    for part in (slice(0, 1), slice(1, 4)):
        auc.update(shares[:, part], truth[part])
    for index, number in enumerate((1, 2)):
        assert auc.auc()[number] == pytest.approx(exact_auc(shares[index].ravel(), truth.ravel() == number), abs=1e-3)


def test_auc_of_certain_and_of_useless_probabilities():
    truth = np.array([0, 0, 1, 1])
    for shares, wanted in (([0, 0, 1, 1], 1), ([1, 1, 0, 0], 0), ([0.5] * 4, 0.5)):
        auc = HistogramAUC([1])
        auc.update(np.array([shares], np.float32), truth)
        assert auc.auc()[1] == wanted
    auc = HistogramAUC([1, 2])
    auc.update(np.zeros((2, 3)), np.array([1, 1, 1]))
    assert math.isnan(auc.auc()[1]) and math.isnan(auc.auc()[2])


def test_aggregate_layout():
    structures = [describe(1, "liver"), describe(2, "spleen")]
    nan = math.nan
    cases = {
        "a": {
            1: {"dice": 0.8, "iou": 0.7, "hd95": 2.0, "assd": 1.0},
            2: {"dice": 0.0, "iou": 0.0, "hd95": nan, "assd": nan},
        },
        "b": {
            1: {"dice": 0.6, "iou": 0.5, "hd95": 4.0, "assd": 3.0},
            2: dict.fromkeys(("dice", "iou", "hd95", "assd"), nan),
        },
    }
    result = aggregate(cases, structures, miou=0.9, auc={1: 0.99, 2: nan}, distance_unit="voxel")
    assert result["dice"] == {"mean": pytest.approx(0.35), "liver": pytest.approx(0.7), "spleen": 0}
    assert result["hd95"] == {"mean": 3, "liver": 3, "spleen": None}
    assert result["auc"] == {"mean": 0.99, "liver": 0.99, "spleen": None}
    assert result["miou_with_background"] == 0.9
    assert result["distance_unit"] == "voxel"
    assert [case["id"] for case in result["cases"]] == ["a", "b"]
    assert result["cases"][1]["dice"] == {"liver": 0.6, "spleen": None}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_aggregate_of_nothing():
    result = aggregate({}, [describe(1, "liver")])
    assert result["dice"] == {"mean": None, "liver": None} and result["miou_with_background"] is None
