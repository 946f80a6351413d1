"""``sam2adapt segment --html``: a page of one volume and of a batch, in the same run."""

import pytest
from batch_testing import bad_inputs, image, noise, studies
from sam2adapt.cli.app import main

pytest_plugins = ["batch_testing"]
pytestmark = pytest.mark.usefixtures("own_home")


def test_page_of_one_volume_names_the_model(model, tmp_path):
    source = image(tmp_path / "Mustermann.nii.gz", noise())
    page = tmp_path / "page.html"
    assert (
        main(["segment", str(source), "-o", str(tmp_path / "x.nii.gz"), "--model", str(model), "--html", str(page)])
        == 0
    )
    content = page.read_text("utf-8")
    assert "<dd>a</dd>" in content and "sha256:" in content
    assert "Mustermann" not in content


def test_page_of_a_batch_may_lie_in_a_folder_that_the_batch_makes(model, tmp_path):
    studies(tmp_path / "in", 2)
    bad_inputs(tmp_path / "in" / "bad")
    page = tmp_path / "out" / "report.html"
    command = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model), "--html", str(page)]
    assert main([*command, "--show-names"]) == 2  # five files are bad
    content = page.read_text("utf-8")
    assert content.count("<article") == 7 and "s00.seg.nrrd" in content and "truncated.nii.gz" in content


def test_page_that_cannot_be_written_is_refused_before_the_work(model, tmp_path, capsys):
    source = image(tmp_path / "x.nii.gz", noise())
    for target, page in (("x.seg.nrrd", "page.txt"), ("x.seg.nrrd", "none/page.html"), ("out/", "none/page.html")):
        (tmp_path / "out").mkdir(exist_ok=True)
        command = ["segment", str(source), "-o", str(tmp_path / target), "--model", str(model)]
        assert main([*command, "--html", str(tmp_path / page)]) == 2
        assert page.split("/")[0] in capsys.readouterr().err
        assert not (tmp_path / "x.seg.nrrd").exists() and not list((tmp_path / "out").glob("*.seg.nrrd"))
