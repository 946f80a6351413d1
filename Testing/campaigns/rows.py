"""The rows of the table of faults, each tried on the real command line or server of an engine, this one or an older.

``python Testing/campaigns/rows.py`` prints a Markdown table; ``--engine FOLDER`` takes the engine of another checkout
("FOLDER/SAM2Adapt"), ``--only WORD`` the rows whose name holds the word.
"""

import argparse
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from model_files import nested, rewritten

ENGINE = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds
HELD, FELL = "held", "fell"
GRID = {"origin": [0, 0, 0], "spacing": [1, 1, 1], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}
BUNDLED = "hippocampus-mr"


class Trial:
    """One row at work: a folder, and the engine that is tried."""

    def __init__(self, engine: Path, folder: Path):
        self.engine, self.folder, self.home = engine, folder, folder / "home"
        (self.home / "models").mkdir(parents=True)
        self.environment = os.environ | {
            "PYTHONPATH": str(engine / "SAM2Adapt"), "SAM2ADAPT_HOME": str(self.home), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    @property
    def model(self) -> Path:
        """A model that comes with SAM2Adapt."""
        return self.engine / "SAM2Adapt" / "Resources" / "Models" / f"{BUNDLED}.safetensors"

    def start(self, *arguments, **options) -> subprocess.Popen:
        """The command line, running; its streams are pipes."""
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
        command = [sys.executable, "-u", "-m", "sam2adapt", *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, start_new_session=True, **streams)

    def run(self, *arguments) -> tuple[int | str, str]:
        """What a command came to ("hung": after the patience it was killed), and all that it printed."""
        process = self.start(*arguments, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            said = process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return "hung", process.communicate()[0].decode(errors="replace")
        return process.returncode, said.decode(errors="replace")

    def refused(self, *arguments) -> tuple[str, str]:
        """Whether a command refuses with one sentence and no traceback."""
        status, said = self.run(*arguments)
        held = status == 2 and "Traceback" not in said
        return HELD if held else FELL, f"exit {status}: {said.strip().splitlines()[-1][:150] if said.strip() else ''}"

    def image(self, name: str = "image.nrrd", size: int = 24) -> Path:
        """A small image of a bright ball."""
        grid = np.indices((8, size, size)) - np.array([4, size / 2, size / 2])[:, None, None, None]
        ball = (np.square(grid).sum(0) < (size / 4) ** 2).astype(np.int16)
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 50, ball.shape, np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(400 * ball + noise), str(self.folder / name))
        labels = Path(str(self.folder / name).replace("images", "labels"))
        if "images" in name:
            labels.parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(ball.astype(np.uint8)), str(labels))
        return self.folder / name

    def training(self, output: Path, *more) -> tuple:
        """A training of a few seconds."""
        for name in ("MUSTERMANN_ERIKA", "DOE_JOHN"):
            self.image(f"images/{name}.nrrd")
        return (
            "train", "--images", self.folder / "images", "--labels", self.folder / "labels", "--classes", "1=ball",
            "--method", "head", "--size", 32, "--crop", 32, "--modality", "MR", "--device", "cpu", "-o", output, *more,
        )  # fmt: skip


def ask(server: subprocess.Popen, number: int, method: str, **params) -> dict | str:
    """The answer to a request; "died" or "hung" where there is none."""
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    found: list[dict] = []

    def read() -> None:
        for line in server.stdout:
            answer = json.loads(line)
            if answer.get("id") == number:
                found.append(answer)
                return

    server.stdin.write(json.dumps(message).encode() + b"\n")
    server.stdin.flush()
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if found:
        return found[0]
    return "hung" if server.poll() is None and thread.is_alive() else "died"


def in_words(answer: dict | str) -> str:
    """An answer for the table."""
    if isinstance(answer, str):
        return answer
    if "result" in answer:
        return "answered"
    error = answer["error"]
    return f"{error.get('data', {}).get('kind')}: {error['message'][:110]}"


def is_clean(answer: dict | str) -> bool:
    """Whether an answer is a result, or an error that a user can mend."""
    return isinstance(answer, dict) and ("result" in answer or answer["error"]["code"] == 1)


