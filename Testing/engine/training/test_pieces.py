"""Segmenting keeps only the largest piece of organs that are in one piece wherever they were drawn."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from cards import model_card
from sam2adapt.cli.app import main
from sam2adapt.evaluation.cases import Case
from sam2adapt.imaging.terminology import Structure, describe, is_organ
from sam2adapt.imaging.volume import Volume, write_labels, write_volume
from sam2adapt.modelfiles.bundle import read_bundle
from sam2adapt.modelfiles.summary import cleaning_steps
from sam2adapt.segmenting.model import Model
from sam2adapt.shared.errors import DeviceError
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.training.cleaning import choice
from sam2adapt.training.cleaning.choice import choose_steps
from sam2adapt.training.cleaning.survey import PieceSurvey
from torch import nn

RIGHT, LEFT, LIVER = (describe(*pair) for pair in ((1, "right ventricle"), (2, "left ventricle"), (3, "liver")))
TUMOUR = describe(4, "liver tumor")
NONE = {"largest_together": [], "largest_component": []}
#: Ranges of slices, rows and columns: two halves of a heart that touch, and what is far from them.
RIGHT_HALF, LEFT_HALF, FAR = np.s_[1:4, 4:12, 4:8], np.s_[1:4, 4:12, 8:14], np.s_[1:3, 20:25, 20:24]


def heart(**more) -> np.ndarray:
    """Labels (5, 32, 32) of a heart, and more boxes by their label value: ``v1=FAR``."""
    labels = np.zeros((5, 32, 32), np.uint8)
    labels[RIGHT_HALF], labels[LEFT_HALF] = 1, 2
    for name, box in more.items():
        labels[box] = int(name[1:])
    return labels


def survey(*volumes: np.ndarray, structures=(RIGHT, LEFT)) -> PieceSurvey:
    found = PieceSurvey(structures)
    for labels in volumes:
        found.add(labels)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [("right ventricle", True), ("left kidney", True), ("liver tumor", False), ("lesion", False), ("thing 1", False)],
)
def test_only_organs_with_a_name_of_the_field_are_judged(name, expected):
    assert is_organ(describe(1, name)) is expected


def test_a_terminology_that_says_nothing_is_no_organ():
    tissue = "Segmentation category and type~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~~^^~^^"
    assert [is_organ(Structure(1, "liver", text)) for text in ("", "~", tissue)] == [False] * 3


def test_three_volumes_must_show_a_structure_in_one_piece():
    assert survey(heart(), heart()).steps() == NONE
    assert survey(heart(), heart(), heart()).steps() == {"largest_together": [1, 2], "largest_component": [1, 2]}


def test_two_pieces_in_any_volume_are_enough_to_keep_all():
    three = [heart(), heart(), heart()]
    assert survey(*three, heart(v1=FAR)).steps() == {"largest_together": [], "largest_component": [2]}
    touching = np.s_[1:3, 12:16, 9:14]  # below the left half: the right one is in two pieces, both together in one
    assert survey(*three, heart(v1=touching)).steps() == {"largest_together": [1, 2], "largest_component": [2]}


def test_a_stray_dab_of_the_brush_is_no_second_piece():
    assert survey(*[heart(v1=np.s_[3:4, 30:31, 30:31])] * 3).steps()["largest_component"] == [2]  # 1 of 97 voxels
    large = heart(v2=np.s_[1:5, 4:20, 8:24])
    large[4, 30, 30] = 2  # 1 of 1025
    assert survey(large, large, large).steps()["largest_component"] == [1, 2]


def test_what_was_annotated_in_part_and_pictures_tell_nothing():
    part = heart()
    part[0] = IGNORE
    assert survey(heart(), heart(), part).steps() == NONE
    assert survey(*[heart()[2:3]] * 5).steps() == NONE


def test_of_lesions_the_next_patient_may_have_more():
    steps = survey(*[heart(v3=FAR, v4=np.s_[1:2, 21:23, 21:23])] * 3, structures=(LIVER, TUMOUR)).steps()
    assert steps == {"largest_together": [], "largest_component": [3]}


class Levels(nn.Module):
    """A network that takes grey levels for classes: 0, 0.5 and 1 for background, 1 and 2."""

    def forward(self, images):
        """Logits (B, 3, H, W) of images (B, 3, H, W), which are normalised."""
        middle = images[:, 1:2]
        low, high = middle.amin(), middle.amax()
        return -20 * (middle - torch.linspace(float(low), float(high), 3)[:, None, None]).abs()


def case_of(folder: Path, truth: np.ndarray, found: np.ndarray) -> Case:
    """A case in which ``Levels`` finds other labels than the true ones."""
    geometry = {"origin": np.zeros(3), "spacing": np.array([1.0, 1.0, 4.0]), "direction": np.eye(3)}
    number = len(list(folder.iterdir()))
    paths = [folder / f"{part}{number}.nii.gz" for part in ("image", "label")]
    write_volume(paths[0], Volume((found[None].astype(np.int16) * 500), **geometry))
    write_labels(paths[1], Volume(truth[None], **geometry), [RIGHT, LEFT])
    return Case(f"case{number}", *paths)


@pytest.fixture
def model() -> Model:
    card = model_card(
        classes=[RIGHT.to_json(), LEFT.to_json()], modality="OTHER",
        slices={"axis": "axial", "spacing": None, "size": 32,
                "normalization": {"kind": "range", "low": 0.0, "high": 1000.0}},
        postprocessing={"largest_component": [], "fill_holes": [], "minimum_ml": 0.0},
    )  # fmt: skip
    return Model(copy.deepcopy(card), Levels(), torch.device("cpu"))


BOTH = {"largest_together": [1, 2], "largest_component": [1, 2]}


def test_pieces_that_are_not_there_go(model, tmp_path):
    cases = [case_of(tmp_path, heart(), heart(v1=FAR)) for _ in range(2)]
    judged = choose_steps(model, BOTH, cases)
    assert model.card["postprocessing"] == BOTH | {"fill_holes": [], "minimum_ml": 0.0}
    right = 2 * 96 / (2 * 96 + 40)  # 96 voxels of it, and 40 where it is not
    assert judged == {"cases": 2, "before": pytest.approx((right + 1) / 2, abs=1e-4), "after": 1.0}


def test_a_step_that_would_cost_dice_is_left_out(model, tmp_path):
    """The network broke the left ventricle in two, and found some of the right one where it is not."""
    torn = heart(v0=np.s_[1:4, 4:12, 10:12], v1=FAR)
    choose_steps(model, BOTH, [case_of(tmp_path, heart(), torn)])
    assert model.card["postprocessing"]["largest_component"] == [1]
    assert "largest_together" not in model.card["postprocessing"], "it would have taken the torn piece away, too"


def test_steps_that_the_card_has_already_stay(model, tmp_path):
    model.card["postprocessing"]["largest_component"] = [2]
    choose_steps(model, {"largest_together": [], "largest_component": [1, 2]}, [case_of(tmp_path, heart(), heart())])
    assert model.card["postprocessing"]["largest_component"] == [1, 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains two steps on hearts and gives the card and what was printed."""
    folder = tmp_path_factory.mktemp("hearts")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    geometry = {"origin": np.zeros(3), "spacing": np.array([1.0, 1.0, 4.0]), "direction": np.eye(3)}
    for number, labels in enumerate([heart(), heart(), heart(), heart(v2=FAR)]):
        grey = Volume(labels[None].astype(np.int16) * 400, **geometry)
        write_volume(folder / "images" / f"{number}.nii.gz", grey)
        write_labels(folder / "labels" / f"{number}.nii.gz", Volume(labels[None], **geometry), [RIGHT, LEFT])

    def train(output: Path, capsys, *options: str, cases=(0, 1, 2)):
        split = output.with_suffix(".json")
        split.write_text(f'{{"train": [{", ".join(f"{chr(34)}{n}{chr(34)}" for n in cases)}], "val": []}}')
        capsys.readouterr()
        status = main(["train", "--images", str(folder / "images"), "--labels", str(folder / "labels"),
                       "--classes", "1=right ventricle,2=left ventricle", "--split", str(split), "--steps", "2",
                       "--size", "32", "--crop", "32", "--modality", "OTHER", "--device", "cpu", "-o", str(output),
                       *options])  # fmt: skip
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return read_bundle(output).card, printed.out + printed.err

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM2ADAPT_HOME", str(tmp_path_factory.mktemp("home")))
        yield train


