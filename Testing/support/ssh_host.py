"""A host with a real sshd, as an ordinary process on a loopback port, with keys and settings of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if Path(path).exists()), None)
ENGINE = Path(__file__).resolve().parents[2] / "SAM2Adapt"
_PATIENCE = 30.0  # seconds


def needs_sshd() -> None:
    """Skip where no sshd can be started."""
    if SSHD is None or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("needs OpenSSH's client and server (Debian: openssh-server)")
    if os.geteuid() == 0 and not Path("/run/sshd").exists():
        try:
            Path("/run/sshd").mkdir(mode=0o755)  # where sshd of root separates its privileges
        except OSError:
            pytest.skip("sshd of root needs the folder /run/sshd")


class SshHost:
    """An sshd that knows one key; what logs in finds ``sam2adapt`` on its way, with a home of its own.

    :ivar name: as ``Ssh.command`` takes it; ``home``: SAM2ADAPT_HOME there.
    :ivar environment: for ssh, so that it uses the files of this folder and none of the user's.
    """

    def __init__(self, folder: Path, engine: str = "", **variables: str):
        needs_sshd()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.home = folder, folder / "home"
        self._keys()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        binaries = folder / "bin"
        binaries.mkdir()
        if engine != "missing":
            text = engine or f'exec {sys.executable} -m sam2adapt "$@"'
            (binaries / "sam2adapt").write_text(f"#!/bin/sh\n{text}\n")
            (binaries / "sam2adapt").chmod(0o755)
        known = {
            "PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(folder), "SAM2ADAPT_HOME": str(self.home),
            "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"),
        } | variables  # fmt: skip
        (folder / "tmp").mkdir()
        settings = [
            f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host_key", f"PidFile {folder}/pid",
            f"AuthorizedKeysFile {folder}/authorized", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            "UsePAM no", "StrictModes no", "PermitRootLogin yes", "LogLevel ERROR", "PrintMotd no",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in known.items()),
        ]  # fmt: skip
        (folder / "sshd_config").write_text("\n".join(settings) + "\n")
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(folder / "sshd.log").open("wb"),
        )  # fmt: skip
        self._client()
        self._wait()

    def _keys(self) -> None:
        for name in ("host_key", "key", "other_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True
            )  # fmt: skip
        shutil.copyfile(self.folder / "key.pub", self.folder / "authorized")

    def _client(self) -> None:
        """A command ``ssh`` that reads this folder's configuration in the place of the user's."""
        public = (self.folder / "host_key.pub").read_text("utf-8")
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")
        self.configure()
        client = self.folder / "client"
        client.mkdir()
        (client / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/config "$@"\n')
        (client / "ssh").chmod(0o755)
        self.environment = {"PATH": f"{client}:{os.environ['PATH']}", "SSH_AUTH_SOCK": ""}
        self.name = "gpu"

    def configure(self, key: str = "key", known: str = "known_hosts", port: int = 0, host: str = "127.0.0.1") -> None:
        """Write the client's configuration."""
        (self.folder / "config").write_text(
            f"Host gpu\n HostName {host}\n Port {port or self.port}\n IdentityFile {self.folder / key}\n"
            f" IdentitiesOnly yes\n UserKnownHostsFile {self.folder / known}\n GlobalKnownHostsFile /dev/null\n"
            " StrictHostKeyChecking accept-new\n"  # which the relay must overrule
        )

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    pytest.skip(f"sshd does not start here: {(self.folder / 'sshd.log').read_text('utf-8')}")
                time.sleep(0.05)

    def close(self) -> None:
        """Stop sshd."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_PATIENCE)


def relay(*arguments: str, place: str = "gpu", silence: float = 30) -> tuple[str, ...]:
    """The command of a relay."""
    module = "SAM2AdaptLib.Engine.Remote.Relay"
    return (sys.executable, "-u", "-m", module, "--place", place, "--silence", str(silence), *arguments)


def engines(home: Path) -> list[int]:
    """Process numbers of the engines of a host, by the home that they have."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"SAM2ADAPT_HOME={home}".encode() in (folder / "environ").read_bytes().split(
                b"\0"
            ):
                line = (folder / "cmdline").read_bytes()
                if b"sam2adapt" in line and b"ssh" not in line.split(b"\0")[0]:
                    found.append(int(folder.name))
        except OSError:
            continue
    return found


def until(condition, what: str = "it did not happen", patience: float = 120) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
