"""A broken or evil engine on another computer: one sentence here, and nothing written but what was asked for."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from serve_client import Client
from ssh_host import relay

# Greets, wants no file of those it is offered (or what FILES says), and answers a request as the test says.
FAR = """
import json, os, sys
from sam2adapt.shared.stream import frames
out = sys.stdout.buffer
def say(message): out.write(frames.message({"jsonrpc": "2.0", **message})); out.flush()
def raw(data): out.write(data); out.flush()
def file(data, sha256=None, **facts):
    import hashlib
    say({"method": "file", "params": {"number": 1, **facts}})
    raw(frames.piece(1, 0, len(data), data))
    end = {"number": 1, "bytes": len(data), "sha256": sha256 or hashlib.sha256(data).hexdigest()}
    say({"method": "fileEnd", "params": end})
raw(frames.greeting({"protocols": [2], "version": "9", "host": "far"}))
reader = frames.FrameReader(lambda count: os.read(0, count))
GREETED
while frame := reader.frame():
    if frame[0] != frames.MESSAGE:
        continue
    message = frames.parsed(frame[1])
    number, params = message.get("id"), message.get("params")
    if message["method"] == "hello":
        say({"method": "ready", "params": {"pid": 1, "version": "9", "protocol": 2}})
    elif message["method"] == "offer":
        say({"id": number, "result": OFFERED})
    elif number:
        def done(result={}): say({"id": number, "result": result})
        ACT
"""
DATA = 'b"evil"'
DIGEST = "0" * 64


def engine(act: str = "done()", offered: str = "[]", greeted: str = "") -> list[str]:
    act = act.replace("\n", "\n        ")
    return [sys.executable, "-c", FAR.replace("ACT", act).replace("OFFERED", offered).replace("GREETED", greeted)]


@pytest.fixture
def user(tmp_path) -> Path:
    """A folder of the user with an image, its results of before and other files."""
    folder = tmp_path / "user"
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    np.save(folder / "v.npy", np.zeros((2, 8, 8), np.int16))
    for name in ("in/a.nrrd", "out/letter.docx"):
        (folder / name).write_bytes(b"mine")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sentence(user: Path, method: str, far: list[str]) -> tuple[str, str]:
    """Kind and sentence of what a request ends with, without a defect, and with nothing written."""
    before = content(user)
    image = {"array": str(user / "v.npy"), "origin": [0] * 3, "spacing": [1] * 3, "direction": [1, *[0, 0, 0, 1] * 2]}
    params = {
        "fill": {"input": image, "drawings": str(user / "v.npy"), "masks": str(user / "m.npy")},
        "segmentBatch": {"inputs": [str(user / "in")], "output": str(user / "out"), "model": "torso-ct"},
        "rank": {"input": image, "model": "torso-ct"},
    }[method]
    with Client(relay("--command", *far), SAM2ADAPT_HOME=str(user.parent / "home"), TMPDIR=str(user)) as client:
        first = client.receive()
        if first["method"] == "ready":
            running = client.send(method, **params)
            while (message := client.receive()).get("id") != running and message.get("method") != "failed":
                pass
        else:
            message = first
        assert "result" not in message, message
        error = message.get("error") or message["params"]
        client.process.stdin.close()
        client.ended()
    assert content(user) == before and sorted(path.name for path in user.iterdir()) == ["in", "out", "v.npy"]
    assert content(user.parent / "home") == {}
    assert error["data"]["remedy"]
    return error["data"]["kind"], error["message"]


UNWANTED = {
    "an input's own file": ("fill", 'file(DATA, token=params["input"]["array"]["token"])'),
    "an unknown token": ("fill", 'file(DATA, token="{sam2adapt-000000000000}")'),
    "a token that is none": ("fill", "file(DATA, token=[1])"),
    "beside a file": ("fill", 'file(DATA, token=params["masks"]["token"], path=["..", "evil"])'),
    "the inputs of a batch": ("segmentBatch", 'file(DATA, token=params["inputs"][0]["token"], path=["a.nrrd"])'),
    "above a folder": ("segmentBatch", 'file(DATA, token=params["output"]["token"], path=["..", "a.nrrd"])'),
    "from the root": ("segmentBatch", 'file(DATA, token=params["output"]["token"], path=["/nowhere/a.nrrd"])'),
    "a hidden file": ("segmentBatch", 'file(DATA, token=params["output"]["token"], path=[".x.nrrd"])'),
    "no result": ("segmentBatch", 'file(DATA, token=params["output"]["token"], path=["letter.docx"])'),
    "the folder": ("segmentBatch", 'file(DATA, token=params["output"]["token"])'),
    "no names": ("segmentBatch", 'file(DATA, token=params["output"]["token"], path=[7])'),
    "slices without a training": ("fill", f'file(DATA, kept="replay", digest="{DIGEST}")'),
    "an unknown kind": ("fill", f'file(DATA, kept="bashrc", digest="{DIGEST}")'),
}


@pytest.mark.parametrize("case", UNWANTED)
def test_files_that_nobody_wants_are_refused(user, case):
    method, act = UNWANTED[case]
    found = sentence(user, method, engine(act.replace("DATA", DATA) + "\ndone()"))
    assert found == ("RemoteError", "The engine there sent a file that nobody wanted.")


LARGE = {
    "the masks of a filling": ("fill", 'file(b"x" * 20_000, token=params["masks"]["token"])'),
    "a result of a batch": (
        "segmentBatch",
        """say({"method": "file", "params": {"number": 1, "token": params["output"]["token"], "path": ["a.seg.nrrd"]}})