def test_a_training_finds_out_and_says_so(trained, tmp_path, capsys):
    card, printed = trained(tmp_path / "model.safetensors", capsys)
    noted = card["training"]["largest_pieces"]
    steps = cleaning_steps(card)
    assert steps.startswith("largest piece of ") and f"so segmenting cleans: {steps}. Dice on" in printed
    assert noted["subset"] == "train" and noted["cases"] == 3 and noted["after"] >= noted["before"]
    assert "keep pieces" in printed


def test_what_was_learnt_is_not_lost_if_pieces_cannot_be_judged(trained, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise DeviceError("Memory ran out.", "Close other programs.")

    monkeypatch.setattr(choice, "dice_after", fail)
    card, printed = trained(tmp_path / "model.safetensors", capsys)
    assert cleaning_steps(card) == "none"
    assert "could not be measured, so all are kept: Memory ran out. Close other programs." in printed


def test_the_setting_that_it_names_turns_it_off(trained, tmp_path, capsys):
    card, printed = trained(tmp_path / "model.safetensors", capsys, "--keep-pieces")
    assert cleaning_steps(card) == "none" and "largest_pieces" not in card["training"]
    assert "one piece" not in printed


def test_a_continued_model_cleans_as_before_unless_a_volume_says_otherwise(trained, tmp_path, capsys):
    trained(tmp_path / "parent.safetensors", capsys, "--largest-component", "right ventricle,left ventricle",
            "--fill-holes", "left ventricle", "--keep-pieces")  # fmt: skip
    parent = ["--init", str(tmp_path / "parent.safetensors"), "--allow-forgetting"]
    card, _ = trained(tmp_path / "same.safetensors", capsys, *parent, cases=(0,))
    expected = {"largest_component": [1, 2], "fill_holes": [2], "minimum_ml": 0.0}
    assert card["postprocessing"] == expected
    card, printed = trained(tmp_path / "other.safetensors", capsys, *parent, cases=(0, 3))
    assert card["postprocessing"] == expected | {"largest_component": [1]}
    assert "Model 'parent' keeps only the largest piece of left ventricle; in a training volume there are" in printed
    card, _ = trained(tmp_path / "all.safetensors", capsys, *parent, "--keep-pieces", cases=(0,))
    assert card["postprocessing"] == expected | {"largest_component": []}
