"""Looks at the file system: whatever lies at a path, the answer is a value or a sentence, and it comes at once.

Cases that need a process run in one: names for which ITK would end it, streams of other encodings, a user without
rights.
The guards answer before torch is imported; the processes say so themselves.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.imaging.volume import read_labels, read_volume, write_volume
from sam2adapt.modelfiles import catalog
from sam2adapt.server import methods
from sam2adapt.server.task import Task
from sam2adapt.server.warm_models import WarmModels
from sam2adapt.shared import files, paths
from sam2adapt.shared.errors import DownloadError, InputFileError, OutputError, SettingsError

ENGINE = Path(paths.__file__).parents[1]
BAD = os.fsdecode(b"a\xff.nrrd")
POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes, rights and names of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 exist on Linux")
GUARDED = "import sys; from sam2adapt.cli.app import main; s = main(); assert 'torch' not in sys.modules; sys.exit(s)"
NOBODY = 65534


def sam2adapt(*arguments, **environment) -> subprocess.CompletedProcess:
    """The command line in a process of its own, which must answer without torch."""
    return subprocess.run(
        [sys.executable, "-c", GUARDED, *map(str, arguments)],
        capture_output=True, env=os.environ | environment, timeout=60, check=False,
    )  # fmt: skip


def assert_refused(done: subprocess.CompletedProcess, *words: str) -> None:
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 2, said
    assert "Traceback" not in said and said.count("sam2adapt: ") == 1, said
    for word in words:
        assert word in said, said


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "image.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5)), str(path))
    return path


@pytest.fixture
def pipe(tmp_path) -> Path:
    path = tmp_path / "pipe.nrrd"
    os.mkfifo(path)
    return path


# ---- the helper


def test_what_is_there_and_what_is_not(image, tmp_path):
    assert paths.exists(image) and paths.is_file(image) and not paths.is_dir(image)
    assert paths.exists(tmp_path) and paths.is_dir(tmp_path) and not paths.is_file(tmp_path)
    assert not paths.exists(tmp_path / "none") and not paths.exists(image / "below a file")
    assert paths.listing(tmp_path) == [image] and paths.listing(tmp_path / "none") == []
    assert paths.read_bytes(image) == image.read_bytes()


@pytest.mark.parametrize("look", [paths.exists, paths.is_dir, paths.is_file, paths.check_file, paths.read_bytes])
@pytest.mark.parametrize("name", ["x" * 300, "null\0character", "circle"])
def test_a_path_that_cannot_be_examined_is_a_sentence(look, name, tmp_path):
    if name == "circle":
        (tmp_path / name).symlink_to(name)
    with pytest.raises(InputFileError) as caught:
        look(tmp_path / name)
    assert name[:10] in caught.value.message and caught.value.remedy


@POSIX
@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "folder"])
def test_only_regular_files_are_read(path, pipe, tmp_path):
    path = {"pipe": pipe, "folder": tmp_path}.get(path, Path(path))
    assert not paths.is_file(path)
    for read in (paths.check_file, paths.open_file, paths.read_bytes, paths.read_text, files.hash_file):
        with pytest.raises(InputFileError, match=r"is a (pipe|device|folder)\."):
            read(path)


@POSIX
def test_homes_that_nobody_has(monkeypatch):
    with pytest.raises(InputFileError, match="nobody9"):
        paths.expand("~nobody9/model.safetensors")
    with pytest.raises(InputFileError, match="nobody9"):
        catalog.find_model("~nobody9/model.safetensors")
    monkeypatch.delenv("SAM2ADAPT_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    with pytest.raises(SettingsError, match="no home folder") as caught:
        files.home()
    assert "SAM2ADAPT_HOME" in caught.value.remedy


def test_the_engine_looks_at_files_only_through_the_helper():
    """``pathlib`` raises OSError where the helper has a sentence, and waits for pipes."""
    looks = {"exists", "is_dir", "is_file", "iterdir", "glob", "rglob", "stat", "expanduser", "home", "walk",
             "listdir", "scandir", "isfile", "isdir", "lstat", "read_text", "read_bytes"}  # fmt: skip
    allowed = {"paths", "look", "files", "card"}  # modules with safe functions of these names
    found = []
    for file in sorted(ENGINE.rglob("*.py")):
        if file == Path(paths.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in looks:
                owner = node.func.value
                own_file = any(word in ast.unparse(owner) for word in ("__file__", "resources.files("))
                if not own_file and not (isinstance(owner, ast.Name) and owner.id in allowed):
                    found.append(f"{file.relative_to(ENGINE)}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)


# ---- inputs


@POSIX
@pytest.mark.parametrize(
    "read",
    [
        read_volume, read_labels, catalog.find_model, catalog.add_model,
        lambda path: methods.call(WarmModels(), Task(1, "segment", {
            "input": {"array": str(path), "origin": [0] * 3, "spacing": [1] * 3, "direction": [*np.eye(3).ravel()]},
            "labels": f"{path.parent}/labels.npy", "model": "none"}, lambda *_: None)),
    ],
    ids=["volume", "labels", "model", "models add", "array of the server"],
)  # fmt: skip
def test_a_pipe_is_refused_at_once(read, pipe, home):
    with pytest.raises(InputFileError, match=r"pipe\.nrrd' is a pipe\."):
        read(pipe)


@POSIX
def test_a_pipe_among_models_is_a_broken_model(home):
    (home / "models").mkdir()
    os.mkfifo(home / "models" / "pipe.safetensors")
    (entry,) = [entry for entry in catalog.list_models() if entry.where == "own"]
    assert "is a pipe" in str(entry.error)
    with pytest.raises(DownloadError, match="is a pipe"):
        catalog.download_base("tiny", home / "models" / "pipe.safetensors")


@LINUX
@pytest.mark.parametrize("name", [BAD, os.fsdecode(b"a\xff.jpg"), os.fsdecode(b"folder\xff/a.nii.gz")])
def test_names_that_are_not_utf8_never_reach_itk(name, image, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image.read_bytes())
    for read in (read_volume, read_labels):
        with pytest.raises(InputFileError, match="not valid UTF-8"):
            read(path)
    with pytest.raises(OutputError, match="not valid UTF-8"):
        write_volume(path.with_suffix(".nrrd"), read_volume(image))


@LINUX
@pytest.mark.parametrize("command", ["segment", "segment -o", "segment --uncertainty", "rank", "evaluate", "train"])
def test_the_process_outlives_names_that_are_not_utf8(command, image, tmp_path, home):
    bad = tmp_path / "images" / BAD
    bad.parent.mkdir()
    bad.write_bytes(image.read_bytes())
    output, model = tmp_path / "out.nrrd", ("--model", "none")
    bad_output = tmp_path / os.fsdecode(b"out\xff.nrrd")
    arguments = {
        "segment": ("segment", bad, "-o", output, *model),
        "segment -o": ("segment", image, "-o", bad_output, *model),
        "segment --uncertainty": ("segment", image, "-o", output, "--uncertainty", bad_output, *model),
        "rank": ("rank", bad, *model),
        "evaluate": ("evaluate", "--images", bad.parent, "--labels", bad.parent, *model),
        "train": ("train", "--images", bad.parent, "--labels", bad.parent, "-o", tmp_path / "m.safetensors"),
    }[command]
    assert_refused(sam2adapt(*arguments), "not valid UTF-8")


# ---- outputs


@pytest.mark.parametrize(
    ("name", "word"),
    [("none/out.json", "does not exist"), ("file/out.json", "not a folder"), ("folder", "is a folder"),
     ("x" * 250, "name too long"), ("null\0", "null")],
)  # fmt: skip
def test_an_output_that_cannot_be_written_is_refused_and_nothing_is_left(name, word, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=f"(?i){word}"):
        files.check_output(tmp_path / name)
    files.check_output(tmp_path / "good.json")
    assert sorted(tmp_path.rglob("*")) == before


@POSIX
def test_a_pipe_is_no_output(pipe):
    with pytest.raises(OutputError, match="it is a pipe"):
        files.check_output(pipe)


@pytest.mark.parametrize("option", ["segment -o", "segment --uncertainty", "segment --json", "rank --json",
                                    "evaluate --json", "evaluate --csv", "train -o"])  # fmt: skip
def test_outputs_are_proved_before_the_work(option, image, tmp_path, home):
    command, flag = option.split()
    taken = tmp_path / "taken.nrrd"
    if option == "segment -o":  # where a folder means a batch
        taken, named = tmp_path / "none" / "out.nrrd", tmp_path / "none"
    else:
        named = taken
        taken.mkdir()
    cases = ("--images", image.parent, "--labels", image.parent)
    arguments = {
        "segment": (image, "--model", "none", *(() if flag == "-o" else ("-o", tmp_path / "out.nrrd"))),
        "rank": (image, "--model", "none"), "evaluate": (*cases, "--model", "none"), "train": cases,
    }[command]  # fmt: skip
    assert_refused(sam2adapt(command, *arguments, flag, taken), f"'{named}'")


@pytest.mark.parametrize("manifest", ["manifest.json", "manifest.csv"])
def test_a_batch_proves_its_manifests_before_the_work(manifest, image, bundle_file, tmp_path):
    from sam2adapt.batch.segment_folder import segment_folder

    (tmp_path / "out" / manifest).mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder"):
        segment_folder(image, tmp_path / "out", bundle_file)


def test_a_batch_proves_each_output_before_its_study(image, bundle_file, tmp_path, monkeypatch):
    from sam2adapt.batch import segment_folder as batch

    (tmp_path / "out" / "image.seg.nrrd").mkdir(parents=True)
    monkeypatch.setattr(batch, "segment", lambda *_: pytest.fail("the work began"))
    summary = batch.segment_folder(image, tmp_path / "out", bundle_file)
    assert "is a folder" in summary.failures[0]["message"]


@pytest.mark.parametrize("key", ["labels", "uncertainty"])
def test_the_server_proves_outputs_before_it_reads(key, tmp_path):
    (tmp_path / "taken").mkdir()
    array = {"array": "none.npy", "origin": [0] * 3, "spacing": [1] * 3, "direction": np.eye(3).ravel().tolist()}
    params = {"labels": str(tmp_path / "labels.npy"), "input": array, "model": "none"} | {key: str(tmp_path / "taken")}
    with pytest.raises(OutputError, match="is a folder"):
        methods.call(WarmModels(), Task(1, "segment", params, lambda *_: None))


# ---- rights


@POSIX
def test_a_user_without_rights_gets_sentences(image, tmp_path, tmp_path_factory):
    """All in one child that drops its rights: root, as which containers run tests, may do everything."""
    closed, listed, dicom = (tmp_path / name for name in ("closed", "listed", "dicom"))
    for folder in (closed, listed, dicom):
        folder.mkdir()
        (folder / "a.nrrd").write_bytes(image.read_bytes())
    (dicom / "a.nrrd").unlink()
    (dicom / "slice").write_bytes(b"\0" * 128 + b"DICM")
    (dicom / "slice").chmod(0)
    closed.chmod(0)
    listed.chmod(0o444)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() != "root" or str(folder).startswith(str(tmp_path_factory.getbasetemp().parent)):
            folder.chmod(folder.stat().st_mode | 0o055)
    output = subprocess.run([sys.executable, "-c", _AS_NOBODY, *map(str, (closed, listed, dicom, tmp_path))],
                            capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    for folder in (closed, listed):
        folder.chmod(0o755)
    if output.returncode == 77:
        pytest.skip(output.stderr.strip())
    assert output.returncode == 0, output.stderr
    said = json.loads(output.stdout)
    assert all(kind in ("InputFileError", "OutputError") for kind, _ in said.values()), said
    for name in ("exists", "read_volume", "is_dir", "find_model", "walk"):
        assert "Permission denied" in said[name][1], said
    assert "slice" in said["list_series"][1] and "slice" in said["batch"][1]
    assert "listed" in said["batch of a folder that is listed only"][1]
    assert "Permission denied" in said["output"][1]


_AS_NOBODY = f"""
import json, os, sys
from pathlib import Path
from sam2adapt.modelfiles import catalog
from sam2adapt.shared import files
from sam2adapt.batch.studies import find_studies
from sam2adapt.imaging.dicom import list_series
from sam2adapt.shared.errors import UserError
from sam2adapt.shared import paths
from sam2adapt.imaging.volume import read_volume
if os.geteuid() == 0:
    try:
        os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
    except OSError as error:
        print(f"rights cannot be dropped here: {{error}}", file=sys.stderr); sys.exit(77)