def deep_card(trial: Trial) -> tuple[str, str]:
    path = trial.folder / "deep.safetensors"
    rewritten(trial.model, path, lambda card: card["training"]["settings"].update(deep=nested(490)))
    server = trial.start("serve", stderr=subprocess.DEVNULL)
    answer, after = ask(server, 1, "modelDetails", name=str(path)), ask(server, 2, "models")
    server.kill()
    held = is_clean(answer) and is_clean(after)
    return HELD if held else FELL, f"{in_words(answer)}; next request: {in_words(after)}"


def shrinking_array(trial: Trial) -> tuple[str, str]:
    array = trial.folder / "input.npy"
    np.save(array, np.random.default_rng(0).integers(0, 900, (60, 256, 256), np.int16))
    server = trial.start("serve", stderr=subprocess.DEVNULL)
    params = {"input": {"array": str(array), **GRID, "modality": "MR"}, "model": BUNDLED,
              "labels": str(trial.folder / "labels.npy")}  # fmt: skip
    message = {"jsonrpc": "2.0", "id": 1, "method": "segment", "params": params}
    server.stdin.write(json.dumps(message).encode() + b"\n")
    server.stdin.flush()
    answer, shrunk = None, False
    for line in server.stdout:
        message = json.loads(line)
        if message.get("params", {}).get("stage") == "segmenting" and not shrunk:
            os.truncate(array, 200)
            shrunk = True
        if message.get("id") == 1:
            answer = message
            break
    server.kill()
    status = server.wait()
    done = f"signal {-status}" if answer is None else in_words(answer)
    return HELD if answer and is_clean(answer) else FELL, f"shrunk while it was segmented: {done}"


def client_that_does_not_read(trial: Trial) -> tuple[str, str]:
    server = trial.start("serve", stderr=subprocess.DEVNULL)
    os.set_blocking(server.stdin.fileno(), False)
    data = b'{"jsonrpc": "2.0", "id": 1, "method": "none"}\n' * 20000
    start, sent = time.monotonic(), 0
    while sent < len(data) and time.monotonic() - start < 8:
        try:
            sent += os.write(server.stdin.fileno(), data[sent : sent + 65536])
        except BlockingIOError:
            time.sleep(0.05)
    os.close(server.stdin.fileno())
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        return FELL, "the process stays after its standard input closed"
    return HELD, "the process ended when its standard input closed"


def client_that_dies(trial: Trial) -> tuple[str, str]:
    """Somebody else still holds the other end of the server's standard input."""
    reading, writing = os.pipe()
    code = (f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-m', 'sam2adapt', 'serve'],"
            f" stdin={reading}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(p.pid, flush=True);"
            " time.sleep(60)")  # fmt: skip
    client = subprocess.Popen([sys.executable, "-c", code], pass_fds=(reading,), env=trial.environment,
                              stdout=subprocess.PIPE)  # fmt: skip
    server = int(client.stdout.readline())
    time.sleep(3)
    client.kill()
    client.wait()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and _lives(server):
        time.sleep(0.1)
    lives = _lives(server)
    if lives:
        os.kill(server, signal.SIGKILL)
    os.close(writing)
    return (FELL, "the server outlives its client") if lives else (HELD, "the server ended with its client")


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pipes(trial: Trial) -> tuple[str, str]:
    pipe = trial.folder / "pipe.npy"
    os.mkfifo(pipe)
    for name in ("pipe.safetensors", "pipe.nrrd"):
        os.mkfifo(trial.folder / name)
    server = trial.start("serve", stderr=subprocess.DEVNULL)
    given = {"input": {"array": str(pipe), **GRID}, "model": BUNDLED}
    said = {"array": ask(server, 1, "segment", **given, labels=str(trial.folder / "l.npy"))}
    if said["array"] != "hung":
        drawn = trial.folder / "whole.npy"
        np.save(drawn, np.zeros((4, 8, 8), np.int16))
        given["input"]["array"] = str(drawn)
        said["labels"] = ask(server, 2, "segment", **given, labels=str(pipe))
    server.kill()
    words = {name: in_words(answer) for name, answer in said.items()}
    held = all(is_clean(answer) for answer in said.values())
    output = ("-o", trial.folder / "o.nrrd")
    for name, arguments in {
        "model": ("segment", trial.image(), "--model", trial.folder / "pipe.safetensors", *output),
        "image": ("segment", trial.folder / "pipe.nrrd", "--model", BUNDLED, *output),
    }.items():
        found, words[name] = trial.refused(*arguments)
        held = held and found == HELD
    os.mkfifo(trial.home / "models" / "pipe.safetensors")
    status, _ = trial.run("models")
    return HELD if held and status == 0 else FELL, f"{words}; models folder: exit {status}"


