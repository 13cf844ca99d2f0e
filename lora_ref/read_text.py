"""Reading a text file that a user names, every error a sentence."""

from os.path import exists, isfile
from pathlib import Path

from lora_ref.errors import FileError, LoraRefError


def read_text(path: str | Path, largest: int, expected: str) -> str:
    """Return the text of a UTF-8 file of at most `largest` bytes, without a byte order mark.

    `expected` says what the file should be, such as ``"a TOML file"``. What cannot be read raises
    FileError.
    """
    if not isinstance(path, str | Path):
        raise LoraRefError(f"path is {path!r}, expected the name of {expected}")
    path = Path(path)
    if exists(path) and not isfile(path):  # opening a pipe would wait for somebody who writes
        kind = "a folder" if path.is_dir() else "no regular file"
        raise FileError(path, f"is {kind}, expected {expected}")
    try:
        with path.open("rb") as file:
            raw = file.read(largest + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        sentence = f"cannot be read: {reason}, expected {expected}"
        raise FileError(path, sentence, named=repr(str(path))) from None
    if len(raw) > largest:
        raise FileError(path, f"has more than {largest:,} bytes, too many for {expected}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        byte = f"the byte 0x{raw[error.start]:02x}"
        sentence = f"{byte} is not UTF-8; save the file as UTF-8"
        raise FileError(path, sentence, named=f"{path}, line {line}:") from None
