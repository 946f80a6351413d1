"""An engine server that computes nothing and can misbehave in every way that a real one might.

Options: --slow SECONDS before "ready"; --import NAME, a package to import at start; --exit CODE at start;
--pid NUMBER, which it says is its own; --launcher, to start the real thing as a child and wait for it, as Slicer's
Python does.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

#: Only SIGKILL ends it.
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"

output = sys.stdout.buffer
controls = queue.Queue()


def write(data):
    output.write(data)
    output.flush()


def say(**message):
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def read(requests):
    for line in sys.stdin.buffer:
        message = json.loads(line)
        (controls if message["method"] in ("control", "cancel") else requests).put(message)
    os._exit(0)


def echo(number, params):
    say(id=number, result=params)


def environment(number, params):
    say(id=number, result=dict(os.environ))


def progress(number, params):
    for done in range(params["count"]):
        say(method="progress", params={"id": number, "done": done})
    say(method="progress", params={"id": -1, "done": "of another request"})
    say(method="log", params={"level": "warning", "message": "Memory ran out."})
    say(id=number, result=None)


def pieces(number, params):
    """The answer in single bytes, characters of several bytes unescaped."""
    for byte in json.dumps({"jsonrpc": "2.0", "id": number, "result": params}, ensure_ascii=False).encode():
        write(bytes([byte]))
        time.sleep(0.002)
    write(b"\n")


def garbage(number, params):
    write(b'Loading weights...\n\n[1, 2]\n{"a": 1}\n\xff\xfe\n42\n{"jsonrpc"\n')
    say(id=number + 1000, result="of nobody")
    say(method="unknown", params={})
    say(id=number, result="after garbage")


def huge(number, params):
    say(id=number, result="x" * params["size"])


def error(number, params):
    say(id=number, error=params)


def unreadable(number, params):
    say(id=None, error={"code": -32700, "message": "The line is not JSON."})


def half(number, params):
    write(b'{"jsonrpc": "2.0", "id"')
    os._exit(3)


def die(number, params):
    print("\n".join(params["words"]), file=sys.stderr, flush=True)
    os.kill(os.getpid(), params["signal"])


def sleep(number, params):
    """Never answers; tells the numbers of this process and of as many children, each in a session of its own."""
    pids = [os.getpid()]
    for _ in range(params.get("children", 0)):
        command = [sys.executable, "-c", SLEEPER]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        child.stdout.readline()
        pids.append(child.pid)
    say(method="progress", params={"id": number, "pids": pids})
    time.sleep(600)


def told(number, params):
    """Repeats what it is told about itself, until that is to stop."""
    say(method="progress", params={"id": number, "action": None})
    for message in iter(controls.get, None):
        say(method="progress", params=message["params"])
        if message["params"]["action"] == "stop":
            say(id=number, result=sorted(message))
            return


def preview(number, params):
    """Gives a first answer, and the error of a cancelled request once it is cancelled."""
    say(method="preview", params={"id": number, "masks": "first.npy"})
    message = controls.get()
    assert message["method"] == "cancel" and message["params"] == {"id": number}
    say(method="progress", params={"id": number, "done": "too late"})
    say(id=number, error={"code": 1, "message": "Cancelled.", "data": {"kind": "CancelledError"}})


METHODS = {
    function.__name__: function
    for function in (
        echo,
        environment,
        progress,
        pieces,
        garbage,
        huge,
        error,
        unreadable,
        half,
        die,
        sleep,
        told,
        preview,
    )
}


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def main():
    if "--launcher" in sys.argv:
        sys.argv.remove("--launcher")
        sys.exit(subprocess.run([sys.executable, *sys.argv], check=False).returncode)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if code := option("--exit"):
        print("cannot go on", file=sys.stderr)
        sys.exit(int(code))
    if name := option("--import"):
        __import__(name)
    time.sleep(float(option("--slow") or 0))
    os.setpgid(0, 0)
    requests = queue.Queue()
    threading.Thread(target=read, args=(requests,), daemon=True).start()
    say(method="ready", params={"pid": int(option("--pid") or os.getpid()), "version": "0", "protocol": 1})
    while True:
        request = requests.get()
        METHODS[request["method"]](request["id"], request["params"])


main()