def impossible_numbers(trial: Trial) -> tuple[str, str]:
    def window(card: dict) -> None:
        card["slices"]["normalization"] = {"kind": "range", "low": 0, "high": 10**399}

    changes: dict[str, Callable[[dict], object]] = {
        "400 digits": window,
        "spacing 1e-6": lambda card: card["slices"].update(spacing=[1e-6, 1e-6], size=None),
        "settings of a wrong type": lambda card: card["method"]["settings"].update(rank="four", ratio=[1]),
        "unknown setting": lambda card: card["method"]["settings"].update(no_such_setting=1),
        "spacing 1000 mm": lambda card: card["slices"].update(spacing=[1000, 1000], size=None),
        "size 8192": lambda card: card["slices"].update(spacing=None, size=8192),
        "seed of 5000 digits": lambda card: card["training"].update(seed=10**4200),
    }
    image, words, held = trial.image(), [], True
    for name, change in changes.items():
        path = trial.folder / "numbers.safetensors"
        rewritten(trial.model, path, change)
        begun = time.monotonic()
        segment = ("segment", image, "--model", path, "-o", trial.folder / "out.nrrd", "--device", "cpu")
        for command in (("info", path), segment):
            status, said = trial.run(*command)
            fine = status in (0, 2) and "Traceback" not in said
            held = held and fine
            last = said.strip().splitlines()[-1][:60] if said.strip() else ""
            seconds = time.monotonic() - begun
            words.append(f"{name}, {command[0]}: {status} in {seconds:.0f} s{'' if fine else ' ' + last}")
    return HELD if held else FELL, "; ".join(words)


def escapes(trial: Trial) -> tuple[str, str]:
    path = trial.folder / "escape.safetensors"
    nasty = "\x1b[31mred\x07 \u202etxt.exe\u2066 \x9b5m\r"

    def change(card: dict) -> None:
        card["description"] = card["license"] = nasty
        card["classes"][0]["terminology"] = f"a~b~SCT^1^{nasty}~SCT^2^{nasty}~~~"
        card["training"]["data"][nasty] = nasty

    rewritten(trial.model, path, change)
    shutil.copy(path, trial.home / "models")
    raw = set()
    for command in (("info", path), ("models",)):
        _, said = trial.run(*command)
        raw |= {mark for mark in "\x1b\x07\u202e\u2066\x9b\r" if mark in said}
    return FELL if raw else HELD, f"printed raw: {sorted(map(ascii, raw)) or 'nothing'}"


def unexaminable_paths(trial: Trial) -> tuple[str, str]:
    image, held, words, circle = trial.image(), True, [], trial.folder / "circle.nrrd"
    circle.symlink_to(circle)
    for path in ("x" * 300 + ".nrrd", "~nobody9/a.nrrd", circle):
        found, said = trial.refused("segment", path, "--model", BUNDLED, "-o", trial.folder / "o.nrrd")
        held = held and found == HELD
        words.append(said[:60])
    found, said = trial.refused("segment", image, "--model", "~nobody9/m.safetensors", "-o", trial.folder / "o.nrrd")
    return HELD if held and found == HELD else FELL, "; ".join([*words, said[:60]])


