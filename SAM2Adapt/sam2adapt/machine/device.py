"""Choose device and arithmetic, with a reason in words."""

import platform
import sys
from typing import Any

import torch

from ..shared.errors import DeviceError

try:
    import resource
except ImportError:  # on Windows
    resource = None


def choose_device(name: str = "auto") -> tuple[torch.device, str]:
    """Choose a device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    :return: the device and the reason for it.
    :raises DeviceError: the device does not exist.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"GPU: {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Apple GPU"
        built = "no NVIDIA GPU found" if torch.version.cuda else "this PyTorch was built without GPU support"
        return torch.device("cpu"), f"CPU: {built}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"There is no device '{name}'.", "Choose auto, cpu, cuda, cuda:N or mps.", setting="device"
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        reason = f"{torch.cuda.device_count()} NVIDIA GPU(s) found" if device.type == "cuda" else "it was not found"
        raise DeviceError(f"Device '{name}' cannot be used: {reason}.", "Choose auto or cpu.", setting="device")
    return device, f"{name}, as requested"


def list_devices() -> list[dict[str, Any]]:
    """Devices of this machine: ``id``, ``name``, ``reason`` and ``memoryBytes`` (None: the computer's memory).

    The first entry has the id ``auto``: the device that ``auto`` chooses, with the reason.
    """
    chosen, reason = choose_device()
    processor = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    devices = [{"id": "cpu", "name": processor, "reason": "CPU", "memoryBytes": None}]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        name, memory = properties.name, properties.total_memory
        devices.append({"id": f"cuda:{index}", "name": name, "reason": f"GPU: {name}", "memoryBytes": memory})
    if torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": "Apple GPU", "reason": "Apple GPU", "memoryBytes": None})
    taken = next(entry for entry in devices if entry["id"].startswith(chosen.type))
    return [{**taken, "id": "auto", "reason": reason}, *devices]


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision in which the device is faster than in float32; None if there is none."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None
    return None


def autocast(device: torch.device) -> torch.autocast:
    """Context in which matrix products run in the half precision of the device, if it has one."""
    dtype = autocast_dtype(device)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def memory_used(device: torch.device) -> int | None:
    """Peak memory in bytes, of the GPU or else of the process; None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory() -> tuple[int, int] | None:
    """Free and total memory of the GPU in bytes, as all its users see it; None without a GPU."""
    return torch.cuda.mem_get_info() if torch.cuda.is_available() else None


def release_memory() -> None:
    """Return unused GPU memory to the system."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
