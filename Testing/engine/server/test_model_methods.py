"""The server's methods for models and base weights, each on real files in a home folder of its own."""

import hashlib
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sam2adapt.modelfiles import catalog
from sam2adapt.modelfiles.card import read_card
from sam2adapt.requests.models import describe_model
from sam2adapt.shared.requests.model_actions import DescribeModel
from serve_client import Client, assert_refused, patched

WEIGHTS = bytes(range(256)) * 4000
TORSO = catalog.find_model("torso-ct")
PATCH = f"""
import dataclasses
from sam2adapt.shared.known_bases import BASES
small = dict(bytes={len(WEIGHTS)}, sha256="{hashlib.sha256(WEIGHTS).hexdigest()}")
BASES["tiny"] = dataclasses.replace(BASES["tiny"], **small)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with Client(patched(PATCH), SAM2ADAPT_HOME=str(home)) as client:
        client.receive()
        yield client, home


@pytest.fixture
def server(shared):
    client, home = shared
    yield client
    for folder in ("models", "bases"):
        shutil.rmtree(home / folder, ignore_errors=True)


@pytest.fixture
def user_home(shared, server) -> Path:
    return shared[1]


def listed(server, name: str = "torso-ct") -> list[dict]:
    """Rows of the models of a name, those of the user first."""
    return [row for row in server.result("models") if row["name"] == name]


def test_list_says_all_that_a_panel_shows(server):
    (row,) = listed(server)
    card = read_card(TORSO)
    assert row == {
        "name": "torso-ct", "version": card["version"], "path": str(TORSO), "where": "bundled",
        "description": card["description"], "modality": "CT", "structures": ["right lung", "left lung"],
        "license": card["license"], "dice": card["metrics"]["dice"], "basePresent": True, "base": "nano",
        "method": card["method"]["name"], "digest": card["digest"], "problem": None,
    }  # fmt: skip


def test_broken_model_is_listed_with_its_problem(server, user_home):
    (user_home / "models").mkdir()
    (user_home / "models" / "broken.safetensors").write_bytes(b"no model at all")
    (row,), (bundled,) = listed(server, "broken"), listed(server)
    assert "not a safetensors file" in row["problem"]
    assert row.keys() == bundled.keys()


def test_add_and_remove(server, user_home, tmp_path):
    path = tmp_path / "gift.safetensors"
    shutil.copy(TORSO, path)
    row = server.result("addModel", path=str(path))
    assert (row["name"], row["where"]) == ("torso-ct", "own")
    assert Path(row["path"]).parent == user_home / "models"
    assert Path(row["path"]).read_bytes() == TORSO.read_bytes()
    assert [entry["where"] for entry in listed(server)] == ["own", "bundled"]
    assert server.result("removeModel", name="torso-ct") == {"removed": [row["path"]]}
    assert [entry["where"] for entry in listed(server)] == ["bundled"]
    assert_refused(server.error("removeModel", name="torso-ct"), "SettingsError", "cannot be removed")
    assert_refused(server.error("removeModel", name="torso-mr"), "ModelNotFoundError", "torso-mr")


def test_file_that_was_tampered_with_is_not_added(server, user_home, tmp_path):
    data = bytearray(TORSO.read_bytes())
    data[-100] ^= 1
    path = tmp_path / "tampered.safetensors"
    path.write_bytes(data)
    assert_refused(server.error("addModel", path=str(path)), "ModelFileError", "was changed")
    path.write_bytes(data[:-1000])
    assert_refused(server.error("addModel", path=str(path)), "ModelFileError", "cut off")
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert_refused(server.error("addModel", path=str(path)), "ModelFileError", "pickle")
    assert_refused(server.error("addModel", path=str(tmp_path / "no.safetensors")), "InputFileError", "no.safetensors")
    assert not (user_home / "models").exists()


def test_export_gives_the_same_file(server, tmp_path):
    target = tmp_path / "for a friend.safetensors"
    assert server.result("exportModel", name="torso-ct", path=str(target)) == {"path": str(target)}
    assert target.read_bytes() == TORSO.read_bytes()


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [
        ("torso-ct", "model.pt", "OutputError"),
        ("torso-ct", "nowhere/model.safetensors", "OutputError"),
        ("torso-cd", "model.safetensors", "ModelNotFoundError"),
    ],
)
def test_export_that_is_not_possible(name, target, kind, server, tmp_path):
    assert_refused(server.error("exportModel", name=name, path=str(tmp_path / target)), kind, "")
    assert not list(tmp_path.iterdir())


def test_details_are_those_of_info(server):
    details = server.result("modelDetails", name="torso-ct")
    assert details["card"] == read_card(TORSO)
    assert details["text"] == "\n".join(describe_model(DescribeModel(name="torso-ct"))[1])
    assert server.result("modelDetails", name="tiny")["card"] is None
    assert_refused(server.error("modelDetails", name="nothing"), "ModelNotFoundError", "nothing")


def test_download_from_a_local_copy_and_removal(server, user_home, tmp_path):
    (tmp_path / "copy.pt").write_bytes(WEIGHTS)
    download = server.send("downloadBase", base="tiny", source=str(tmp_path / "copy.pt"))
    path = user_home / "bases" / "sam2.1_hiera_tiny.pt"
    assert server.answer(download)["result"] == {"base": "tiny", "path": str(path)}
    assert path.read_bytes() == WEIGHTS
    progress = server.seen_of("progress", download)
    assert {p["stage"] for p in progress} == {"downloading"}
    assert (progress[-1]["done"], progress[-1]["total"]) == (len(WEIGHTS), len(WEIGHTS))
    present = {base["id"]: base["present"] for base in server.result("bases")}
    assert present == {"nano": True, "tiny": True, "small": False, "base_plus": False, "large": False}
    assert server.result("removeBase", base="tiny") == {"removed": [str(path)]}
    assert_refused(server.error("removeBase", base="tiny"), "WeightsMissingError", "tiny")
    assert_refused(server.error("removeBase", base="nano"), "SettingsError", "nano")


def test_download_of_something_else(server, user_home, tmp_path):
    (tmp_path / "copy.pt").write_bytes(WEIGHTS[::-1])
    error = server.error("downloadBase", base="tiny", source=str(tmp_path / "copy.pt"))
    assert_refused(error, "ChecksumError", "copy.pt")
    assert_refused(server.error("downloadBase", base="huge"), "WeightsMissingError", "huge")
    assert not (user_home / "bases" / "sam2.1_hiera_tiny.pt").exists()


class _Drip(BaseHTTPRequestHandler):
    """Sends the weights so slowly that whoever waits loses patience."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        try:
            for start in range(0, len(WEIGHTS), 1000):
                self.wfile.write(WEIGHTS[start : start + 1000])
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        """Say nothing."""


def test_download_is_cancelled_and_what_came_is_kept(server, user_home):
    with HTTPServer(("127.0.0.1", 0), _Drip) as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{source.server_port}/tiny.pt"
        download = server.send("downloadBase", base="tiny", source=address)
        while not server.progress(download)["done"]:
            pass
        server.send("cancel", id=download)
        assert_refused(server.answer(download)["error"], "CancelledError", "stopped")
        source.shutdown()
    (part,) = (user_home / "bases").iterdir()
    assert part.suffix == ".part"
    assert WEIGHTS.startswith(part.read_bytes())
