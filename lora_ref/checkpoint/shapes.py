"""Names, dtypes and shapes of a model's arrays, read from the headers of its files alone."""

from pathlib import Path
from typing import Any

from lora_ref.checkpoint.safetensors import Entry, read_entries
from lora_ref.checkpoint.strict_json import strict_json
from lora_ref.errors import FileError
from lora_ref.read_text import read_text

LARGEST_JSON = 50_000_000
"""Of an index; one of a model of a million arrays is as large."""

WHOLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"


def read_shapes(path: Path) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Return what the headers say of every array, and the configuration beside them.

    Parameters
    ----------
    path : Path
        A safetensors file, the JSON index of several, or a folder with one of the two, as
        Hugging Face keeps them. The configuration is ``config.json`` in the same folder; it is
        empty where there is none.

    Raises
    ------
    FileError
        Where there is no such file, where one does not keep to the format, and where the index
        names an array that its file has not.
    """
    path = Path(path)
    if path.is_dir():
        inside = [path / name for name in (WHOLE, INDEX) if (path / name).exists()]
        if not inside:
            raise FileError(path, f"has neither {WHOLE} nor {INDEX} in it, expected one")
        path = inside[0]
    entries = _of_several(path) if path.suffix == ".json" else read_entries(path)
    config = path.parent / CONFIG
    if not config.exists():
        return entries, {}
    return entries, strict_json(config, read_text(config, LARGEST_JSON, "a configuration"))


def _of_several(index: Path) -> dict[str, Entry]:
    """Return what the files say that an index names."""
    places = strict_json(index, read_text(index, LARGEST_JSON, "an index")).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(one, str) for one in places.values()):
        raise FileError(index, "has no weight_map, expected the file of each array by its name")
    found: dict[str, Entry] = {}
    for name in dict.fromkeys(places.values()):
        if Path(name).name != name:
            raise FileError(index, f"names the file {name!r}, expected one in the same folder")
        found |= read_entries(index.parent / name)
    for name, file in places.items():
        if name not in found:
            raise FileError(index, f"says that {name} is in {file}, and it is not")
    return {name: found[name] for name in places}
