"""Stands for a Slicer that ends while the engine works: prints the numbers of the engine's processes.

Arguments: "quit" (as the user does), "wait" (the same while a script waits) or "killed" (waits for that), then the
engine's command.
"""

import os
import sys
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing" / "host"), str(REPOSITORY / "SAM2Adapt")]
import host  # noqa: E402  found through the line above

host.boot()

import qt  # noqa: E402
from SAM2AdaptLib.Engine.Client import EngineClient, EngineError  # noqa: E402

application = qt.QCoreApplication.instance()


def onProgress(params):
    print(*params["pids"], flush=True)
    if sys.argv[1] != "killed":
        application.quit()


def wait():
    try:
        client.wait(request)
    except EngineError as error:
        print(error.kind)


client = EngineClient(sys.argv[2:])
request = client.request("sleep", {}, onProgress=onProgress)
if sys.argv[1] == "wait":
    qt.QTimer.singleShot(0, wait)
application.exec()
