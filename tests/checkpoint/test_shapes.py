"""What stands in the headers of a model's files: one file, several, or a folder of them."""

import json

import numpy as np
import pytest

from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors
from lora_ref.checkpoint.shapes import read_shapes
from lora_ref.errors import FileError

ARRAYS = {"a.weight": np.ones((3, 2), np.float32), "b.bias": np.ones(4, np.float16)}


@pytest.fixture
def folder(tmp_path):
    """A folder with two files and their index."""
    for number, (name, array) in enumerate(ARRAYS.items()):
        write_safetensors(tmp_path / f"part-{number}.safetensors", {name: array})
    places = {name: f"part-{number}.safetensors" for number, name in enumerate(ARRAYS)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 32}, "weight_map": places}))
    return tmp_path


def shapes_of(path):
    return {name: (one.dtype, one.shape) for name, one in read_shapes(path)[0].items()}


WANTED = {"a.weight": ("F32", (3, 2)), "b.bias": ("F16", (4,))}


def test_one_file_an_index_and_a_folder_say_the_same(folder, tmp_path_factory):
    assert shapes_of(folder) == shapes_of(folder / "model.safetensors.index.json") == WANTED
    other = tmp_path_factory.mktemp("whole") / "model.safetensors"
    write_safetensors(other, ARRAYS)
    assert shapes_of(other) == shapes_of(other.parent) == WANTED
    assert read_safetensors(other).keys() == WANTED.keys()


def test_only_the_header_is_read(tmp_path):
    path = tmp_path / "large.safetensors"
    header = b'{"W":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        try:
            file.truncate(8 + len(header) + 4 * 10**12)  # a hole: no byte of it is stored
        except OSError:
            pytest.skip("this disk has no files with holes")
    assert shapes_of(path) == {"W": ("F32", (1_000_000, 1_000_000))}


def test_the_configuration_beside_it_comes_along(folder):
    assert read_shapes(folder)[1] == {}
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert read_shapes(folder)[1] == {"model_type": "llama"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda index: {}, "has no weight_map, expected the file"),
        (lambda index: {"weight_map": ["a"]}, "has no weight_map"),
        (lambda index: {"weight_map": {"a.weight": "../x"}}, "expected one in the same folder"),
        (lambda index: {"weight_map": {"a.weight": "x.safetensors"}}, "cannot be read: No such"),
        (
            lambda index: {"weight_map": {**index["weight_map"], "c": "part-0.safetensors"}},
            r"says that c is in part-0\.safetensors, and it is not",
        ),
    ],
)
def test_an_index_that_says_what_is_not_so_is_a_sentence(folder, change, sentence):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(FileError, match=sentence):
        read_shapes(folder)


def test_a_folder_without_a_model_and_a_file_that_is_cut_are_sentences(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="has neither"):
        read_shapes(tmp_path / "empty")
    part = folder / "part-0.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(FileError, match=r"a\.weight lies at 0 to 24 of 23 bytes"):
        read_shapes(folder)
