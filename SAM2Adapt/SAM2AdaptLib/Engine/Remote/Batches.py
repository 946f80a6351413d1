"""Batches on another computer: which files of folders and lists are sent, and how they lie there.

They lie as here, below the deepest folder that all share, so that the outputs get the names that they get here.
"""

import hashlib
import os
from pathlib import Path

from sam2adapt.shared import paths
from sam2adapt.shared.errors import InputFileError
from sam2adapt.shared.files import atomic_write, make_folder, write_json
from sam2adapt.shared.labels.image_names import FILE_SUFFIXES, SEGMENTATION, suffix_of
from sam2adapt.shared.manifest_table import table
from sam2adapt.shared.study_lists import inputs_of, results_in, shared_folder

from SAM2AdaptLib.Engine.Remote.Outgoing import voxelFiles

_IMAGES = FILE_SUFFIXES - {SEGMENTATION}
_DICOM = ("", ".dcm", ".ima", ".dic", ".dicom")
_OUTPUT = "out"


def message(outgoing, params, place):
    """What is sent for a batch: its parameters, the tree of its files, and which folder there is its own.

    :param outgoing: ``Outgoing.Outgoing`` of the request.
    :param params: of ``segmentBatch``, with paths of this computer.
    :param place: where the engine is.
    :return: dict of fields of the message.
    :raises UserError: there is nothing to segment, or a file cannot be read.
    """
    output = Path(os.path.abspath(params["output"]))
    inputs = inputs_of(params["inputs"], output)
    if not inputs:
        raise InputFileError("There is no volume to segment.", "Give image files, folders, or a CSV list of them.")
    for path in inputs:
        if not paths.exists(path):
            raise InputFileError(f"'{path}' does not exist.", "Check the spelling of its name and folder.")
    make_folder(output)
    root = shared_folder(inputs)
    files = sorted({file for path in inputs for file in _filesOf(path, output)})
    tree = outgoing.folder(root, files)
    name = tree["name"]
    packed = outgoing.packed({key: value for key, value in params.items() if key not in ("inputs", "output")})
    packed["inputs"] = [
        {"inside": path.relative_to(root).parts, "name": name, "token": outgoing.token(path)} for path in inputs
    ]
    present = [file.relative_to(output).as_posix() for file in results_in(output)]
    outgoing.returnedFolder = outgoing.token(output)
    packed["output"] = {"returnedFolder": _OUTPUT, "token": outgoing.returnedFolder, "present": present}
    own = hashlib.sha256(f"{place}\0{root}\0{output}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return {"params": packed, "tree": tree, "remote": {"batch": own}}


def writeManifest(output, result):
    """Write the manifest of a batch, as the engine does where it has its files.

    :param result: of ``segmentBatch``, with paths of this computer.
    :raises OutputError: it cannot be written.
    """
    content = {key: value for key, value in result.items() if key != "stopped"}
    write_json(Path(output) / "manifest.json", content)
    with atomic_write(Path(output) / "manifest.csv") as file:
        file.write(table(content["studies"]).encode("utf-8-sig", "replace"))  # Excel recognises UTF-8 by this mark


def _filesOf(path, output):
    """The files of an input that are images, or may be, with the files of their voxels."""
    if not paths.is_dir(path):
        yield path
        yield from voxelFiles(path)
        return
    for root, folders, names in paths.walk(path):
        folders[:] = [name for name in folders if _isSearched(root / name, output)]
        for name in names:
            file = root / name
            if not name.startswith(".") and (suffix_of(name) in _IMAGES or _mayBeDicom(file)):
                yield file
                yield from voxelFiles(file)


def _isSearched(folder, output):
    return not folder.name.startswith(".") and folder != output and not paths.exists(folder / ".sam2adapt")


def _mayBeDicom(file):
    if suffix_of(file) == SEGMENTATION or not paths.is_file(file):
        return False
    if suffix_of(file) in _DICOM:
        return True
    with paths.open_file(file) as start:
        return start.read(132)[128:] == b"DICM"
