"""What pictures can say, one cell a statement."""

import struct
import zlib
from pathlib import Path

import numpy as np
from file_samples import chest
from PIL import Image

from .files import Cell, beside, cut_file


def png(folder: Path, array: np.ndarray, name: str = "a.png") -> Path:
    Image.fromarray(array).save(folder / name)
    return folder / name


def huge_png(folder: Path) -> Path:
    """A PNG whose header claims 30,000 x 30,000 pixels and whose data are some bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9000)) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return folder / "a.png"


def picture_cells() -> list[Cell]:
    grey = (chest()[16:17] // 16 + 100).clip(0, 255).astype(np.uint8)
    plain = {"affine": np.eye(4), "voxels": lambda: grey}
    return [
        Cell("picture", "place", "a picture lies nowhere in a patient"),
        Cell("picture", "unit", "resolution is that of paper or screen; volumes are counted in pixels"),
        Cell("picture", "scale", "grey levels are what they are"),
        Cell("picture", "type", "8 bits", lambda f: png(f, grey[0]), **plain),
        Cell("picture", "type", "16 bits", lambda f: png(f, grey[0].astype(np.uint16) * 200), affine=np.eye(4),
             voxels=lambda: grey.astype(np.uint16) * 200),
        Cell("picture", "length", "cut in the middle", lambda f: cut_file(png(f, grey[0])), refused="cannot be read"),
        Cell("picture", "length", "60,000 x 60,000 claimed", huge_png, refused="60000 x 60000"),
        Cell("picture", "orientation", "rows run down and columns to the right, always"),
        Cell("picture", "time", "pages of a TIFF are slices", lambda f: stack(f, grey), affine=np.eye(4),
             voxels=lambda: np.concatenate([grey, 255 - grey])),
        Cell("picture", "identity", "a.png beside another a.jpg",
             beside(lambda f: png(f, grey[0]), lambda f: png(f, 255 - grey[0], "a.jpg")), **plain),
    ]  # fmt: skip


def stack(folder: Path, grey: np.ndarray) -> Path:
    pages = [Image.fromarray(page) for page in (grey[0], 255 - grey[0])]
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    return folder / "a.tif"
