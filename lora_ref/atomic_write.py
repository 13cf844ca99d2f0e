"""Writing files so that a reader finds all of them, or what stood there before."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lora_ref.errors import FileError


def write_whole(path: Path, content: str | bytes) -> None:
    r"""Write a file atomically, whole or not at all; text as UTF-8 with ``\n``, on every system.

    Raises
    ------
    FileError
        Where it cannot be written. What stood there before is left, and no draft beside it.
    """
    write_together({path: content.encode() if isinstance(content, str) else content})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write all of some files, or none: an error or an interruption leaves what stood there.

    Drafts are written beside the files, and take their names when all are there. Only a process
    that is killed between two of these renamings, a moment, leaves a new file beside an old one.
    """
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    before: dict[Path, bytes | None] = {}  # of the files that are renamed already
    path = next(iter(files))
    try:
        for path, content in files.items():
            if path.exists() and not path.is_file():  # a renaming would replace a device
                raise FileError(path, "cannot be written: it is no regular file")
            drafts[path].write_bytes(content)
        for path in files:
            old = path.read_bytes() if len(files) > 1 and path.exists() else None
            os.replace(drafts[path], path)
            before[path] = old
    except BaseException as error:
        if len(before) < len(files):
            for renamed, old in before.items():
                renamed.unlink() if old is None else renamed.write_bytes(old)
        if isinstance(error, OSError):
            raise FileError(path, f"cannot be written: {error.strerror}") from error
        raise
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink()
