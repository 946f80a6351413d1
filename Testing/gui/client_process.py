"""Stands for a Slicer that ends while the engine works: prints the numbers of the engine's processes.

Arguments: "quit" (as the user does) or "killed" (waits for that), then the engine's command.
"""

import sys

import conftest  # noqa: F401  # makes qt
import qt
from SAM2AdaptLib.EngineClient import EngineClient

application = qt.QCoreApplication.instance()


def onProgress(params):
    print(*params["pids"], flush=True)
    if sys.argv[1] == "quit":
        application.quit()


EngineClient(sys.argv[2:]).request("sleep", {}, onProgress=onProgress)
application.exec()