def names_not_utf8(trial: Trial) -> tuple[str, str]:
    bad = trial.folder / os.fsdecode(b"a\xff.nrrd")
    shutil.copy(trial.image(), bad)
    first = trial.refused("segment", bad, "--model", BUNDLED, "-o", trial.folder / "o.nrrd")
    output = trial.folder / os.fsdecode(b"o\xff.nrrd")
    second = trial.refused("segment", trial.image(), "--model", BUNDLED, "-o", output)
    return HELD if first[0] == second[0] == HELD else FELL, f"{first[1][:90]}; {second[1][:90]}"


def encodings(trial: Trial) -> tuple[str, str]:
    (trial.home / "models" / "Müller Ω.safetensors").write_bytes(b"none")
    found = {}
    for encoding in ("ascii", "latin-1", "cp1252"):
        trial.environment["PYTHONIOENCODING"] = encoding
        found[encoding], _ = trial.run("models")
    return HELD if set(found.values()) == {0} else FELL, f"exit {found}"


def four_adds(trial: Trial) -> tuple[str, str]:
    path, other = trial.folder / "one.safetensors", trial.folder / "two.safetensors"
    rewritten(trial.model, path, lambda card: card.update(name="a model", version="1.0"))
    rewritten(trial.model, other, lambda card: card.update(name="a-model", version="1.0"))  # another name, one stem
    worst = {}
    for _ in range(3):
        for old in (trial.home / "models").iterdir():
            old.unlink()
        runs = [trial.start("models", "add", p, stdin=subprocess.DEVNULL) for p in (path, other, path, other)]
        outcomes = [run.communicate(timeout=PATIENCE) and run.returncode for run in runs]
        files = [p.name for p in (trial.home / "models").glob("*.safetensors")]
        listed = json.loads(trial.run("models", "--json")[1])["models"]
        own = sorted(row["name"] for row in listed if row["where"] == "own")
        if own != ["a model", "a-model"] or len(files) != 2 or any(outcomes):
            worst = {"files": files, "models": own, "exit": outcomes}
    return FELL if worst else HELD, str(worst or "one copy of each of two models of one stem, three times")


def outputs_before_work(trial: Trial) -> tuple[str, str]:
    image, taken = trial.image(), trial.folder / "taken"
    taken.mkdir()
    begun = time.monotonic()
    found, said = trial.refused("segment", image, "--model", BUNDLED, "-o", trial.folder / "o.nrrd", "--json", taken)
    left = (trial.folder / "o.nrrd").exists()
    return FELL if left or found == FELL else HELD, f"{said[:110]} ({time.monotonic() - begun:.0f} s, worked: {left})"


def voxels_are_private(trial: Trial) -> tuple[str, str]:
    output = trial.folder / "model.safetensors"
    run = trial.start(*trial.training(output, "--epochs", 400), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL)  # fmt: skip
    checkpoint, begun = output.with_suffix(".run") / "checkpoint.pt", time.monotonic()
    while run.poll() is None and not checkpoint.exists() and time.monotonic() - begun < 2 * PATIENCE:
        time.sleep(0.1)
    open_now = _open_to_others(trial.folder)
    run.kill()
    run.wait()
    left = len(list(output.with_suffix(".run").glob("prepared*/**/*.npy")))
    status, said = trial.run(*trial.training(trial.folder / "next.safetensors", "--steps", 2))
    status, said = trial.run(*trial.training(output, "--steps", 2)) if status == 0 else (status, said)
    after = len(list(trial.folder.glob("*.run/prepared*/**/*.npy")))
    open_later = _open_to_others(trial.folder)
    words = f"open to others while it runs: {open_now or 'none'}, later: {open_later or 'none'}; files of slices after "
    words += f"kill -9: {left}, after the next run: {after}; exit {status}"
    return FELL if open_now or open_later or after or status else HELD, words


