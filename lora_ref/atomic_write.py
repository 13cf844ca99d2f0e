"""Writing a file so that a reader finds all of it, or what stood there before."""

import os
from pathlib import Path

from lora_ref.errors import LoraRefError


def write_whole(path: Path, content: str | bytes) -> None:
    r"""Write a file atomically, whole or not at all; text as UTF-8 with ``\n``, on every system.

    Raises
    ------
    LoraRefError
        Where it cannot be written. What stood there before is left, and no draft beside it.
    """
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise LoraRefError(f"{path} cannot be written: {error.strerror or error}") from None
