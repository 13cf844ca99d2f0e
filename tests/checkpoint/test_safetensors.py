"""The file format: what is written comes back, and what breaks its rules is refused."""

import json
import os

import numpy as np
import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.checkpoint import read_safetensors, write_safetensors
from lora_ref.checkpoint.safetensors import DTYPES
from lora_ref.errors import FileError, LoraRefError
from tests.fixtures.memory import peak_bytes


def file_of(header, data=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@given(st.integers(0, 2**32 - 1))
def test_arrays_come_back_as_they_were(tmp_path_factory, seed):
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("files") / "a.safetensors"
    arrays = {}
    for i, code in enumerate(DTYPES.values()):
        shape = tuple(rng.integers(0, 4, rng.integers(0, 4)))
        arrays[f"layer.{i}"] = (100 * rng.standard_normal(shape)).astype(code)
    write_safetensors(path, arrays, {"format": "pt"})
    read = read_safetensors(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()
        assert read[name].flags.writeable


def test_any_order_in_memory_and_of_bytes_is_stored_row_by_row(tmp_path):
    path, array = tmp_path / "a.safetensors", np.arange(12.0).reshape(3, 4)
    ways = {"T": array.T, "big": array.astype(">f8"), "every": array[::2, ::-1]}
    for name, way in ways.items():
        write_safetensors(path, {name: way})
        assert read_safetensors(path)[name].tolist() == way.tolist()


def test_the_same_arrays_give_the_same_bytes_and_a_header_that_ends_at_a_multiple_of_8(tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    a, b = np.ones((2, 3), np.float16), np.zeros(5)
    write_safetensors(one, {"a": a, "b": b})
    write_safetensors(other, {"b": b, "a": a})
    assert one.read_bytes() == other.read_bytes()
    assert int.from_bytes(one.read_bytes()[:8], "little") % 8 == 0


DAMAGED = {
    "short": (b"1234567", "it has 7 bytes, expected 8 at least"),
    "long header": (file_of({}, length=100), "its header is 100 bytes long"),
    "huge header": (file_of({}, length=2**63), "bytes long"),
    "not UTF-8": (file_of(b"{\xff}"), "its header is no UTF-8"),
    "no JSON": (file_of(b'{"a": }'), "its header is no JSON"),
    "white space": (file_of(b" {}"), "its header does not begin with a brace"),
    "a list": (file_of(b"[]"), "its header does not begin with a brace"),
    "NaN": (file_of(b'{"a": NaN}'), "its header holds NaN, which is no number of JSON"),
    "long number": (file_of(b'{"a": %s}' % (b"1" * 5000)), "its header is no JSON: Exceeds"),
    "deep": (file_of(b'{"a":' + b"[" * 100_000), "its header is no JSON"),
    "twice": (file_of(b'{"a": 1, "a": 2}'), "its header has 'a' twice"),
    "metadata": (file_of({"__metadata__": {"a": 1}}), "holds something else than texts"),
    "no entry": (file_of({"a": 3}), "a is described by 3"),
    "surplus key": (file_of({"a": {**entry(), "x": 1}}, b"1234"), "a is described by"),
    "dtype": (file_of({"a": entry("O")}, b"1234"), "a has dtype 'O', expected one of: F64"),
    "lower case": (file_of({"a": entry("f32")}, b"1234"), "a has dtype 'f32'"),
    "negative": (file_of({"a": entry(shape=(-1,))}, b"1234"), "expected whole numbers"),
    "boolean": (file_of({"a": entry(shape=(True,))}, b"1234"), "expected whole numbers"),
    "fraction": (file_of({"a": entry(offsets=(0, 4.0))}, b"1234"), "expected whole numbers"),
    "three offsets": (file_of({"a": entry(offsets=(0, 4, 8))}, b"1234"), "where it ends"),
    "too few bytes": (file_of({"a": entry()}, b"123"), "a lies at 0 to 4 of 3 bytes"),
    "too many bytes": (file_of({"a": entry()}, b"12345"), "1 bytes follow the last array"),
    "a hole": (file_of({"a": entry(offsets=(4, 8))}, b"12345678"), "expected 0 to 4"),
    "reversed": (file_of({"a": entry(offsets=(4, 0))}, b"1234"), "a lies at 4 to 0"),
    "overlap": (file_of({"a": entry(), "b": entry()}, b"1234"), "expected 4 to 8"),
    "empty and huge": (file_of({"a": entry(shape=(2**62, 8, 0), offsets=(0, 0))}), "no array of"),
    "many axes": (file_of({"a": entry(shape=(1,) * 65)}, b"1234"), "which no array of NumPy"),
    "a list for dtype": (file_of({"a": entry(dtype=["F32"])}, b"1234"), "a has dtype"),
    "no truth": (file_of({"a": entry("BOOL", offsets=(0, 1))}, b"\2"), "holds a byte above 1"),
    "overflow": (file_of({"a": entry(shape=(2**62, 8))}, b"1234"), "a lies at 0 to 4"),
}


@each("case", DAMAGED)
def test_a_damaged_file_is_refused_in_a_sentence(case, tmp_path):
    content, sentence = DAMAGED[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match=sentence) as said:
        read_safetensors(path)
    assert said.value.path == path
    assert str(path) in str(said.value)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    path, exact = tmp_path / "a.safetensors", np.array([1.0, -2.5, 3.140625, 0.0, 1e30], np.float32)
    halves = (exact.view(np.uint32) >> 16).astype("<u2")
    path.write_bytes(file_of({"a": entry("BF16", (5,), (0, 10))}, halves.tobytes()))
    read = read_safetensors(path)["a"]
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, exact, rtol=2**-7)
    assert read[:4].tolist() == exact[:4].tolist()
    infinite = np.array([0x7F80, 0xFF80, 0x7FC0], "<u2")
    path.write_bytes(file_of({"a": entry("BF16", (3,), (0, 6))}, infinite.tobytes()))
    assert [*map(str, read_safetensors(path)["a"].tolist())] == ["inf", "-inf", "nan"]


def test_reading_takes_a_small_multiple_of_the_file(tmp_path):
    path, taken = tmp_path / "a.safetensors", []
    write_safetensors(path, {name: np.ones(50_000) for name in "abcd"})
    with peak_bytes(taken):
        read_safetensors(path)
    assert taken[0] < 3 * path.stat().st_size
    lie = file_of({"a": entry("F64", (2**40,), (0, 2**43))}, b"12345678")
    path.write_bytes(lie)
    with peak_bytes(taken), pytest.raises(LoraRefError, match="a lies at 0 to"):
        read_safetensors(path)
    assert taken[1] < 100_000


def test_what_is_no_regular_file_does_not_hang(tmp_path):
    with pytest.raises(LoraRefError, match="is no regular file"):
        read_safetensors(tmp_path)
    with pytest.raises(LoraRefError, match="cannot be read: No such file"):
        read_safetensors(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(FileError, match="cannot be read: Too many levels of symbolic links"):
        read_safetensors(tmp_path / "loop")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(LoraRefError, match="is no regular file"):
            read_safetensors(tmp_path / "pipe")


@pytest.mark.parametrize(
    "arrays", [{"a": np.ones(2, complex)}, {"a": np.array([None])}, {"__metadata__": np.ones(2)}]
)
def test_what_cannot_be_read_back_is_not_written(arrays, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(LoraRefError, match=r"cannot be written to .*, expected"):
        write_safetensors(path, arrays)
    assert not path.exists()
