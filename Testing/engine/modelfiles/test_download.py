"""Downloads from a server on this machine that behaves as bad networks do."""

import contextlib
import errno
import hashlib
import http.server
import os
import re
import ssl
import threading
import urllib.error

import pytest
from sam2adapt.modelfiles import download as module
from sam2adapt.modelfiles.download import download
from sam2adapt.shared.errors import CancelledError, ChecksumError, DownloadError, OutputError

CONTENT = bytes(range(256)) * 8192 + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.content``; ``server.faults`` holds what goes wrong with the next requests, in turn."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        fault = server.faults.pop(0) if server.faults else None
        if isinstance(fault, int) and fault >= 400:
            self.send_error(fault)
            return
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and fault != "no ranges":
            start = int(asked[1])
            if start >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if fault == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        body = server.content[start:]
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # A number below 400 is the share of the rest, in percent, after which the connection breaks.
        if isinstance(fault, int):
            body = body[: len(body) * fault // 100]
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as instance:
        instance.content, instance.faults, instance.ranges = CONTENT, [], []
        instance.url = f"http://127.0.0.1:{instance.server_port}/weights.pt"
        thread = threading.Thread(target=instance.serve_forever, args=(0.01,))
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "weights.pt"


def part_of(target):
    return target.with_name("weights.pt.part")


def is_complete(target) -> bool:
    return target.read_bytes() == CONTENT and os.listdir(target.parent) == ["weights.pt"]


def test_whole_file_with_progress(server, target):
    seen = []
    assert download(server.url, target, SHA256, SIZE, progress=lambda *step: seen.append(step)) == target
    assert is_complete(target)
    assert seen == sorted(set(seen))
    assert len(seen) > 2
    assert seen[-1] == (SIZE, SIZE)
    assert server.ranges == [None]


def test_file_that_is_there_is_not_fetched_again(server, target):
    download(server.url, target, SHA256, SIZE)
    download(server.url, target, SHA256, SIZE)
    assert len(server.ranges) == 1


def test_damaged_file_that_is_there_is_fetched_again(server, target):
    target.parent.mkdir()
    target.write_bytes(b"x" * SIZE)
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)


def test_broken_connection_is_continued(server, target):
    server.faults = [50, 503, 40]
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)
    starts = [int(r[6:-1]) for r in server.ranges[1:]]
    assert starts[0] == starts[1] == SIZE // 2 < starts[2] < SIZE


def test_earlier_download_is_continued(server, target):
    server.faults = [30, *[500] * 10]
    with pytest.raises(DownloadError, match="500"):
        download(server.url, target, SHA256, SIZE)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[: SIZE * 30 // 100]
    server.faults, server.ranges[:] = [], []
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)
    assert server.ranges == [f"bytes={SIZE * 30 // 100}-"]


def test_part_that_is_whole_needs_no_network(target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    seen = []
    download("http://127.0.0.1:9/", target, SHA256, SIZE, progress=lambda *step: seen.append(step))
    assert is_complete(target)
    assert seen == [(SIZE, SIZE)]


def test_connection_that_always_breaks_at_once_fails_in_the_end(server, target):
    server.faults = [0] * 20
    with pytest.raises(DownloadError, match=f"ended after 0 of {SIZE} bytes"):
        download(server.url, target, SHA256, SIZE)
    assert len(server.ranges) == 2


@pytest.mark.parametrize("fault", ["no ranges", "wrong range"])
def test_server_that_cannot_continue(server, target, fault):
    server.faults = [50, fault]
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)


def test_answer_without_length(server, target):
    server.faults = ["no length"]
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)


@pytest.mark.parametrize("kept", [b"x" * 1000, b"x" * SIZE, b"x" * (SIZE + 5)])
def test_kept_part_of_another_file_is_replaced(server, target, kept):
    target.parent.mkdir()
    part_of(target).write_bytes(kept)
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)


def test_wrong_bytes_are_deleted(server, target):
    server.content = bytes(SIZE)
    with pytest.raises(ChecksumError, match=SHA256):
        download(server.url, target, SHA256, SIZE)
    assert os.listdir(target.parent) == []


def test_wrong_bytes_after_a_kept_part_are_deleted(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1000])
    server.content = bytes(SIZE)
    with pytest.raises(ChecksumError, match=SHA256):
        download(server.url, target, SHA256, SIZE)
    assert os.listdir(target.parent) == []
    assert server.ranges == ["bytes=1000-", None]


def test_log_in_page_instead_of_the_file(server, target):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(DownloadError, match=f"26 bytes of unknown type instead of {SIZE} bytes"):
        download(server.url, target, SHA256, SIZE)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("code", [403, 404, 410])
def test_refusal_is_told_at_once(server, target, code):
    server.faults = [code]
    with pytest.raises(DownloadError, match=f"refused .* {code}"):
        download(server.url, target, SHA256, SIZE)
    assert len(server.ranges) == 1


