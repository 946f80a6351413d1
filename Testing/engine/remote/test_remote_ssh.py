"""Through a real sshd: each thing that can be missing has a sentence of its own, and nothing outlives a broken link."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from SAM2AdaptLib.Engine.Remote import Ssh, Wheel
from serve_client import Client
from ssh_host import SshHost, engines, needs_sshd, relay, until

ARGUMENTS = "from SAM2AdaptLib.Engine.Remote import Ssh; import sys\nprint(chr(10).join(Ssh.command(sys.argv[1])))"

GEOMETRY = {"origin": [0, 0, 0], "spacing": [1, 1, 1], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    needs_sshd()
    host = SshHost(tmp_path_factory.mktemp("ssh") / "host")
    yield host
    host.close()


@pytest.fixture
def connect(host):
    """A function that connects through ssh; the client's configuration is as it was afterwards."""
    clients = []

    def start(*arguments: str, silence: float = 30, **variables: str) -> Client:
        command = relay(*(arguments or ("--host", "gpu")), silence=silence)
        clients.append(Client(command, **host.environment | variables))
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__()
    host.configure()
    until(lambda: not engines(host.home), "an engine is left there")


def failure(client: Client) -> str:
    """The sentence with which a relay says that there is no engine."""
    message = client.receive()
    assert message["method"] == "failed", message
    assert message["params"]["data"]["kind"] == "RemoteError" and message["params"]["data"]["remedy"]
    assert client.ended() == 0
    return message["params"]["message"]


