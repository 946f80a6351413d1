"""Pages of a case and of a batch: what they say, and what they keep to themselves."""

import html
import json
import re
import stat
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.cli.app import main
from sam2adapt.imaging.terminology import Structure
from sam2adapt.imaging.volume import read_volume, write_labels, write_segments
from sam2adapt.reporting.flags import flags_of

PATIENT = "Mustermann^Erika 1970"
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e\x07'


class Page(HTMLParser):
    """Tags, texts and attributes of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_data(self, data):
        self.texts.append(data)


def image(path, seed=0, spacing=(2.0, 2.0, 5.0)):
    out = sitk.GetImageFromArray(np.random.default_rng(seed).integers(0, 900, (6, 24, 20)).astype(np.int16))
    out.SetSpacing(spacing)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(out, str(path))
    return path


def labels(path, of, names=("liver", "kidney"), edge=8):
    volume = read_volume(of)
    array = np.zeros((6, 24, 20), np.uint8)
    array[1:4, 2 : 2 + edge, 3:9] = 1
    array[2:5, 14:18, 3:9] = 2
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, volume.with_array(array), [Structure(n, name) for n, name in enumerate(names, 1)])
    return path


def batch(folder, edges=(8, 8, 8, 8, 8, 2), name="case"):
    """What a batch leaves behind: images, outputs and a manifest; the last study but one failed, the last is open."""
    rows = []
    for number, edge in enumerate(edges):
        source = image(folder / "in" / f"{name} {number}.nii.gz", number)
        labels(folder / "out" / f"{name} {number}.seg.nrrd", source, edge=edge)
        sizes = [(1, "liver", 3 * 6 * edge), (2, "kidney", 72)]
        found = [{"id": i, "name": s, "voxels": n, "ml": round(n * 0.02, 3)} for i, s, n in sizes]
        rows.append(
            {"input": str(source), "output": f"{name} {number}.seg.nrrd", "status": "done", "structures": found}
        )
    rows.append({"input": str(folder / f"in/{PATIENT}.dcm"), "output": None, "status": "failed", "structures": []})
    rows.append({"input": str(folder / "in/later.nii.gz"), "output": None, "status": "open", "structures": []})
    failed = f"{folder}/in/{PATIENT}.dcm is damaged."
    rows = [{"series": "", "message": failed if row["status"] == "failed" else ""} | row for row in rows]
    counts = {"done": len(edges), "failed": 1, "open": 1}
    content = {"model": "torso-ct", "digest": "sha256:0123", "settings": {}, "counts": counts, "studies": rows}
    (folder / "out" / "manifest.json").write_text(json.dumps(content))
    return folder / "out"


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def test_page_of_a_case_holds_pictures_volumes_and_no_name(tmp_path, capsys):
    source = image(tmp_path / PATIENT / f"{PATIENT}.nii.gz")
    given = labels(tmp_path / PATIENT / f"{PATIENT}.seg.nrrd", source)
    out = tmp_path / "page.html"
    assert main(["report", str(source), "--labels", str(given), "-o", str(out), "--model", "torso-ct"]) == 0
    page = read(out)
    words = " ".join(page.texts)
    assert "Mustermann" not in out.read_text("utf-8")
    assert {"liver", "2.88 mL", "kidney", "1.44 mL", "torso-ct"} <= set(page.texts)
    assert page.tags.count("img") == 3 + 4  # planes, and slices 2 to 5
    assert "Not a medical device" in words
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert main(["report", str(source), "--labels", str(given), "-o", str(out), "--show-names"]) == 0
    assert f"Segmentation of {PATIENT}.nii.gz" in read(out).texts


def test_names_are_shown_as_text_only(tmp_path):
    source = image(tmp_path / "x.nii.gz")
    given = labels(tmp_path / "x.nii.gz.nrrd", source)
    out = tmp_path / "page.html"
    classes = f"1={EVIL.replace('=', ':')},2=kidney"
    status = main(
        ["report", str(source), "--labels", str(given), "-o", str(out), "--classes", classes, "--model", EVIL]
    )
    assert status == 0
    page = read(out)
    assert not {"script", "iframe", "object", "link"} & set(page.tags)
    assert not [
        a for a in page.attributes if a[1].startswith("on") or (a[0] == "img" and a[1] == "src" and a[2] == "x")
    ]
    assert any(EVIL.rstrip("\u202e\x07") in text and r"\u202e\u0007" in text for text in page.texts)


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    out = tmp_path / "gallery.html"
    assert main(["report", str(batch(tmp_path)), "-o", str(out)]) == 0
    content = out.read_text("utf-8")
    page = Page(content)
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy and "http" not in policy
    for tag, name, value in page.attributes:
        assert name not in ("href", "style", "srcset", "action"), tag
        assert name != "src" or (tag == "img" and value.startswith("data:image/jpeg;base64,"))


def test_gallery_of_a_batch_has_flags_and_no_names(tmp_path):
    out = tmp_path / "out" / "report.html"
    folder = batch(tmp_path, name=PATIENT)
    assert main(["report", str(folder), "-o", str(out)]) == 0
    page = read(out)
    assert "Mustermann" not in out.read_text("utf-8") and str(tmp_path) not in out.read_text("utf-8")
    titles = [text for text in page.texts if re.fullmatch(r"Study \d+", text)]
    assert titles == [f"Study {n}" for n in range(1, 9)]
    flags = [value for _, name, value in page.attributes if name == "data-flags"]
    assert flags == ["0"] * 5 + ["1", "1", "1"]
    assert "liver: small (0.25 times the median)" in page.texts
    values = [json.loads(value) for _, name, value in page.attributes if name == "data-values"]
    assert values[0] == [2.88, 1.44] and values[-1] == [None, None]
    assert page.tags.count("img") == 3 * 6
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert main(["report", str(folder), "-o", str(out), "--show-names"]) == 0
    texts = read(out).texts
    assert f"{PATIENT} 3.seg.nrrd" in texts and any("is damaged." in text for text in texts)


def test_gallery_shows_what_was_corrected_since_and_what_is_gone(tmp_path):
    folder, out = batch(tmp_path), tmp_path / "p.html"
    labels(folder / "case 1.seg.nrrd", tmp_path / "in" / "case 1.nii.gz", ("liver", "spleen"), edge=7)
    (folder / "case 2.seg.nrrd").unlink()
    (tmp_path / "in" / "case 3.nii.gz").unlink()
    assert main(["report", str(folder), "-o", str(out)]) == 0
    page = read(out)
    flags = [text for text in page.texts if text in ("changed since the run", "could not be shown")]
    assert flags == ["changed since the run", "could not be shown", "could not be shown"]
    assert "spleen" in page.texts and "2.52 mL" in page.texts


def test_overlapping_segments_keep_their_volumes(tmp_path):
    source = image(tmp_path / "x.nii.gz")
    masks = np.zeros((2, 6, 24, 20), bool)
    masks[0, 1:4, 2:10, 3:9] = masks[1, 2:5, 4:12, 3:9] = True
    write_segments(tmp_path / "x.seg.nrrd", masks, [Structure(1, "a"), Structure(2, "b")], read_volume(source))
    assert main(["report", str(source), "--labels", str(tmp_path / "x.seg.nrrd"), "-o", str(tmp_path / "p.html")]) == 0
    assert read(tmp_path / "p.html").texts.count("2.88 mL") == 2


def test_many_structures_and_long_names(tmp_path):
    source = image(tmp_path / "x.nii.gz")
    names = [f"{n} " + "long name " * 20 for n in range(1, 256)]
    array = np.zeros((6, 24, 20), np.uint8)
    array.reshape(-1)[:255] = range(1, 256)
    given = read_volume(source).with_array(array)
    write_labels(tmp_path / "x.seg.nrrd", given, [Structure(n, name) for n, name in enumerate(names, 1)])
    assert main(["report", str(source), "--labels", str(tmp_path / "x.seg.nrrd"), "-o", str(tmp_path / "p.html")]) == 0
    assert len([text for text in read(tmp_path / "p.html").texts if "long name" in text]) == 255


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{image}", "-o", "{folder}/p.html"], ("no labels", "--labels")),
        (["{image}", "--labels", "{labels}", "-o", "{folder}/p.pdf"], ("p.pdf", "ends in .html")),
        (["{image}", "--labels", "{labels}", "-o", "{folder}/none/p.html"], ("does not exist",)),
        (["{image}", "--labels", "{other}", "-o", "{folder}/p.html"], ("does not lie on the voxel grid",)),
        (["{folder}", "-o", "{folder}/p.html"], ("holds no",)),
        (["{damaged}", "-o", "{folder}/p.html"], ("manifest.json' is damaged",)),
    ],
)
def test_bad_input_is_named(tmp_path, capsys, arguments, words):
    source = image(tmp_path / "data" / "x.nii.gz")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_text('{"studies": [{"status": "done"}]}')
    places = {
        "image": source, "labels": labels(tmp_path / "data" / "x.seg.nrrd", source), "damaged": damaged,
        "folder": tmp_path, "other": image(tmp_path / "data" / "y.nii.gz", spacing=(3.0, 2.0, 5.0)),
    }  # fmt: skip
    assert main(["report", *(argument.format(**places) for argument in arguments)]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words), told
    assert not list(tmp_path.glob("p.*"))


def row(status="done", **ml):
    structures = [{"name": name, "voxels": round(100 * value), "ml": value} for name, value in ml.items()]
    return {"status": status, "structures": structures}


def test_flags():
    rows = [row(a=1.0 + n / 100, b=2.0) for n in range(6)]
    rows += [row(a=3.0, b=2.0), row(a=1.0, b=0), row(a=0, b=0), row("failed"), row("open")]
    assert flags_of(rows) == [[]] * 6 + [
        ["a: large (2.9 times the median)"], ["b: absent"], ["nothing found"], ["failed"], ["not done yet"],
    ]  # fmt: skip
    assert flags_of([row(a=1.0), row(a=9.0)]) == [[], []]  # of so few, none is unlike the others
    rare = [row(a=1.0, b=0)] * 5 + [row(a=1.0, b=1.0)]
    assert flags_of(rare) == [[]] * 6  # what most do not have is not missed


def test_escaped_in_the_title():
    from sam2adapt.reporting.page import text

    assert text(EVIL) == html.escape(EVIL[:-2]) + r"\u202e\u0007"
