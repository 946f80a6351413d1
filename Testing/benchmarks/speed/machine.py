"""What a run was measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sam2adapt
import torch
from sam2adapt.machine.device import autocast_dtype


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, threads, versions and the commit; ``load`` is the system's average load of the last minute."""
    dtype = autocast_dtype(device)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "half": None if dtype is None else str(dtype).removeprefix("torch."),
        "system": platform.platform(),
        "software": {name: version(name) for name in ("torch", "sam2", "monai", "numpy")},
        "commit": _commit(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the sources, with ``+`` if the engine was changed since; None where there is no git or no copy."""
    folder = Path(sam2adapt.__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()  # fmt: skip

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