def test_each_reason_has_its_own_sentence(host, connect, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    found = [failure(connect(PATH=str(empty)))]
    for change in ({"host": "no-such-host.invalid"}, {"known": "unknown"}, {"key": "other_key"}, {"port": 1}):
        host.configure(**change)
        found.append(failure(connect()))
    host.configure()
    (host.folder / "changed").write_text(
        f"[127.0.0.1]:{host.port} {(host.folder / 'other_key.pub').read_text('utf-8')}"
    )  # fmt: skip
    host.configure(known="changed")
    found.append(failure(connect()))
    host.configure()
    engine = host.folder / "bin" / "sam2adapt"
    kept = engine.read_text("utf-8")
    try:
        for text in (
            "exit 127",
            "echo 'error: unrecognized arguments: --stream' >&2; exit 2",
            "echo \"ModuleNotFoundError: No module named 'monai'\" >&2; exit 1",
            """echo 'SAM2ADAPT-STREAM {"protocols": [9], "version": "9.0"}'; sleep 5""",
            "echo Killed by rule >&2; exit 3",
        ):  # fmt: skip
            engine.write_text(f"#!/bin/sh\n{text}\n")
            found.append(failure(connect()))
    finally:
        engine.write_text(kept)
    words = (
        "no ssh on this computer", "no host of this name", "does not know the host's key", "refused the key",
        "does not answer", "not the one that this computer knows", "no engine there", "another version",
        "'monai' is missing", "speaks protocol 9", "did not start: Killed by rule",
    )  # fmt: skip
    assert [word for word, text in zip(words, found, strict=True) if word not in text] == [], found
    assert len(set(found)) == len(words)
    kept = host.folder / Ssh._WHEEL  # sent where the engine is missing, for the line that installs it
    assert kept.read_bytes() == Wheel.build() and kept.stat().st_mode & 0o077 == 0
    assert list(kept.parent.iterdir()) == [kept]
    assert not (host.folder / "unknown").exists()  # no key was accepted, though the user's configuration says so


def test_an_engine_that_cannot_be_sent_is_said(host, connect):
    """As on a host whose disk is full: nothing is left there of what did not arrive whole."""
    engine = host.folder / "bin" / "sam2adapt"
    kept, folder = engine.read_text("utf-8"), host.folder / ".sam2adapt"
    shutil.rmtree(folder, ignore_errors=True)
    (host.folder / "bin" / "cat").write_text("#!/bin/sh\nhead -c 100\necho cat: No space left on device >&2\n")
    (host.folder / "bin" / "cat").chmod(0o755)
    try:
        engine.write_text("#!/bin/sh\nexit 127\n")
        text = failure(connect())
    finally:
        engine.write_text(kept)
        (host.folder / "bin" / "cat").unlink()
    assert text == "There is no engine there. Its files could not be sent: cat: No space left on device."
    assert list(folder.iterdir()) == []


def test_a_login_that_talks_does_not_disturb(host, connect):
    engine = host.folder / "bin" / "sam2adapt"
    kept = engine.read_text("utf-8")
    engine.write_text(kept.replace("#!/bin/sh\n", "#!/bin/sh\necho Welcome to the cluster\necho '{\"jsonrpc\"'\n"))
    try:
        client = connect()
        assert client.receive()["method"] == "ready"
    finally:
        engine.write_text(kept)


def test_options_and_shells_cannot_be_reached_by_the_name_of_a_host():
    code = [sys.executable, "-c", ARGUMENTS]
    words = subprocess.run([*code, "user@gpu-1.example.org"], check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    assert words[0] == "ssh" and words[-4:-2] == ["--", "user@gpu-1.example.org"]
    given = dict(words[i + 1].split("=") for i, word in enumerate(words) if word == "-o")
    assert (given["BatchMode"], given["StrictHostKeyChecking"], given["UpdateHostKeys"]) == ("yes", "yes", "no")
    for host in ("-oProxyCommand=x", "a b", "a;b", "a@-b", "$(a)", "`a`", "a\nb", "a|b", "a'b", "ssh://-x", ""):
        assert subprocess.run([*code, host], capture_output=True, check=False).returncode == 1, host


@pytest.mark.parametrize("how", ["kill relay", "kill ssh", "stop ssh", "stop engine", "kill engine", "close input"])
def test_nothing_stays_there_when_the_link_breaks(host, connect, how):
    client = connect(silence=4)
    client.receive()
    (engine,) = engines(host.home)
    children = ["pgrep", "-P", str(client.process.pid)]
    ssh = list(map(int, subprocess.run(children, capture_output=True, text=True, check=True).stdout.split()))
    if how == "kill relay":
        client.process.kill()
    elif how == "close input":
        client.process.stdin.close()
    elif how == "kill ssh":
        os.kill(ssh[0], signal.SIGKILL)
    elif how == "stop ssh":
        os.kill(ssh[0], signal.SIGSTOP)
    else:
        os.kill(engine, signal.SIGKILL if how == "kill engine" else signal.SIGSTOP)
    if how not in ("kill relay", "close input"):
        text = failure(client)
        assert text.startswith("The connection to the engine was lost (")
        assert ("nothing was heard" in text) == how.startswith("stop")
    if how == "stop engine":
        os.kill(engine, signal.SIGCONT)  # what is stopped cannot end by itself; it does as soon as it can
    until(lambda: not engines(host.home), "an engine is left there")
    until(lambda: not Path(f"/proc/{ssh[0]}").exists() or how == "kill relay", "ssh is left here")


def test_requests_end_with_one_sentence_when_the_link_breaks_while_voxels_cross(host, connect, tmp_path):
    """The engine dies at some byte of a volume on its way."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "v.npy", rng.integers(-1000, 1000, (40, 512, 512), dtype=np.int16))
    image = GEOMETRY | {"array": str(tmp_path / "v.npy")}
    client = connect()
    client.receive()
    running = client.send("segment", model="torso-ct", input=image, labels=str(tmp_path / "l.npy"))
    while client.progress(running)["stage"] != "sending":
        pass
    os.kill(engines(host.home)[0], signal.SIGKILL)
    assert "lost" in failure_after(client)
    assert not (tmp_path / "l.npy").exists() and not list(tmp_path.glob(".*part"))


def failure_after(client: Client) -> str:
    """The sentence of a relay, after whatever comes before it."""
    while True:
        message = client.receive()
        if message.get("method") == "failed":
            return message["params"]["message"]


def test_places_for_engines_are_limited_and_free_again(host, connect, tmp_path):
    engine, places = host.folder / "bin" / "sam2adapt", tmp_path / "places"
    places.mkdir()
    (places / "1").touch(mode=0o444)
    kept = engine.read_text("utf-8")
    engine.write_text(kept.replace("exec", f"SAM2ADAPT_ENGINES={places} exec", 1))
    try:
        first, second = connect(), connect()
        for client in (first, second):
            assert client.receive()["method"] == "ready"
        assert first.result("warmUp") == {}
        error = second.error("warmUp")
        assert error["message"] == "That computer already runs as many engines as it may: 1."
        assert second.result("kept")  # what needs no place goes on
        first.process.kill()
        until(lambda: "error" not in second.answer(second.send("warmUp")))
    finally:
        engine.write_text(kept)


def test_users_of_one_host_do_not_see_each_others_data(host, connect, tmp_path):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root to become another user")
    client = connect()
    client.receive()
    np.save(tmp_path / "v.npy", np.zeros((2, 32, 32), np.int16))
    image = GEOMETRY | {"array": str(tmp_path / "v.npy")}
    client.answer(
        client.send("segment", model="torso-ct", input=image, labels=str(tmp_path / "l.npy"), anyModality=True)
    )
    secret = [path for path in [*host.home.rglob("*"), *(host.folder / "tmp").rglob("*")] if path.is_file()]
    assert len(secret) >= 2
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for path in secret:
        for parent in host.folder.parents:  # pytest's own folders are private, too
            if parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        read = subprocess.run([*other, "cat", str(path)], capture_output=True, check=False)
        assert read.returncode != 0 and not read.stdout, path


def test_a_slow_link_carries_everything(host, tmp_path):
    """A network namespace with 4 Mbit/s; skipped where none can be made."""
    if os.geteuid() != 0 or not shutil.which("tc") or not shutil.which("ip"):
        pytest.skip("needs root, ip and tc")
    name = f"remote{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    inside, sshd = ["ip", "netns", "exec", name], None
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)
        slow = ["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "4mbit", "burst", "32k", "latency", "400ms"]
        if subprocess.run([*inside, *slow], capture_output=True, check=False).returncode:
            pytest.skip("this kernel has no slow links")
        sshd = subprocess.Popen([*inside, "/usr/sbin/sshd", "-D", "-e", "-f", str(host.folder / "sshd_config")],
                                stderr=subprocess.DEVNULL)  # fmt: skip
        listening = [*inside, "sh", "-c", f"echo | nc -w 1 127.0.0.1 {host.port} | grep -q SSH"]
        if shutil.which("nc"):
            until(lambda: not subprocess.run(listening, check=False, capture_output=True).returncode)
        else:
            time.sleep(5)
        np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(0, 9, (10, 256, 256)).astype(np.int16))
        image = GEOMETRY | {"array": str(tmp_path / "v.npy")}
        with Client([*inside, *relay("--host", "gpu")], **host.environment) as client:
            assert client.receive()["method"] == "ready"
            answer = client.answer(
                client.send("segment", model="torso-ct", input=image, labels=str(tmp_path / "l.npy"), anyModality=True)
            )
            assert "result" in answer and np.load(tmp_path / "l.npy").shape == (10, 256, 256)
    finally:
        if sshd:
            sshd.terminate()
            sshd.wait(30)
        subprocess.run(["ip", "netns", "del", name], check=False)
        until(lambda: not engines(host.home))


def test_the_remote_commands_are_constant_and_have_no_name_in_them():
    for command in (Ssh.REMOTE_COMMAND, Ssh.keepWheel(7)):
        assert re.fullmatch(r"exec sh -c '[^']*'", command)
    with pytest.raises(ValueError):
        Ssh.keepWheel("7; x")


def test_ssh_speaks_english_whatever_the_user_speaks(host, connect, tmp_path):
    """``Diagnosis`` reads what ssh says."""
    (tmp_path / "ssh").write_text(
        f"#!/bin/sh\necho $LC_ALL $LANGUAGE >{tmp_path}/said\necho Quite unheard of >&2; exit 255\n"
    )
    (tmp_path / "ssh").chmod(0o755)
    text = failure(connect(PATH=f"{tmp_path}:{os.environ['PATH']}", LC_ALL="de_DE.UTF-8", LANGUAGE="de"))
    assert (tmp_path / "said").read_text("utf-8") == "C C\n"
    assert text == "The engine there did not start: Quite unheard of."  # what is not known is shown as it is
