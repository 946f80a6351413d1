"""Voxels of DICOM files: declared and stored bytes compared before memory is taken, values as the header defines them.

Uncompressed voxels are read here, compressed ones are decoded by GDCM (:mod:`.codestream`). Slope, intercept,
sign and stored bits are those of each file and each frame; MONOCHROME1 says how to display values and changes none.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, convert_color_space

from ...shared import paths
from ...shared.errors import InputFileError, VolumeError
from ...shared.safety.private import temporary_folder
from . import sop_classes
from .codestream import decode, decoding, split_frames
from .elements import COPY_AGAIN, damage_reported
from .header import ImageHeader

_GREY = ("MONOCHROME1", "MONOCHROME2")
_DECODED_TO_RGB = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_TOGETHER = 8  # frames of several files that are decoded at once
_THREADS = min(4, os.cpu_count() or 1)
_INT16 = np.iinfo(np.int16)


def check_readable(header: ImageHeader) -> None:
    """Refuse, before memory is taken, what cannot be read and what is shorter than the header declares.

    :raises InputFileError: unsupported compression or layout, cut, or another length than declared.
    """
    pixels, path = header.pixels, header.path
    if header.sop_class in sop_classes.TILED:
        raise InputFileError(
            f"{path} is a picture in tiles ({sop_classes.class_name(header.sop_class)}), which is not read.",
            "Export the part that you need as PNG or TIFF.",
        )
    if pixels.element != "PixelData":
        raise InputFileError(
            f"{path} stores its values as {pixels.element}, which is not read.",
            "Open it in Slicer and save it as .nrrd.",
        )
    if not sop_classes.is_uncompressed(pixels.syntax) and pixels.syntax not in sop_classes.COMPRESSED:
        names = ", ".join(sorted({name.partition(" Lossless")[0] for name in sop_classes.COMPRESSED.values()}))
        raise InputFileError(
            f"{path} is compressed as {sop_classes.syntax_name(pixels.syntax)}, which is not supported.",
            f"Export it from the archive uncompressed (Explicit VR Little Endian), or as one of: {names}.",
        )
    if pixels.allocated not in (8, 16, 32) or (pixels.samples > 1 and pixels.allocated == 32):
        raise InputFileError(
            f"{path} has {pixels.allocated} bits a value, which is not read.", "Export it with 8 or 16 bits a value."
        )
    colour = pixels.samples == 3 and pixels.photometric in _DECODED_TO_RGB
    if not colour and (pixels.samples != 1 or pixels.photometric not in (*_GREY, "PALETTE COLOR")):
        raise InputFileError(
            f"{path} has {pixels.samples} values a pixel of the kind {pixels.photometric}, which is not read.",
            "Export it in grey levels or RGB.",
        )
    plain_rgb = pixels.photometric == "RGB" and sop_classes.is_uncompressed(pixels.syntax)
    if colour and pixels.allocated != 8 and not plain_rgb:  # GDCM mixes up the bytes of RLE colours of 16 bits
        raise InputFileError(
            f"{path} has {pixels.photometric} colours of {pixels.allocated} bits, which is not read.",
            "Export it as uncompressed RGB with 8 bits a colour.",
        )
    if sop_classes.is_uncompressed(pixels.syntax) and pixels.syntax != sop_classes.DEFLATED:
        stored = max(os.path.getsize(path) - pixels.start, 0)
        _check_length(header, stored if pixels.length is None else min(pixels.length, stored))


def read_voxels(headers: Sequence[ImageHeader]) -> np.ndarray:
    """(N, rows, columns), or (N, rows, columns, 3) in colour: all frames of the files in their order.

    The type is that of the stored values; with slope 1 and a whole intercept int16 or int32; otherwise float32.
    Padded voxels have the lowest value of all others.

    :raises InputFileError: see :func:`check_readable`; the voxels cannot be decoded; or all of them are padding.
    """
    for header in headers:
        check_readable(header)
    first = headers[0]
    if any(header.pixels.samples != first.pixels.samples for header in headers):
        raise VolumeError(
            f"{first.path} and {headers[-1].path} have different numbers of values a pixel.",
            "Keep images in colour apart from those in grey levels.",
        )
    if first.pixels.samples > 1 or first.pixels.photometric == "PALETTE COLOR":
        return np.concatenate([_colours(header) for header in headers])
    stack = _stack(headers)
    padded = _padded(headers, stack)
    if padded is None:
        return _rescaled(headers, stack)
    stack[padded] = _lowest(stack, ~padded)  # so that padding does not decide which type holds all values
    voxels = _rescaled(headers, stack)
    voxels[padded] = _lowest(voxels, ~padded)  # after slope and intercept, which may differ from frame to frame
    return voxels


def _padded(headers: Sequence[ImageHeader], stack: np.ndarray) -> np.ndarray | None:
    """(N, rows, columns) bool: which stored values are padding; None where none is.

    :raises InputFileError: all are.
    """
    padded, place = None, 0
    for header in headers:
        frames = slice(place, place + header.frames)
        place += header.frames
        if header.pixels.padding is None:
            continue
        low, high = header.pixels.padding
        inside = (stack[frames] >= low) & (stack[frames] <= high)
        if inside.any():
            if padded is None:
                padded = np.zeros(stack.shape, bool)
            padded[frames] = inside
    if padded is not None and padded.all():
        low, high = headers[0].pixels.padding
        values = f"{low}" if low == high else f"{low} to {high}"
        raise InputFileError(
            f"{headers[0].path} holds no image: all voxels"
            f"{f' of it and the other {len(headers) - 1} files' if len(headers) > 1 else ''}"
            f" are padding (PixelPaddingValue {values}).",
            "Choose another series, or export it again.",
        )
    return padded


def _lowest(values: np.ndarray, real: np.ndarray) -> np.generic:
    return min(frame[kept].min() for frame, kept in zip(values, real, strict=True) if kept.any())


def _check_length(header: ImageHeader, stored: int) -> None:
    pixels = header.pixels
    pixel = 2 if pixels.photometric == "YBR_FULL_422" else pixels.samples * pixels.allocated // 8
    expected = header.rows * header.columns * pixel * header.frames
    declared = f"{header.columns} x {header.rows} pixels x {header.frames} frames x {pixel} bytes"
    if stored < expected:
        raise InputFileError(
            f"{header.path} is cut: {declared} are {expected} bytes of voxels, and it holds {stored}.", COPY_AGAIN
        )
    if stored - expected >= max(2, expected // header.frames) or not _is_padding(header, expected, stored):
        raise InputFileError(
            f"{header.path} contradicts itself: {declared} are {expected} bytes of voxels, and it holds {stored}.",
            "Export it again.",
        )


def _is_padding(header: ImageHeader, expected: int, stored: int) -> bool:
    """True if nothing but zeros follows the voxels: anything else means that the header describes other voxels."""
    if stored - expected < 2 or header.pixels.syntax == sop_classes.DEFLATED:
        return True
    with paths.open_file(header.path) as file:
        file.seek(header.pixels.start + expected)
        return not file.read(stored - expected).strip(b"\0")


def _stack(headers: Sequence[ImageHeader]) -> np.ndarray:
    """(N, rows, columns) stored values; of the widest type where the files differ."""
    stack, place = None, 0
    kind = np.result_type(*(_kind(header) for header in headers))
    with temporary_folder() as folder:
        for values in _stored_values(headers, folder):
            if stack is None:  # only now: the first file has proved to be decodable
                stack = np.empty((sum(h.frames for h in headers), *values.shape[1:]), kind)
            stack[place : place + len(values)] = values
            place += len(values)
    return stack


def _kind(header: ImageHeader) -> np.dtype:
    return np.dtype(f"{'i' if header.pixels.signed else 'u'}{header.pixels.allocated // 8}")


def _stored_values(headers: Sequence[ImageHeader], folder: Path) -> Iterator[np.ndarray]:
    """(frames, rows, columns) of one file or some, of the declared type, without bits that are no part of the value."""
    if not any(header.pixels.syntax in sop_classes.COMPRESSED for header in headers):
        yield from map(_uncompressed, headers)
        return
    with ThreadPoolExecutor(_THREADS) as pool:  # GDCM decodes without holding Python's lock
        started: deque[Future] = deque()
        for number, files in enumerate(_together(headers)):
            if len(started) == 2 * _THREADS:
                yield started.popleft().result()
            path = folder / f"{number}.dcm"
            started.append(
                pool.submit(_decoded, files, path) if files[0][1] else pool.submit(_uncompressed, files[0][0])
            )
        while started:
            yield started.popleft().result()


def _together(headers: Sequence[ImageHeader]) -> Iterator[list[tuple[ImageHeader, list[bytes]]]]:
    """Files with their compressed frames, in groups that are decoded at once; uncompressed ones alone, without."""
    waiting: list[tuple[ImageHeader, list[bytes]]] = []
    for header in headers:
        frames = split_frames(header) if header.pixels.syntax in sop_classes.COMPRESSED else []
        full = sum(len(others) for _, others in waiting) >= _TOGETHER
        if waiting and (full or not frames or decoding(*waiting[0]) != decoding(header, frames)):
            yield waiting
            waiting = []
        if frames:
            waiting.append((header, frames))
        else:
            yield [(header, frames)]
    if waiting:
        yield waiting


def _uncompressed(header: ImageHeader) -> np.ndarray:
    count = header.frames * header.rows * header.columns
    values = _raw(header, _kind(header), count).reshape(header.frames, header.rows, header.columns)
    return _trimmed(header, values, header.pixels.high_bit + 1 - header.pixels.stored)


def _decoded(files: list[tuple[ImageHeader, list[bytes]]], path: Path) -> np.ndarray:
    """:param path: for a temporary file."""
    header = files[0][0]
    try:
        values = decode(header, [frame for _, frames in files for frame in frames], path)
    except InputFileError:
        if len(files) == 1:
            raise
        values = np.concatenate([decode(*file, path) for file in files])  # finds out which one is damaged
    return _trimmed(header, values.astype(_kind(header), copy=False), 0)


def _trimmed(header: ImageHeader, values: np.ndarray, shift: int) -> np.ndarray:
    """Bring the lowest of the stored bits down by ``shift`` and the sign up to the type's.

    Padding may need more bits than the voxels, 63536 beside 12 stored bits for instance; it stays as it is.
    """
    spare = header.pixels.allocated - header.pixels.stored - shift
    if spare + shift and (shift or _has_more_bits(values, header.pixels.stored)):
        whole, values = values, (values << spare) >> (spare + shift)  # an arithmetic shift brings the sign down
        if header.pixels.padding and not shift:
            low, high = header.pixels.padding
            padded = (whole >= low) & (whole <= high)
            values[padded] = whole[padded]
    return values


def _has_more_bits(values: np.ndarray, stored: int) -> bool:
    """True if values lie outside the stored bits, as overlays in the upper bits and bare sign bits do."""
    high, half = int(values.max()), 1 << (stored - 1)
    return high >= 2 * half if values.dtype.kind == "u" else high >= half or int(values.min()) < -half


def _raw(header: ImageHeader, kind: np.dtype, count: int) -> np.ndarray:
    if header.pixels.syntax == sop_classes.DEFLATED:
        with damage_reported(header.path, "its element with the voxels"):
            data = _whole(header).PixelData
        _check_length(header, len(data))
        return np.frombuffer(data, kind.newbyteorder("<"), count)
    order = ">" if header.pixels.syntax == "1.2.840.10008.1.2.2" else "<"
    if order == ">" and kind.itemsize == 1:  # written as words, the bytes of a pair change places
        with damage_reported(header.path, "its element with the voxels"):
            element = _whole(header)["PixelData"]
        pairs = np.frombuffer(element.value, np.uint8)
        pairs = pairs[: len(pairs) // 2 * 2].reshape(-1, 2)[:, :: -1 if element.VR == "OW" else 1]
        return pairs.reshape(-1)[:count].view(kind)
    with paths.open_file(header.path) as file:
        values = np.fromfile(file, kind.newbyteorder(order), count, offset=header.pixels.start)
    if len(values) < count:
        raise InputFileError(f"{header.path} became shorter while it was read.", COPY_AGAIN)
    return values.astype(kind, copy=False)


def _whole(header: ImageHeader) -> pydicom.Dataset:
    with damage_reported(header.path, "the file to its end"):
        return pydicom.dcmread(header.path, force=True)


def _rescaled(headers: Sequence[ImageHeader], stack: np.ndarray) -> np.ndarray:
    if any(header.has_lut for header in headers):
        return _through_tables(headers, stack)
    bare = [header for header in headers if header.rescales is None]
    if bare and len(bare) < len(headers):
        raise InputFileError(
            f"{len(bare)} of the {len(headers)} files of a series have no RescaleSlope and RescaleIntercept, which the"
            f" others have: {bare[0].path} for one.",
            "Copy the series again from where it came.",
        )
    pairs = [pair for header in headers for pair in header.rescales or ((1.0, 0.0),) * header.frames]
    if any(slope == 0 for slope, _ in pairs):
        path = next(header.path for header in headers if any(s == 0 for s, _ in header.rescales or ()))
        raise InputFileError(f"{path} has a RescaleSlope of 0, which makes all voxels one value.", "Export it again.")
    slope, intercept = pairs[0]
    if len(set(pairs)) > 1 or slope != 1 or intercept != int(intercept):
        result = np.empty(stack.shape, np.float32)
        for index, (slope, intercept) in enumerate(pairs):
            result[index] = stack[index] * slope + intercept
        return result
    if intercept == 0:
        return stack
    low, high = int(stack.min()) + int(intercept), int(stack.max()) + int(intercept)
    if stack.itemsize == 2 and low >= _INT16.min and high <= _INT16.max:
        unsigned = stack.view(np.uint16)  # in place: modulo 2**16 the sum is the same with and without sign
        unsigned += np.uint16(int(intercept) % 65536)
        return unsigned.view(np.int16)
    fits = low >= _INT16.min and high <= _INT16.max
    return (stack.astype(np.int64) + int(intercept)).astype(np.int16 if fits else np.int32)


def _through_tables(headers: Sequence[ImageHeader], stack: np.ndarray) -> np.ndarray:
    result, place = np.empty(stack.shape, np.float32), 0
    for header in headers:
        dataset = pydicom.dcmread(header.path, stop_before_pixels=True, force=True) if header.has_lut else None
        for index in range(place, place + header.frames):
            if dataset is not None:
                with damage_reported(header.path, "its table of values"):
                    result[index] = apply_modality_lut(stack[index], dataset)
            else:
                slope, intercept = (header.rescales or ((1, 0),) * header.frames)[index - place]
                result[index] = stack[index] * slope + intercept
        place += header.frames
    return result


def _colours(header: ImageHeader) -> np.ndarray:
    """(frames, rows, columns, 3) uint8 or uint16."""
    pixels = header.pixels
    if pixels.photometric == "PALETTE COLOR":
        with temporary_folder() as folder:
            indices = np.concatenate(list(_stored_values([header], folder)))
        with damage_reported(header.path, "its palette"):
            colours = apply_color_lut(indices, pydicom.dcmread(header.path, stop_before_pixels=True, force=True))
        return (colours >> 8).astype(np.uint8) if colours.itemsize > 1 else colours
    shape = header.frames, header.rows, header.columns, 3
    if pixels.syntax in sop_classes.COMPRESSED:
        with temporary_folder() as folder:
            return decode(header, split_frames(header), folder / "frames.dcm")
    if pixels.photometric == "YBR_FULL_422":
        return _whole(header).pixel_array.reshape(shape)
    values = _raw(header, np.dtype(f"u{pixels.allocated // 8}"), int(np.prod(shape, dtype=np.int64)))
    if pixels.planar:
        values = np.moveaxis(values.reshape(header.frames, 3, header.rows, header.columns), 1, -1)
    values = values.reshape(shape)
    return convert_color_space(values, pixels.photometric, "RGB") if pixels.photometric == "YBR_FULL" else values
