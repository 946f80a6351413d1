"""What is held out for validation: volumes so that every class stays in the training, slices of a single volume."""

import numpy as np
import pytest
from conftest import blobs
from sam2adapt.evaluation.case_memory import CaseMemory
from sam2adapt.evaluation.cases import Case, select
from sam2adapt.evaluation.evaluate import evaluate, mean_dice
from sam2adapt.evaluation.load_case import load_case
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, write_labels, write_volume
from sam2adapt.requests.train import read_groups
from sam2adapt.shared.errors import ClassesError, InputFileError, TrainingDataError
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.training.prepare import PreparedCase, fingerprint
from sam2adapt.training.settings import TrainSettings
from sam2adapt.training.split import (
    check_validation,
    draw_split,
    hold_out_slices,
    only_slices,
    without_slices,
)

STRUCTURES = [describe(1, "liver"), describe(4, "spleen"), describe(7, "aorta")]


def cases_with(root, *held: tuple[int, ...]) -> list[Case]:
    """Cases p0, p1 ... whose labels hold these values."""
    cases = []
    for number, values in enumerate(held):
        array = np.zeros((1, 2, 4, 4), np.uint8)
        for place, value in enumerate(values):
            array[0, 0, place] = value
        path = root / f"p{number}.nrrd"
        write_labels(path, Volume(array, np.zeros(3), np.ones(3), np.eye(3)), STRUCTURES)
        cases.append(Case(f"p{number}", path, path))
    return cases


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 1), (9, 1), (10, 2), (23, 4)])
def test_a_fifth_is_held_out(tmp_path, count, held_out):
    cases = cases_with(tmp_path, *[(1,)] * count)
    split = draw_split(cases, STRUCTURES, 3)
    assert sorted(split["train"] + split["val"]) == sorted(case.id for case in cases)
    assert len(split["val"]) == held_out
    assert draw_split(cases, STRUCTURES, 3) == split
    assert count < 2 or any(draw_split(cases, STRUCTURES, seed) != split for seed in range(9))
    parts = [{case.id for case in select(cases, split, part)} for part in split]
    assert parts == [set(split["train"]), set(split["val"])], "p1 does not take p10 with it"


@pytest.mark.parametrize("seed", range(6))
def test_every_class_stays_in_the_training_and_comes_into_the_validation(tmp_path, seed):
    held = [(1,)] * 7 + [(1, 4)] * 2 + [(7,)]
    cases = cases_with(tmp_path, *held)
    split = draw_split(cases, STRUCTURES, seed)
    values = {part: {v for name in names for v in held[int(name[1:])]} for part, names in split.items()}
    assert values["train"] == {1, 4, 7}
    assert values["val"] == {1, 4}, "7 is in one case only"
    assert len(split["val"]) == 2


def test_nothing_can_be_held_out(tmp_path):
    cases = cases_with(tmp_path, (1,), (4,))
    assert draw_split(cases, STRUCTURES, 0) == {"train": ["p0", "p1"], "val": []}


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together(tmp_path, seed):
    cases = cases_with(tmp_path, *[(1,)] * 12)
    groups = {f"p{n}": f"patient {n // 3}" for n in range(9)}  # three of three volumes, three of one
    split = draw_split(cases, STRUCTURES, seed, groups)
    parts = {name: part for part, names in split.items() for name in names}
    assert all(len({parts[f"p{3 * n + k}"] for k in range(3)}) == 1 for n in range(3))
    assert 1 <= len(split["val"]) <= 2, "single volumes fill a fifth better than a patient with three"
    same = {f"p{n}": f"patient {n // 6}" for n in range(12)}
    assert len(draw_split(cases, STRUCTURES, seed, same)["val"]) == 6, "two patients: one is held out"


@pytest.mark.parametrize("text", ["[1]", "{", '{"p0": 3}'])
def test_groups_of_the_command_line(tmp_path, text):
    path = tmp_path / "groups.json"
    path.write_text('{"p0": "patient 1"}')
    assert read_groups(path) == {"p0": "patient 1"}
    path.write_text(text)
    with pytest.raises(InputFileError, match=r"groups\.json"):
        read_groups(path)


def prepared_with(slices: list[tuple[int, ...]], name="a") -> PreparedCase:
    """A case whose slices hold these class indices; (255,) is not annotated."""
    target = np.zeros((len(slices), 4, 4), np.uint8)
    for k, values in enumerate(slices):
        target[k] = IGNORE if values == (IGNORE,) else 0
        for place, value in enumerate(values):
            target[k, place] = value
    annotated = [k for k, values in enumerate(slices) if values != (IGNORE,)]
    foreground = [k for k in annotated if slices[k]]
    return PreparedCase(name, np.zeros((len(slices), 1, 4, 4), np.float16), target, annotated, foreground)


