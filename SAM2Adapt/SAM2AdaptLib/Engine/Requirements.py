"""What the engine's Python needs, besides torch, torchvision and sam2, which need options."""

from pathlib import Path

_FILE = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


def requirements():
    """The lines of Resources/requirements.txt, without comments."""
    lines = (line.strip() for line in _FILE.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
