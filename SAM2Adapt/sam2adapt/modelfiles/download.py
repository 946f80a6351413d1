"""Download a file, continue after a break, and check its SHA-256 before it gets its name."""

import contextlib
import errno
import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .. import __version__
from ..shared import paths
from ..shared.errors import CancelledError, ChecksumError, DownloadError, InputFileError
from ..shared.files import hash_file, make_folder, megabytes, output_error

# Seconds to wait after each attempt that brought nothing; after the last one, the download has failed.
PAUSES = (1.0, 3.0, 10.0)
TIMEOUT = 30.0
_CHUNK = 1 << 18
# Space that must stay free, so that a download never fills the disk completely.
_SPARE = 50_000_000
_COPY = "download the file on another computer and use that copy."
_OFFLINE = f"Check the network and the proxy (HTTPS_PROXY), or {_COPY}"


class _BrokenError(Exception):
    """The connection broke, or the server is busy; another attempt may help."""


class _StaleError(Exception):
    """The part from an earlier attempt is not the beginning of this file."""


def download(
    url: str,
    path: Path,
    sha256: str,
    size: int,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Download a file; it appears at ``path`` only after its SHA-256 was checked.

    What has arrived is kept as ``<name>.part``, and the next call continues it. ``urllib`` takes the proxies of the
    environment and the system.

    :param url: ``https://`` or ``file://`` address, ``http://`` on this computer only, or a path.
    :param path: where to put the file; its folder is made.
    :param sha256: 64 hex digits; ``size``: bytes.
    :param progress: called with (bytes done, bytes in all); ``cancel``: called between pieces, true stops.
    :return: ``path``.
    :raises DownloadError: no network, refused by the server, no space, no such local file.
    :raises ChecksumError: another file than expected arrived; it is deleted.
    :raises CancelledError: ``cancel()`` returned true. :raises OutputError: the file cannot be written.
    """
    path = Path(path)
    if _size(path) == size and hash_file(path, cancel) == sha256:
        return path
    make_folder(path.parent)
    transfer = _Transfer(str(url), path.with_name(path.name + ".part"), size, progress, cancel)
    local = _local_source(str(url))
    _check_space(transfer.part, size)
    try:
        if local is not None:
            transfer.copy(local)
        else:
            transfer.receive_whole(sha256)
        transfer.check(sha256)
        os.replace(transfer.part, path)
    except OSError as error:
        raise output_error(path, error) from error
    return path


@dataclass(frozen=True)
class _Transfer:
    """The transfer of a file from ``url`` to ``part``, which will be ``size`` bytes long."""

    url: str
    part: Path
    size: int
    progress: Callable[[int, int], None] | None
    cancel: Callable[[], bool] | None

    @property
    def have(self) -> int:
        """Bytes that have arrived."""
        return _size(self.part)

    def receive_whole(self, sha256: str) -> None:
        """Fill the part from the network; start again if the part of an earlier call belongs to another file."""
        resumed = self.have > 0
        self.receive()
        if resumed and hash_file(self.part, self.cancel) != sha256:
            self.part.unlink()
            self.receive()

    def receive(self) -> None:
        """Fill the part from the network, with new attempts if they may help."""
        begun, failures = self.have, 0
        while (have := self.have) < self.size:
            try:
                self._connect(have)
            except _StaleError:
                self.part.unlink()
            except _BrokenError as error:
                now = self.have
                failures = 1 if now > have else failures + 1
                # Without a network nothing ever arrives, and the user should learn this soon.
                if failures > (len(PAUSES) if now != begun else 1):
                    raise DownloadError(
                        f"'{self.url}' could not be downloaded: {error}.", _OFFLINE, setting="source"
                    ) from error
                self._pause(PAUSES[failures - 1])
        if begun >= self.size:
            self._report(begun)

    def copy(self, source: Path) -> None:
        """Fill the part from a local file."""
        try:
            with paths.open_file(source) as file:
                size = os.fstat(file.fileno()).st_size
                if size != self.size:
                    raise ChecksumError(
                        f"'{source}' is not the expected file: it has {size} bytes instead of {self.size}.",
                        "Get it again.",
                    )
                if paths.exists(self.part) and source.samefile(self.part):
                    return
                self._copy_open(file)
        except InputFileError as error:
            raise DownloadError(error.message, "Check the path of the local copy.") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) or error.filename == str(self.part):
                raise
            raise DownloadError(
                f"'{source}' cannot be read: {error.strerror or error}.", "Check the path of the local copy."
            ) from error

    def check(self, sha256: str) -> None:
        """Delete and refuse a part with another SHA-256."""
        digest = hash_file(self.part, self.cancel)
        if digest != sha256:
            self.part.unlink()
            raise ChecksumError(
                f"'{self.url}' is not the expected file: its SHA-256 is {digest} instead of {sha256}.",
                "Download it again, or from the address of its publisher.",
            )

    def _connect(self, have: int) -> None:
        """Append the data of one connection."""
        self._check_cancel()
        headers = {"User-Agent": f"sam2adapt/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with _translated(self.url, have):
            # Not urlopen, which keeps the proxies of its first call.
            opener = urllib.request.build_opener()
            response = opener.open(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT)
        with response:
            _check_encrypted(response.geturl())  # where it was redirected to
            have = self._start(response, have)
            with self.part.open("ab" if have else "wb") as file:
                while have < self.size:
                    self._check_cancel()
                    with _translated(self.url, have):
                        chunk = response.read1(min(_CHUNK, self.size - have))
                    if not chunk:
                        raise _BrokenError(f"the connection ended after {have} of {self.size} bytes")
                    file.write(chunk)
                    have += len(chunk)
                    self._report(have)

    def _start(self, response: http.client.HTTPResponse, have: int) -> int:
        """Where in the file the answer begins; an answer of another length, such as a log-in page, is refused."""
        start = 0
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            start = have
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise _StaleError
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and start + int(length) != self.size:
            if start:
                raise _StaleError
            kind = response.headers.get("Content-Type", "unknown type")
            raise DownloadError(
                f"'{self.url}' is not the expected file: {length} bytes of {kind} instead of {self.size} bytes.",
                f"Check whether the network asks you to log in, or {_COPY}",
                setting="source",
            )
        return start

    def _copy_open(self, file: BinaryIO) -> None:
        with self.part.open("wb") as target:
            while chunk := file.read(_CHUNK):
                self._check_cancel()
                target.write(chunk)
                self._report(target.tell())

    def _report(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.size)

    def _check_cancel(self) -> None:
        if self.cancel is not None and self.cancel():
            raise CancelledError(
                f"The download of '{self.part.name.removesuffix('.part')}' was stopped.",
                "What has arrived is kept; start the download again to continue it.",
            )

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check_cancel()
            time.sleep(min(0.1, left))


def _local_source(url: str) -> Path | None:
    """Path of a local source; None for one in the network."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("http", "https"):
        _check_encrypted(url)
        return None
    if parts.scheme == "file":
        # For a Windows share, the host is the server: file://server/share/name.
        host = "" if parts.netloc in ("", "localhost") else f"//{parts.netloc}"
        return Path(urllib.request.url2pathname(host + parts.path))
    if "://" in url:
        raise DownloadError(f"'{url}' is not an address to download from.", "Use https://, file:// or a path.")
    return paths.expand(url)


def _check_encrypted(url: str) -> None:
    """Refuse addresses that others on the way can read and change; this computer itself is no way.

    :raises DownloadError: it is one.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise DownloadError(f"'{url}' is not encrypted.", "Use an https:// address.")


@contextlib.contextmanager
def _translated(url: str, have: int) -> Iterator[None]:
    """Turn all failures of a connection into three: try again, start over, give up."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            raise _StaleError from error
        if error.code in (408, 429) or error.code >= 500:
            raise _BrokenError(f"the server answered {error.code} {error.reason}") from error
        raise DownloadError(
            f"The server refused '{url}': {error.code} {error.reason}.", _OFFLINE, setting="source"
        ) from error
    except http.client.InvalidURL as error:
        raise DownloadError(f"'{url}' is not a valid address: {error}.", "Correct the address.") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"The certificate of '{url}' is not trusted here ({reason.verify_message}).",
                f"Set SSL_CERT_FILE to the certificate of your institution's network, or {_COPY}",
                setting="source",
            ) from error
        raise _BrokenError(str(reason) or type(reason).__name__) from error


def _check_space(part: Path, size: int) -> None:
    missing = size - _size(part)
    free = shutil.disk_usage(part.parent).free
    if missing > 0 and free < missing + _SPARE:
        raise DownloadError(
            f"The disk of '{part.parent}' has {megabytes(free)} left, and {megabytes(missing + _SPARE)} are needed.",
            "Free some space, or set the environment variable SAM2ADAPT_HOME to a folder on another disk.",
        )


def _size(path: Path) -> int:
    return paths.check_file(path).st_size if paths.is_file(path) else 0