def test_every_fifth_annotated_slice_is_held_out():
    case = prepared_with([(IGNORE,), (1,), (1,), (IGNORE,), (1,), (1,), (1,), (1,), (), (1,), (1,)])
    held = hold_out_slices([case])
    assert held == {"a": [4, 9]}
    (train,), (val,) = without_slices([case], held), only_slices([case], held)
    assert train.annotated == [1, 2, 5, 6, 7, 8, 10] and train.foreground == [1, 2, 5, 6, 7, 10]
    assert val.annotated == val.foreground == [4, 9]


def test_few_slices_are_all_for_training():
    assert hold_out_slices([prepared_with([(1,)] * 4 + [(IGNORE,)] * 9)]) == {}


def test_the_last_slice_with_a_class_is_not_held_out():
    assert hold_out_slices([prepared_with([(1,), (1,), (1, 2), (1,), (1,)])]) == {}
    other = prepared_with([(2,)], "b")
    assert hold_out_slices([prepared_with([(1,), (1,), (1, 2), (1,), (1,)]), other]) == {"a": [2]}


def real_case(root, name: str, values: np.ndarray) -> Case:
    """A volume of 7 slices with these labels (7, 18, 20)."""
    volume = blobs()
    case = Case(name, root / f"{name}_image.nrrd", root / f"{name}_label.nrrd")
    write_volume(case.image, volume)
    write_labels(case.label, volume.with_array(values[None]), [*STRUCTURES, describe(IGNORE, "not annotated")])
    return case


def test_only_slices_that_are_held_out_count(tmp_path, make_model):
    values = np.zeros((7, 18, 20), np.uint8)
    values[:, 4:12, 4:12] = 1
    model = make_model(structures=STRUCTURES)
    whole = real_case(tmp_path, "a", values)
    alone = values.copy()
    alone[[0, 1, 3, 4, 6]] = IGNORE
    expected = mean_dice(model, [real_case(tmp_path, "b", alone)])
    assert mean_dice(model, [whole], {"a": [2, 5]}) == expected
    assert mean_dice(model, [whole]) != expected
    assert evaluate(model, [whole], slices={"a": [2, 5]})["dice"]["mean"] == pytest.approx(expected["mean"])


def test_cases_that_fit_in_memory_are_read_once(tmp_path, make_model):
    values = np.zeros((7, 18, 20), np.uint8)
    values[:, 4:12, 4:12] = 1
    model, cases = make_model(structures=STRUCTURES), [real_case(tmp_path, name, values) for name in "ab"]
    bytes_of_one = sum(array.nbytes for array in (load_case(cases[0], STRUCTURES)[0].array, values))
    load = CaseMemory(most_bytes=bytes_of_one)
    expected = mean_dice(model, cases)
    assert [mean_dice(model, cases, load=load) for _ in range(2)] == [expected] * 2
    for case in cases:
        case.image.unlink()
    assert mean_dice(model, cases[:1], load=load)["mean"] > 0
    with pytest.raises(InputFileError):
        mean_dice(model, cases[1:], load=load)


def test_validation_with_which_nothing_can_be_measured(tmp_path):
    empty = np.zeros((7, 18, 20), np.uint8)
    unknown = np.full((7, 18, 20), IGNORE, np.uint8)
    filled = empty.copy()
    filled[3] = 1
    with pytest.raises(TrainingDataError, match="'u' holds no annotated voxel"):
        check_validation([real_case(tmp_path, "f", filled), real_case(tmp_path, "u", unknown)], STRUCTURES)
    with pytest.raises(TrainingDataError, match="of any class"):
        check_validation([real_case(tmp_path, "e", empty)], STRUCTURES)
    check_validation([real_case(tmp_path, "f", filled), real_case(tmp_path, "e", empty)], STRUCTURES)


def test_class_only_in_the_validation(tmp_path):
    train, val = np.zeros((2, 7, 18, 20), np.uint8)
    train[:, 3:9, 3:9], val[:, 3:9, 3:9], val[:, 10:14, 3:9] = 1, 1, 4
    cases = [real_case(tmp_path, name, values) for name, values in (("t", train), ("v", val))]
    with pytest.raises(ClassesError, match=r"'spleen' occurs only in the validation \(v\)") as caught:
        fingerprint(cases[:1], STRUCTURES[:2], TrainSettings(), cases[1:])
    assert "Move" in caught.value.remedy
