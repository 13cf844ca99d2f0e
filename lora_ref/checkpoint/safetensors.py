"""The safetensors format: a header in JSON, and the bytes of the arrays behind it.

Eight bytes hold the length N of the header, little-endian. N bytes of JSON name each array with its
dtype, shape and place: ``{"W": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}``. The
bytes follow in that order, without a gap. Nothing in such a file is ever run.
"""

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lora_ref.atomic_write import write_whole
from lora_ref.errors import LoraRefError

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
}
"""The dtypes that are read and written, by the name that they have in a file."""

LONGEST_HEADER = 100_000_000

Arrays = dict[str, NDArray[Any]]
Fail = Callable[[str], NoReturn]


def write_safetensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays to a file, whole or not at all; the same arrays give the same bytes.

    Parameters
    ----------
    path : Path
        The file.
    arrays : mapping of str to ndarray
        Any order of axes in memory and of bytes in a number; they are stored row by row.
    metadata : mapping of str to str, optional
        Texts that go into the header.
    """
    names = {np.dtype(code): name for name, code in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    chunks, end = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = arrays[name]
        kind = names.get(array.dtype.newbyteorder("<"))
        if kind is None or name == "__metadata__":
            raise LoraRefError(
                f"{name} of dtype {array.dtype} cannot be written to {path}, expected another name "
                f"than __metadata__ and one of: {', '.join(DTYPES)}"
            )
        chunks.append(array.astype(DTYPES[kind]).tobytes())  # row by row, whatever it was
        start, end = end, end + len(chunks[-1])
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    write_whole(path, len(text).to_bytes(8, "little") + text + b"".join(chunks))


def read_safetensors(path: Path) -> Arrays:
    """Return the arrays of a file, by name.

    Sizes are checked before memory is taken; names that stand twice, gaps and overlaps are refused.

    Raises
    ------
    LoraRefError
        Where the file does not keep to the format, or has a dtype that NumPy has not.
    """

    def fail(reason: str) -> NoReturn:
        raise LoraRefError(f"{path} is no safetensors file that can be read: {reason}")

    data = _bytes_of(path)
    if len(data) < 8:
        fail(f"it has {len(data)} bytes, expected 8 at least")
    length = int.from_bytes(data[:8], "little")
    if length > min(LONGEST_HEADER, len(data) - 8):
        fail(f"its header is {length} bytes long, expected what is in a file of {len(data)}")
    header, body = _header(data[8 : 8 + length], fail), memoryview(data)[8 + length :]
    header.pop("__metadata__", None)
    arrays, end = {}, 0
    entries = {name: _entry(name, entry, fail) for name, entry in header.items()}
    for name, (code, shape, begin, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        size = math.prod(shape) * np.dtype(code).itemsize
        if begin != end or stop != begin + size or stop > len(body):
            fail(
                f"{name} lies at {begin} to {stop} of {len(body)} bytes, "
                f"expected {end} to {end + size}"
            )
        arrays[name] = np.frombuffer(body[begin:stop], code).reshape(shape).copy()
        end = stop
    if end != len(body):
        fail(f"{len(body) - end} bytes follow the last array, expected none")
    return arrays


def _bytes_of(path: Path) -> bytes:
    """Return what a regular file holds; a pipe would wait for ever, a folder has no bytes."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LoraRefError(f"{path} is no regular file, expected a safetensors file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LoraRefError(f"{path} cannot be read: {reason}") from None


def _header(text: bytes, fail: Fail) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            fail(f"{max(names, key=names.count)!r} stands twice in an object of its header")
        return dict(pairs)

    try:
        if not text.startswith(b"{"):
            raise ValueError("it does not begin with a brace")
        header = json.loads(text.decode(), object_pairs_hook=once)
    except LoraRefError:
        raise
    except (ValueError, RecursionError) as error:
        fail(f"its header is no JSON: {error}")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        fail("its __metadata__ holds something else than texts")
    return header  # type: ignore[no-any-return]


def _entry(name: str, entry: Any, fail: Fail) -> tuple[str, tuple[int, ...], int, int]:
    """Return dtype, shape and place of an array, checked."""
    keys = {"dtype", "shape", "data_offsets"}
    if not isinstance(entry, dict) or entry.keys() != keys:
        fail(f"{name} is described by {entry!r}, expected {', '.join(sorted(keys))}")
    code, shape, offsets = DTYPES.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
    if code is None:
        fail(f"{name} has dtype {entry['dtype']!r}, expected one of: {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            fail(f"{name} has shape {shape!r} at {offsets!r}, expected whole numbers")
    if len(offsets) != 2:
        fail(f"{name} lies at {offsets}, expected where it begins and where it ends")
    return code, tuple(shape), offsets[0], offsets[1]
