"""The safetensors format: a header in JSON, and the bytes of the arrays behind it.

Eight bytes hold the length N of the header, little-endian. N bytes of JSON name each array with its
dtype, shape and place: ``{"W": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}``. The
bytes follow in that order, without a gap. Nothing in such a file is ever run.

Strict to the format's own text, so stricter than safetensors 0.8.0: a name that stands twice, and a
header that does not begin with its brace, are refused.
"""

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from lora_ref.atomic_write import write_whole
from lora_ref.checkpoint.strict_json import strict_json
from lora_ref.errors import FileError, LoraRefError

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""The dtypes that are read and written, by the name that they have in a file."""

BF16 = "BF16"
"""A dtype that NumPy has not: the upper half of a float32. It is read as one, and not written."""

LONGEST_HEADER = 100_000_000

Arrays = dict[str, NDArray[Any]]


# ---------------------------------------------------------------------------------- writing


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
    write_whole(Path(path), as_safetensors(path, arrays, metadata))


def as_safetensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return what `write_safetensors` writes; `path` is for the sentence of an error."""
    codes = {np.dtype(code): name for name, code in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    chunks, end = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = arrays[name]
        code = codes.get(array.dtype.newbyteorder("<"))
        if code is None or name == "__metadata__":
            raise LoraRefError(
                f"{name} of dtype {array.dtype} cannot be written to {path}, expected another name "
                f"than __metadata__ and one of: {', '.join(DTYPES)}"
            )
        chunks.append(array.astype(DTYPES[code]).tobytes())  # row by row, whatever it was
        start, end = end, end + len(chunks[-1])
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


# ---------------------------------------------------------------------------------- reading


def read_safetensors(path: Path) -> Arrays:
    """Return the arrays of a file, by name; they can be written to.

    Sizes are checked before memory is taken, at most three times that of the file.

    Raises
    ------
    FileError
        Where the file does not keep to the format, or has a dtype that is not in `DTYPES`.
    """
    return read_with_metadata(path)[0]


def read_with_metadata(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a file as `read_safetensors` does, and the texts of its header."""
    path = Path(path)
    data = _bytes_of(path)
    length = _header_length(path, data[:8], len(data))
    header, body = _header(path, data[8 : 8 + length]), memoryview(data)[8 + length :]
    metadata = header.pop("__metadata__", {})
    arrays = {
        name: _array(path, name, one.dtype, body[one.begin : one.end]).reshape(one.shape)
        for name, one in _places(path, header, len(body)).items()
    }
    return arrays, metadata


def read_entries(path: Path) -> "dict[str, Entry]":
    """Return dtype, shape and place of the arrays of a file, from its header alone.

    Raises
    ------
    FileError
        Where the header and the length of the file do not keep to the format.
    """
    path = Path(path)
    size = _size_of(path)
    try:
        with path.open("rb") as file:
            length = _header_length(path, file.read(8), size)
            header = _header(path, file.read(length))
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error!r}") from error
    header.pop("__metadata__", None)
    return _places(path, header, size - 8 - length)


def _header_length(path: Path, start: bytes, size: int) -> int:
    """Return the length of the header, which the first eight bytes of a file hold."""
    if size < 8:
        _fail(path, f"it has {size} bytes, expected 8 at least")
    length = int.from_bytes(start, "little")
    if length > min(LONGEST_HEADER, size - 8):
        _fail(path, f"its header is {length} bytes long, expected what is in a file of {size}")
    return length


def _places(path: Path, header: Mapping[str, Any], size: int) -> "dict[str, Entry]":
    """Return what the header says of each array, in the order of the bytes, which leave no gap."""
    entries = {name: _entry(path, name, entry) for name, entry in header.items()}
    found, end = {}, 0
    for name, one in sorted(entries.items(), key=lambda item: item[1][2:]):
        itemsize = 2 if one.dtype == BF16 else np.dtype(DTYPES[one.dtype]).itemsize
        length = math.prod(one.shape) * itemsize
        if one.begin != end or one.end != end + length or one.end > size:
            _fail(
                path,
                f"{name} lies at {one.begin} to {one.end} of {size} bytes, "
                f"expected {end} to {end + length}",
            )
        found[name], end = one, one.end
    if end != size:
        _fail(path, f"{size - end} bytes follow the last array, expected none")
    return found


def _array(path: Path, name: str, code: str, stored: memoryview) -> NDArray[Any]:
    """Return the numbers of an array in a row, as a copy."""
    if code == BF16:
        halves = np.frombuffer(stored, "<u2").astype("<u4")
        return (halves << 16).view("<f4")
    if code == "BOOL" and max(stored, default=0) > 1:
        _fail(path, f"{name} holds a byte above 1, expected 0 and 1 for BOOL")
    return np.frombuffer(stored, DTYPES[code]).copy()


def _bytes_of(path: Path) -> bytes:
    """Return what a regular file holds."""
    _size_of(path)
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise FileError(path, f"cannot be read: {reason}") from error


def _size_of(path: Path) -> int:
    """Return the bytes of a regular file; a pipe would wait for ever, a folder has none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise FileError(path, f"cannot be read: {reason}") from error
    if not stat.S_ISREG(found.st_mode):
        raise FileError(path, "is no regular file, expected a safetensors file")
    return found.st_size


def _header(path: Path, text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        _fail(path, "its header does not begin with a brace")
    try:
        header = strict_json(path, text.decode())
    except FileError as error:
        _fail(path, f"its header {str(error).removeprefix(f'{path} ')}")
    except UnicodeDecodeError as error:
        _fail(path, f"its header is no UTF-8: {error}")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _fail(path, "its __metadata__ holds something else than texts")
    return header


class Entry(NamedTuple):
    """What a header says of an array."""

    dtype: str  # by its name in `DTYPES`, or `BF16`
    shape: tuple[int, ...]
    begin: int  # of its bytes, behind the header
    end: int


def _entry(path: Path, name: str, entry: Any) -> Entry:
    """Return dtype, shape and place of an array, checked."""
    keys = {"dtype", "shape", "data_offsets"}
    if not isinstance(entry, dict) or entry.keys() != keys:
        _fail(path, f"{name} is described by {entry!r}, expected {', '.join(sorted(keys))}")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if code not in (*DTYPES, BF16):
        _fail(path, f"{name} has dtype {code!r}, expected one of: {', '.join(DTYPES)}, {BF16}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            _fail(path, f"{name} has shape {shape!r} at {offsets!r}, expected whole numbers")
    if len(offsets) != 2:
        _fail(path, f"{name} lies at {offsets!r}, expected where it begins and where it ends")
    if len(shape) > 64 or (0 in shape and math.prod(n or 1 for n in shape) > 2**60):
        _fail(path, f"{name} has shape {shape!r}, which no array of NumPy can have")
    return Entry(code, tuple(shape), *offsets)


def _fail(path: Path, reason: str) -> NoReturn:
    raise FileError(path, f"is no safetensors file that can be read: {reason}")