closed, listed, dicom, root = map(Path, sys.argv[1:])
if not os.access(dicom, os.X_OK):
    print("the folder of the tests cannot be reached without rights", file=sys.stderr); sys.exit(77)
def problem(inputs):
    raise next(study.problem for study in find_studies([inputs], root / "out") if study.problem)
said = {{}}
for name, try_it in {{
    "exists": lambda: paths.exists(closed / "a.nrrd"),
    "is_dir": lambda: paths.is_dir(closed / "a.nrrd"),
    "walk": lambda: list(paths.walk(closed)),
    "read_volume": lambda: read_volume(closed / "a.nrrd"),
    "find_model": lambda: catalog.find_model(str(closed / "m.safetensors")),
    "list_series": lambda: list_series(dicom),
    "batch": lambda: problem(dicom),
    "batch of a folder that is listed only": lambda: read_volume(find_studies([listed], root / "out")[0].source),
    "output": lambda: files.check_output(root / "out.json"),
}}.items():
    try:
        try_it()
        said[name] = ["nothing", ""]
    except UserError as error:
        said[name] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""


# ---- printing


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_printing_never_fails(encoding, tmp_path):
    """A list whose broken model has a name that the encoding lacks, as text and as JSON."""
    names = ["Müller Ω.safetensors", *([os.fsdecode(b"a\xff.safetensors")] if sys.platform == "linux" else [])]
    (tmp_path / "models").mkdir()
    for name in names:
        (tmp_path / "models" / name).write_bytes(b"none")
    for options in ((), ("--json",)):
        done = sam2adapt("models", *options, SAM2ADAPT_HOME=str(tmp_path), PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode(encoding)
        if options:
            assert {Path(row["path"]).name for row in json.loads(text)["models"]} >= set(names[:1])
        else:
            assert ("Müller Ω" if encoding == "utf-8" else "ller \\u03a9") in text
