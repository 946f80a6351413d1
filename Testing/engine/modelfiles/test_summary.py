"""What ``info`` says about a model."""

import re

from example_models import card, tensors, write_model
from sam2adapt.modelfiles.card import read_card, read_header
from sam2adapt.modelfiles.summary import describe_card, parameter_count


def test_description_says_what_matters(tmp_path):
    path = write_model(tmp_path / "m.safetensors", parent="sha256:" + "b" * 64)
    _, infos = read_header(path)
    assert parameter_count(infos) == sum(t.numel() for t in tensors().values())
    text = "\n".join(describe_card(read_card(path), infos, path.stat().st_size))
    for words in (
        "torso CT 1.0.0", "demonstration", "Modality:       CT", "dual-lw (ratio=0.25)", "nano (SHA-256 aaaa",
        "axial, oriented LPS, 1.5 x 1.5 mm", "HU window -1000 to 400.5", "largest piece of right lung", "0.5 mL",
        "CC-BY-4.0", "sha256:bbbb", "35 parameters in 6 tensors", "Lung, Right (SCT 39607008, 24028007)", "left lung",
        "0.950", "2 cases, 1 kept", "12.2 minutes", "3 chest CT", "epochs=5",
    ):  # fmt: skip
        assert words in text, words
    assert re.search(r"mean\s+0\.938", text)


def test_description_gives_the_sizes_of_both_forms():
    counts = {"total": 7_000_000, "trained": 300_000, "exported": 6_500_000}
    lines = describe_card(card(training=card()["training"] | {"parameters": counts}), {})
    assert "Training form:  7,000,000 parameters, 28 MB with the base; 300,000 parameters trained" in lines
    assert "Exported form:  6,500,000 parameters, 26 MB with the base" in lines
    assert not any("form:" in line for line in describe_card(card(), {}))


def test_description_names_what_is_kept_together():
    cleaning = card()["postprocessing"] | {"largest_together": [1, 7]}
    text = "\n".join(describe_card(card(postprocessing=cleaning), {}))
    assert "largest piece of right lung, left lung together; largest piece of right lung; " in text


def test_description_of_a_model_without_measurement():
    lines = describe_card(card(metrics=None, description="", slices__spacing=None, slices__size=256), {})
    assert "Dice: not measured" in lines
    assert any("longest side 256 pixels" in line for line in lines)
