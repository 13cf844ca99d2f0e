"""Quantised arrays: codes, block constants, double quantisation, and the bits they take."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import (
    AnyDType,
    Array,
    as_count,
    as_finite,
    check_array,
    check_finite,
    check_float,
    frozen,
)
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.quantize.levels import NF4_BLOCK, Kind, check_kind, levels_of, nf4_thresholds

ABSMAX_BLOCK = 256
"""Values of absmax that share a constant when absmax is quantised in turn."""

CHUNK = 1 << 16
"""Values that are worked on at a time: few enough to stay in the cache for all comparisons."""

_CODES_PER_BYTE = {"nf4": 2, "int4": 2, "int8": 1}


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedArray:
    """An array as codes and block constants, read-only: what `quantize` returns.

    Parameters
    ----------
    kind : str
        ``"nf4"``, ``"int4"`` or ``"int8"``.
    codes : ndarray of uint8, one axis
        Indices into `levels`, in C order. For int8 one a byte; otherwise two, the first in the
        high nibble. If the number of values is odd, the last low nibble means nothing.
    absmax : ndarray of shape (blocks,), or QuantizedArray of that shape
        The largest magnitude of each block: values of float32, in whatever dtype. With double
        quantisation, a QuantizedArray of ``absmax - mean``.
    block_size : int
        Values that share an absmax; the last block may be shorter.
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Dtype of the array, and of the result of `dequantize`.
    mean : float
        What was subtracted from absmax before absmax was quantised; 0 without double quantisation.

    Examples
    --------
    >>> q = quantize(np.array([[0.5, -2.0, 0.1]], np.float32))
    >>> q
    QuantizedArray(nf4, shape=(1, 3), block_size=64, float32, 16 bits a weight)
    >>> [f"{byte:02x}" for byte in q.codes], q.absmax.tolist()
    (['a0', '87'], [2.0])
    """

    kind: Kind
    codes: NDArray[np.uint8]
    absmax: "Array | QuantizedArray"
    block_size: int
    shape: tuple[int, ...]
    dtype: AnyDType
    mean: float = 0.0

    def __post_init__(self) -> None:
        check_kind("kind in QuantizedArray", self.kind)
        as_count("block_size in QuantizedArray", self.block_size)
        object.__setattr__(self, "shape", self._checked_shape())
        as_finite("mean in QuantizedArray", self.mean, np.dtype(np.float32))
        object.__setattr__(self, "dtype", _as_float("dtype in QuantizedArray", self.dtype))
        object.__setattr__(self, "codes", self._checked_codes())
        object.__setattr__(self, "absmax", self._checked_absmax())
        if self.mean and not self.double:
            raise LoraRefError(
                f"mean in QuantizedArray is {self.mean}, expected 0: absmax is not quantised"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy or a pickle: checked, and read-only again."""
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def levels(self) -> Array:
        """The float32 values in [-1, 1] that a code may stand for, ascending."""
        return levels_of(self.kind)

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def double(self) -> bool:
        """Whether absmax is quantised too."""
        return isinstance(self.absmax, QuantizedArray)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and all constants, without the levels, which all arrays share."""
        mean = np.float32(self.mean).nbytes if self.double else 0
        return self.codes.nbytes + self.absmax.nbytes + mean

    @property
    def bits_per_weight(self) -> float:
        """``8 * nbytes / size``, with all rounding up; the function of this name is the formula."""
        return 8 * self.nbytes / self.size

    @property
    def indices(self) -> NDArray[np.uint8]:
        """The codes unpacked: an index into `levels` for each value, in the array's shape."""
        if _CODES_PER_BYTE[self.kind] == 1:
            return self.codes.reshape(self.shape)
        pairs = np.stack([self.codes >> 4, self.codes & 15], axis=1)
        return pairs.reshape(-1)[: self.size].reshape(self.shape)

    @property
    def block_absmax(self) -> Array:
        """What the levels of each block are multiplied by, shape (blocks,), float32.

        With double quantisation it is rounded, and never below zero.
        """
        if not isinstance(self.absmax, QuantizedArray):
            return self.absmax
        absmax = self.absmax.dequantize(np.dtype(np.float64)) + self.mean
        np.clip(absmax, 0.0, np.finfo(np.float32).max, out=absmax)
        return absmax.astype(np.float32)

    def dequantize(self, dtype: AnyDType | None = None) -> Array:
        """Return ``levels[code] * absmax`` for every value, a new array.

        The product is rounded to float32 and only then converted to `dtype`, so a layer in float64
        computes with exactly the weight of a layer in float32. If omitted, `dtype` is that of the
        array that was quantised. A dtype that cannot hold the largest absmax is an error.
        """
        target = self.dtype if dtype is None else _as_float("dtype in dequantize", dtype)
        absmax = self.block_absmax
        as_finite("the largest absmax in dequantize", absmax.max(), target)
        table, per_byte = _table(self.kind), _CODES_PER_BYTE[self.kind]
        width = min(self.block_size, self.size)
        # whole blocks in whole bytes: what a short last block leaves empty is cut off at the end
        out = np.zeros(-(-len(absmax) * width // per_byte), table.dtype)
        values = out.view(np.float32)
        for first, last in _chunks(len(absmax), width):
            start = first * width // per_byte
            codes = self.codes[start : -(-last * width // per_byte)]
            np.take(table, codes, out=out[start : start + len(codes)], mode="clip")
            block = values[first * width : last * width].reshape(-1, width)
            block *= absmax[first:last, None]
        return values[: self.size].reshape(self.shape).astype(target, copy=False)

    def __repr__(self) -> str:
        """Show kind, shape, block size, dtype and bits a weight, on one line."""
        double = ", double" if self.double else ""
        return (
            f"{type(self).__name__}({self.kind}, shape={self.shape}, "
            f"block_size={self.block_size}{double}, {self.dtype}, "
            f"{self.bits_per_weight:.4g} bits a weight)"
        )

    def _checked_shape(self) -> tuple[int, ...]:
        given: object = self.shape
        if not isinstance(given, tuple | list):
            raise LoraRefError(f"shape in QuantizedArray is {given!r}, expected a tuple of axes")
        return tuple(as_count("an axis of shape in QuantizedArray", axis) for axis in given)

    def _checked_codes(self) -> NDArray[np.uint8]:
        what, codes = "codes in QuantizedArray", self.codes
        got: object = getattr(codes, "dtype", type(codes).__name__)
        if got != np.uint8:
            raise LoraRefError(f"{what} is of {got}, expected an array of uint8")
        expected = (-(-self.size // _CODES_PER_BYTE[self.kind]),)
        if codes.shape != expected:
            raise ShapeError(f"{what} has shape {codes.shape}, expected {expected}")
        if self.kind != "nf4" and self.indices.max() >= len(self.levels):
            raise LoraRefError(
                f"{what} holds {self.indices.max()}, expected at most {len(self.levels) - 1}"
            )
        return frozen(codes)

    def _checked_absmax(self) -> "Array | QuantizedArray":
        what, absmax = "absmax in QuantizedArray", self.absmax
        blocks = -(-self.size // self.block_size)
        if isinstance(absmax, QuantizedArray):
            if absmax.shape != (blocks,):
                raise ShapeError(f"{what} has shape {absmax.shape}, expected ({blocks},)")
            return absmax
        check_array(what, absmax, blocks=blocks)
        if absmax.min() < 0:
            raise LoraRefError(f"{what} holds {float(absmax.min())}, expected no negative entry")
        as_finite(f"the largest {what}", absmax.max(), np.dtype(np.float32))
        rounded = absmax.astype(np.float32, copy=False)
        if not np.array_equal(rounded, absmax):
            raise LoraRefError(f"{what} has values between those of float32, expected float32")
        return frozen(rounded)


def quantize(
    array: Array, kind: Kind = "nf4", *, block_size: int | None = NF4_BLOCK, double: bool = False
) -> QuantizedArray:
    """Return `array` as the nearest levels of `kind`, block by block over its flattened values.

    The array is rounded to float32 first, so a magnitude below the smallest float32 becomes zero.
    A block of zeros has absmax 0 and is dequantised to zeros.

    Halfway between two levels, NF4 takes the lower one: the thresholds are the float32 midpoints,
    as in bitsandbytes. The integers take the even one, as ``numpy.rint`` does.

    Quantising a dequantised array gives the same codes and absmax, bit for bit: the largest
    magnitude of a block is stored exactly, as level -1 or 1. Double quantisation rounds it. NF4 has
    one exception, among the subnormal numbers of the array's dtype: if absmax is 5 times the
    smallest, -4 times the smallest becomes -3 times it, which has another code.

    A `block_size` of None is one absmax for the whole array. With `double` the absmax of all blocks
    are quantised too, to 8 bits in blocks of 256, after their mean is subtracted (QLoRA, section 3,
    "Double Quantization"). The paper stores them as 8-bit floats; here they are int8, which takes
    the same memory and has even steps.

    Examples
    --------
    >>> W0 = np.random.default_rng(0).standard_normal((256, 512))
    >>> quantize(W0)
    QuantizedArray(nf4, shape=(256, 512), block_size=64, float64, 4.5 bits a weight)
    >>> quantize(W0, double=True).bits_per_weight
    4.127197265625
    """
    what = "array in quantize"
    check_float(what, array)
    check_kind("kind in quantize", kind)
    size = array.size if block_size is None else as_count("block_size in quantize", block_size)
    codes, absmax = _encode(what, array, kind, min(size, array.size))
    if not double:
        return QuantizedArray(kind, codes, absmax, size, array.shape, array.dtype)
    mean = float(np.float32(absmax.mean(dtype=np.float64)))
    constants = quantize(absmax.astype(np.float64) - mean, "int8", block_size=ABSMAX_BLOCK)
    return QuantizedArray(kind, codes, constants, size, array.shape, array.dtype, mean)


def bits_per_weight(bits: int = 4, *, block_size: int = NF4_BLOCK, double: bool = False) -> float:
    """Return the bits that a weight takes in a large array, by the formula of QLoRA, section 3.

    It is ``bits + 32 / block_size``, or ``bits + 8 / block_size + 32 / (256 * block_size)`` with
    double quantisation. `QuantizedArray.bits_per_weight` also counts the rounding up at the end of
    an array and the mean of double quantisation.

    Examples
    --------
    >>> bits_per_weight(), bits_per_weight(double=True)
    (4.5, 4.126953125)
    """
    bits = as_count("bits in bits_per_weight", bits)
    block_size = as_count("block_size in bits_per_weight", block_size)
    return bits + (8 + 32 / ABSMAX_BLOCK if double else 32) / block_size


def _encode(what: str, array: Array, kind: str, width: int) -> tuple[NDArray[np.uint8], Array]:
    """Return the packed codes and the absmax of each block of `width` values."""
    values, per_byte = array.reshape(-1), _CODES_PER_BYTE[kind]
    absmax = np.empty(-(-array.size // width), np.float32)
    codes = np.empty(-(-array.size // per_byte), np.uint8)
    for first, last in _chunks(len(absmax), width):
        part = values[first * width : last * width]
        padded = (last - first) * width
        x = np.zeros(padded + padded % 2, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            x[: part.size] = part
        block = x[:padded].reshape(-1, width)
        largest = np.abs(block).max(axis=1)
        if not np.isfinite(largest).all():
            check_finite(what, array)
            as_finite(f"the largest magnitude of {what}", np.abs(part).max(), x.dtype)
        absmax[first:last] = largest
        block /= np.where(largest > 0, largest, np.float32(1))[:, None]
        found = _nearest(kind, x)
        if per_byte == 2:  # first + 256 * second as one number: faster than two strided slices
            pair = found.view("<u2")
            found = (pair << 4 | pair >> 8).astype(np.uint8)
        start = first * width // per_byte
        codes[start : start + len(found)] = found[: len(codes) - start]  # without the padding
    return codes, absmax


def _nearest(kind: str, x: Array) -> NDArray[np.uint8]:
    """Return the index of the level nearest to each x in [-1, 1]; x may be overwritten."""
    if kind == "nf4":
        # 15 comparisons of whole arrays are several times as fast as a search for each value
        codes = np.zeros(x.shape, np.uint8)
        for threshold in nf4_thresholds():
            codes += (x > threshold).view(np.uint8)
        return codes
    largest = len(levels_of(kind)) // 2
    x *= largest
    np.rint(x, out=x)
    x += largest
    return x.astype(np.uint8)


def _chunks(blocks: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first block and the one after the last of each chunk.

    A chunk has an even number of blocks, so that each but the last fills whole bytes.
    """
    step = max(2, CHUNK // width // 2 * 2)
    for first in range(0, blocks, step):
        yield first, min(first + step, blocks)


@cache
def _table(kind: str) -> NDArray[Any]:
    """Return what each byte of codes stands for: a level, or a pair of levels.

    A pair is stored as one complex64, because NumPy looks that up in one piece.
    """
    levels = levels_of(kind)
    if _CODES_PER_BYTE[kind] == 1:
        return levels
    byte = np.arange(256)
    padded = np.resize(levels, 16)  # int4 has no level 15, and no code 15 either
    pairs = np.stack([padded[byte >> 4], padded[byte & 15]], axis=1)
    return pairs.view(np.complex64)[:, 0]


def _as_float(what: str, dtype: AnyDType) -> AnyDType:
    if np.dtype(dtype).kind != "f":
        raise LoraRefError(f"{what} is {np.dtype(dtype)}, expected a floating-point dtype")
    return np.dtype(dtype)