def _open_to_others(folder: Path) -> list[str]:
    """Files with voxels that others may read, and that no closed folder is above."""
    found = []
    for path in [*folder.glob("*.run/**/*.npy"), *folder.glob("home/replay/*.npz"), *folder.glob("*.run/**/*.pt")]:
        parents = [path, *(p for p in path.parents if p != folder and p.is_relative_to(folder))]
        if path.suffix != ".pt" and all(stat.S_IMODE(p.stat().st_mode) & 0o055 for p in parents):
            found.append(path.name)
    return sorted(set(found))


def names_in_models(trial: Trial) -> tuple[str, str]:
    output = trial.folder / "model.safetensors"
    status, said = trial.run(*trial.training(output, "--steps", 2))
    if status:
        return FELL, said[-200:]
    held = not any(name in output.read_bytes() for name in (b"MUSTERMANN", b"DOE_JOHN"))
    return HELD if held else FELL, f"the model file holds the names of the cases: {not held}"


def two_trainings(trial: Trial) -> tuple[str, str]:
    output = trial.folder / "model.safetensors"
    runs = []
    for _ in range(2):
        arguments = trial.training(output, "--epochs", 3)
        runs.append(trial.start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    said = [run.communicate(timeout=4 * PATIENCE)[1].decode() for run in runs]
    outcomes = sorted(run.returncode for run in runs)
    last = max(said, key=len) if any(outcomes) else ""
    words = next((s.strip().splitlines()[-1] for s, r in zip(said, runs, strict=True) if r.returncode), last)
    held = outcomes == [0, 2] and not any("Traceback" in s for s in said)
    return HELD if held else FELL, f"exit {outcomes}: {words[:150]}"


def rendezvous(trial: Trial) -> tuple[str, str]:
    found = subprocess.run(["grep", "-rnE", r"pickle\.loads|weights_only=False", "--include=*.py",
                            str(trial.engine / "SAM2Adapt" / "sam2adapt")], capture_output=True, check=False,
                           encoding="utf-8").stdout.splitlines()  # fmt: skip
    places = [line.partition("/sam2adapt/")[2].partition(":")[0] for line in found]
    return FELL if places else HELD, f"unpickles: {places or 'nothing'}"


def series_identifiers(trial: Trial) -> tuple[str, str]:
    pages = [*trial.engine.glob("*.md"), *trial.engine.glob("Resources/*.md")]
    said = [page.name for page in pages if "series identifier" in page.read_text("utf-8").casefold()]
    return HELD if said else FELL, f"pages that say that manifests hold series identifiers: {said or 'none'}"


ROWS: dict[str, Callable[[Trial], tuple[str, str]]] = {
    "card with a list nested 490 deep": deep_card,
    "input array that shrinks during a run": shrinking_array,
    "client that does not read stdout": client_that_does_not_read,
    "client that dies": client_that_dies,
    "pipe as array, labels, model, image, in the models folder": pipes,
    "card with impossible numbers": impossible_numbers,
    "escape and bidirectional characters in a card": escapes,
    "path that cannot be examined": unexaminable_paths,
    "names that are not UTF-8": names_not_utf8,
    "stdout in ASCII, Latin-1, cp1252": encodings,
    "models add by four processes": four_adds,
    "outputs that cannot be written": outputs_before_work,
    "voxels of patients: modes, and after a kill": voxels_are_private,
    "file names in the model file": names_in_models,
    "series identifiers in manifests": series_identifiers,
    "rendezvous store": rendezvous,
    "two trainings with one output": two_trainings,
}


def main() -> int:
    """Try the rows and print the table; 1 if one fell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, default=ENGINE, help="checkout whose engine is tried (this one)")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    arguments = parser.parse_args()
    fallen = 0
    print("| fault | | seen |\n| --- | --- | --- |", flush=True)
    for name, row in ROWS.items():
        if arguments.only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="sam2adapt-row-") as folder:
            outcome, seen = row(Trial(arguments.engine.resolve(), Path(folder)))
        fallen += outcome == FELL
        text = seen.replace(folder, "").replace("|", "/").replace("\n", " ")
        print(f"| {name} | {outcome} | {text.encode('ascii', 'backslashreplace').decode()} |", flush=True)
    return int(bool(fallen))


if __name__ == "__main__":
    sys.exit(main())