def test_no_network(target, monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0,))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="could not be downloaded") as caught:
        download("http://127.0.0.1:9/weights.pt", target, SHA256, SIZE)
    assert "use that copy" in caught.value.remedy and caught.value.setting == ("source",)


def test_untrusted_certificate(target, monkeypatch):
    def refuse(*args, **kwargs):
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = "self-signed certificate in certificate chain"
        raise urllib.error.URLError(error)

    monkeypatch.setattr(module.urllib.request.OpenerDirector, "open", refuse)
    with pytest.raises(DownloadError, match="self-signed") as caught:
        download("https://example.org/weights.pt", target, SHA256, SIZE)
    assert "SSL_CERT_FILE" in caught.value.remedy


def test_proxy_of_the_environment_is_used(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.rsplit("/", 1)[0])
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download("http://127.0.0.1:9/weights.pt", target, SHA256, SIZE)
    assert is_complete(target)


@pytest.mark.parametrize("url", ["ftp://example.org/x", "s3://bucket/x", "http://127.0.0.1/a b"])
def test_address_that_cannot_work(target, url):
    with pytest.raises(DownloadError, match="address"):
        download(url, target, SHA256, SIZE)


@pytest.mark.parametrize("way", ["address", "redirection"])
def test_nothing_comes_unencrypted_from_another_computer(way, target, monkeypatch):
    plain = "http://example.org/weights.pt"

    class Redirected:
        def geturl(self):
            return plain

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(module.urllib.request.OpenerDirector, "open", lambda *args, **kwargs: Redirected())
    with pytest.raises(DownloadError, match=r"example\.org/weights\.pt' is not encrypted"):
        download(plain if way == "address" else "https://example.org/weights.pt", target, SHA256, SIZE)
    assert not target.exists()


def test_cancel_keeps_what_has_arrived(server, target):
    done = 0

    def progress(now, total):
        nonlocal done
        done = now

    with pytest.raises(CancelledError):
        download(server.url, target, SHA256, SIZE, progress=progress, cancel=lambda: done > SIZE // 3)
    assert not target.exists()
    kept = part_of(target).read_bytes()
    assert SIZE // 3 < len(kept) < SIZE
    assert CONTENT.startswith(kept)
    download(server.url, target, SHA256, SIZE)
    assert is_complete(target)


def test_cancel_while_waiting_for_another_attempt(server, target, monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (3600.0,))
    server.faults = [500] * 10
    with pytest.raises(CancelledError):
        download(server.url, target, SHA256, SIZE, cancel=lambda: len(server.ranges) > 0)


def test_full_disk_is_told_before(server, target, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": SIZE})())
    with pytest.raises(DownloadError, match=r"2\.1 MB left, and 52 MB are needed"):
        download(server.url, target, SHA256, SIZE)
    assert server.ranges == []


def test_disk_that_fills_up_on_the_way(server, target, monkeypatch):
    def full(self, done):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module._Transfer, "_report", full)
    with pytest.raises(OutputError, match="disk is full"):
        download(server.url, target, SHA256, SIZE)
    assert not target.exists()


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be made"):
        download(server.url, tmp_path / "file" / "weights.pt", SHA256, SIZE)


# Local copies


@pytest.mark.parametrize("form", ["path", "uri"])
def test_local_copy(tmp_path, target, form):
    source = tmp_path / "stick ü 100%" / "copy.pt"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    seen = []
    address = str(source) if form == "path" else source.as_uri()
    download(address, target, SHA256, SIZE, progress=lambda *step: seen.append(step))
    assert is_complete(target)
    assert seen[-1] == (SIZE, SIZE)
    assert source.read_bytes() == CONTENT


def test_local_copy_that_is_the_part(target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    download(str(part_of(target)), target, SHA256, SIZE)
    assert is_complete(target)


def test_local_copy_that_is_missing_or_a_folder(tmp_path, target):
    for source, word in ((tmp_path / "no.pt", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(DownloadError, match=word):
            download(str(source), target, SHA256, SIZE)


def test_local_copy_of_another_file(tmp_path, target):
    source = tmp_path / "copy.pt"
    source.write_bytes(CONTENT[:-1])
    with pytest.raises(ChecksumError, match=f"{SIZE - 1} bytes instead of {SIZE}"):
        download(str(source), target, SHA256, SIZE)
    source.write_bytes(bytes(SIZE))
    with pytest.raises(ChecksumError, match="SHA-256"):
        download(str(source), target, SHA256, SIZE)
    assert os.listdir(target.parent) == []


def test_local_copy_cancelled(tmp_path, target):
    source = tmp_path / "copy.pt"
    source.write_bytes(CONTENT)
    with pytest.raises(CancelledError):
        download(str(source), target, SHA256, SIZE, cancel=lambda: True)
    assert not target.exists()