for _ in range(70): raw(frames.piece(1, 1, 1 << 20, frames.packing.pack(bytes(1 << 20), 1)))""",
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_files_that_are_larger_than_the_request_can_give_are_refused(user, case):
    """Or a disk would be filled: half a file is not left either."""
    method, act = LARGE[case]
    kind, text = sentence(user, method, engine(f"{act}\ndone()"))
    assert kind == "RemoteError" and "which the request cannot give" in text, text


def test_a_batch_has_no_more_results_than_files(user):
    act = """for name in ("a", "b", "c"): file(b"x", token=params["output"]["token"], path=[name + ".seg.nrrd"])"""
    with Client(relay("--command", *engine(act)), SAM2ADAPT_HOME=str(user.parent / "home")) as client:
        client.receive()
        client.send("segmentBatch", inputs=[str(user / "in")], output=str(user / "out"), model="torso-ct")
        assert "nobody wanted" in client.receive()["params"]["message"]
    assert len(list((user / "out").iterdir())) <= 3  # the letter; the image's; one more, for the model is a file, too


BEGIN = 'say({"method": "file", "params": {"number": 1, "token": params["masks"]["token"]}})'
BROKEN = {
    "a wrong hash": ('file(b"x", "0" * 64, token=params["masks"]["token"])', "a file is not what was sent"),
    "a huge frame": ('raw(b"M" + b"\\xff" * 8)', "4294967295 bytes"),
    "an unknown frame": ('raw(b"X" + b"\\0" * 8)', "a frame of kind b'X'"),
    "a piece of nothing": ('raw(frames.piece(9, 0, 1, b"x"))', "a piece of a file that did not begin"),
    "a piece that grows": (f"{BEGIN}\nraw(frames.piece(1, 1, 1 << 30, b'x'))", "a piece of a file is broken"),
    "one number twice": (f"{BEGIN}\n{BEGIN}", "two files have one number"),
    "a file without facts": ('say({"method": "file"})', "cannot be understood"),
    "facts that are none": ('say({"method": "file", "params": [1]})', "cannot be understood"),
    "no result and no error": ('say({"id": number})', "without a result"),
    "an error that is none": ('say({"id": number, "error": 5})', "cannot be understood"),
    "a path of its own": ('done({"output": "/etc/passwd"})', "names a file that was not asked for"),
    "a preview of its own": ('say({"method": "progress", "params": {"id": number, "preview": "/etc/passwd"}})',
                             "names a file that was not asked for"),
    "a model of its own": ('done({"bundle": "/etc/passwd"})', "names a file that was not asked for"),
    "a series of its own": ('done(["/etc/passwd"])', "names a file that was not asked for"),
    "half a frame": ("raw(frames.message({})[:-1]); sys.exit()", "in the middle of a frame"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_messages_that_make_no_sense_end_the_connection_with_a_sentence(user, case):
    act, words = BROKEN[case]
    kind, text = sentence(user, "fill", engine(act))
    assert kind == "RemoteError" and words in text, text


def test_a_batch_cannot_point_out_of_its_folder(user):
    for output, image in (("../../etc/passwd", "in/a.nrrd"), ("a.nrrd", "/etc/passwd"), ("a.nrrd", "in/../../passwd")):
        row = {"output": output, "input": str(user / image), "series": ""}
        kind, text = sentence(user, "segmentBatch", engine(f"done({{'studies': [{json.dumps(row)}], 'counts': {{}}}})"))
        assert kind == "RemoteError" and "names a file that was not asked for" in text, row


def test_only_files_that_were_offered_are_sent(user):
    kind, text = sentence(user, "rank", engine(offered=f"['{DIGEST}']"))
    assert kind == "RemoteError" and "not offered" in text
    kind, text = sentence(user, "rank", engine(offered="{'a': 1}"))
    assert kind == "RemoteError" and "not offered" in text


@pytest.mark.parametrize(
    "greeted", ["raw(b'[' * 100000)", "raw(frames.frame(b'M', b'[' * 99999))", "say({'method': 'ready', 'params': 3})"]
)
def test_a_greeting_that_makes_no_sense_is_said(user, greeted):
    kind, text = sentence(user, "rank", engine(greeted=f"{greeted}; sys.exit()"))
    assert kind == "RemoteError" and text
