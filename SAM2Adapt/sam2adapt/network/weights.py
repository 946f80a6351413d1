"""Load base networks: official SAM 2.1 checkpoints and safetensors files of SAM2Adapt."""

import hashlib
import json
import pickle
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..modelfiles.bases import base_file, file_sha256
from ..modelfiles.card import BASE_FORMAT, read_base_card
from ..shared import paths
from ..shared.errors import ModelFileError
from ..shared.files import atomic_write
from ..shared.known_bases import BASES
from ..shared.safetensors_header import BASE_KEY, SUFFIX
from .base import CONFIGS, ImagePath

# Names of tensors of the memory modules, which the image path does not need.
_MEMORY = (
    "memory_attention.", "memory_encoder.", "maskmem_tpos_enc", "no_mem_pos_enc", "no_obj_ptr", "obj_ptr_proj.",
    "obj_ptr_tpos_proj.", "mask_downsample.", "no_obj_embed_spatial",
)  # fmt: skip


def load_base(base: str, sha256: str | None = None) -> tuple[ImagePath, dict[str, str]]:
    """Load the image path of a base network.

    :param base: ``nano``, ``tiny``, ``small``, ``base_plus``, ``large``, or a file.
    :param sha256: hash of the file that a bundle was trained on; any other file is refused.
    :return: the image path in evaluation mode, and ``{"id", "sha256"}`` for the card.
    :raises WeightsMissingError: the file is not on this machine.
    :raises ModelFileError: the file has another SHA-256, or is not a base network.
    """
    path = base_file(base, sha256)
    if path.suffix == SUFFIX:
        name, state = _read_ours(path)
        digest = file_sha256(path)
    else:
        digest = file_sha256(path)
        name = next(info.id for info in BASES.values() if info.sha256 == digest)
        state = read_official(path)
    network = ImagePath(CONFIGS[name])
    _load_strictly(network, state, path)
    return network.eval(), {"id": name, "sha256": digest}


def read_official(path: Path) -> dict[str, Tensor]:
    """Read an official checkpoint without running its code; the caller has checked its SHA-256.

    :return: the tensors of the image path.
    """
    try:
        # Not memory-mapped: a file that is cut short meanwhile would kill the process.
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    except (RuntimeError, OSError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ModelFileError(f"The base weights '{path}' are damaged: {reason}.", "Get the file again.") from error
    return {name: tensor for name, tensor in state.items() if not name.startswith(_MEMORY)}


def write_base(path: Path, name: str, network: ImagePath, card: dict) -> None:
    """Write a base network as float16 safetensors, with a card about its training."""
    tensors = {key: t.detach().half().contiguous() for key, t in network.state_dict().items()}
    metadata = {BASE_KEY: json.dumps({"format": BASE_FORMAT, "id": name, **card}, ensure_ascii=False)}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata))


def random_base(name: str, seed: int = 0) -> tuple[ImagePath, dict[str, str]]:
    """Make an untrained base for pretraining and tests; its SHA-256 is computed from its tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ImagePath(CONFIGS[name]).initialise()
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in network.state_dict().values())).hexdigest()
    return network.eval(), {"id": name, "sha256": digest}


def _read_ours(path: Path) -> tuple[str, dict[str, Tensor]]:
    name = read_base_card(path)["id"]
    if name not in CONFIGS:
        raise ModelFileError(
            f"'{path}' is a base network '{name}', which this version does not know.", "Update SAM2Adapt."
        )
    return name, {key: tensor.float() for key, tensor in load(paths.read_bytes(path)).items()}


def _load_strictly(network: ImagePath, state: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelFileError(
            f"'{path}' does not hold the expected base network: {first}", "Get the file again."
        ) from error
