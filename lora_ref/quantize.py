"""Weights in 4 or 8 bits: a code for each value, and one absmax for each block of values.

Every kind here is the same idea. Divide a block by its largest magnitude, its absmax, so that all
of it lies in [-1, 1]; store for each value the index of the nearest of a few fixed levels; to read
a value back, multiply the level by absmax. The kinds differ in their levels alone:

``nf4``
    16 quantiles of a normal distribution: NormalFloat, of QLoRA (Dettmers et al., 2023,
    arXiv 2305.14314). The values are derived in `nf4_levels`, not copied.
``int4``
    The integers from -7 to 7, divided by 7. Symmetric: -8 is left out, and one code in 16 unused.
``int8``
    The integers from -127 to 127, divided by 127; one code in 256 is unused.

A code is an index into the levels, so the integer of ``int4`` is its code minus 7.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

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

Kind: TypeAlias = Literal["nf4", "int4", "int8"]

NF4_OFFSET = 0.9677083
"""Probability of the largest level of NF4: 1 - (1/64 + 1/60), rounded as in bitsandbytes."""

NF4_BLOCK = 64
"""Values that share an absmax in QLoRA."""

ABSMAX_BLOCK = 256
"""Values of absmax that share a constant when absmax is quantised in turn."""


def nf4_levels(offset: float = NF4_OFFSET) -> Array:
    """Return the 16 levels of NF4, derived: bit for bit the published float32 values.

    Quantiles of N(0, 1) at even steps of probability from `offset` to 1/2, eight of them without
    the 1/2 itself; the same with seven, negative; zero; all divided by the largest. Zero is exact,
    and the two sides differ: 7 levels are negative, 8 positive. (QLoRA's equation 4 asks for
    quantiles at 0 and 1, which are infinite; the offset is what the authors' code does instead.)

    The bits depend on the path. The steps are float32 and counted from the nearer end, the
    quantiles are rounded to float32 before the division, and the offset is the rounded one.

    Parameters
    ----------
    offset : float
        Probability of the largest level, between 1/2 and 1.

    Returns
    -------
    ndarray of shape (16,), float32
        In ascending order, from -1 to 1.

    Raises
    ------
    LoraRefError
        For an offset that is not between 1/2 and 1.

    Examples
    --------
    >>> nf4_levels()[[0, 7, 8, 15]].tolist()
    [-1.0, 0.0, 0.07958029955625534, 1.0]
    """
    offset = as_finite("offset in nf4_levels", offset)
    if not 0.5 < np.float32(offset) < 1.0:
        raise LoraRefError(f"offset in nf4_levels is {offset}, expected a number in (1/2, 1)")
    quantile = NormalDist().inv_cdf
    positive = [quantile(float(p)) for p in _even_steps(offset, 0.5, 9)[:-1]]
    negative = [-quantile(float(p)) for p in _even_steps(offset, 0.5, 8)[:-1]]
    levels = np.array(sorted([*negative, 0.0, *positive]), np.float32)
    levels /= levels[-1]
    return levels


def _even_steps(start: float, stop: float, count: int) -> Array:
    """Return `count` float32 values, each counted from the nearer end as torch.linspace does."""
    first, last = np.float32(start), np.float32(stop)
    step = (last - first) / np.float32(count - 1)
    up = np.arange(count, dtype=np.float32)
    down = up[::-1]
    return np.where(up < down, first + step * up, last - step * down)


def _integer_levels(largest: int) -> Array:
    integers = np.arange(-largest, largest + 1, dtype=np.float32)
    return integers / np.float32(largest)


LEVELS: Mapping[str, Array] = {
    "nf4": frozen(nf4_levels()),
    "int4": frozen(_integer_levels(7)),
    "int8": frozen(_integer_levels(127)),
}
"""The levels of each kind: float32, ascending, from -1 to 1, zero among them."""

_PER_BYTE = {"nf4": 2, "int4": 2, "int8": 1}


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedArray:
    """An array as codes and block constants; `quantize` makes one, `dequantize` reads it back.

    Parameters
    ----------
    kind : str
        ``"nf4"``, ``"int4"`` or ``"int8"``.
    codes : ndarray of uint8, one axis
        Indices into `levels`, in C order: one a byte for int8. Else two a byte, the first in the
        high nibble; where the number of values is odd, the last low nibble means nothing.
    absmax : ndarray of shape (blocks,), or QuantizedArray of that shape
        The largest magnitude of each block, in float32. Float64 is taken where float32 holds the
        same values. Double quantisation puts a QuantizedArray of ``absmax - mean`` here.
    block_size : int
        Values that share an absmax; the last block may be shorter.
    shape : tuple of int
        Of the array.
    dtype : numpy.dtype
        Of the array, and of what `dequantize` returns.
    mean : float
        What was taken off absmax before it was quantised in turn; 0 where it was not.

    Raises
    ------
    LoraRefError
        For codes that stand for no level, or an absmax that is negative, not finite or not float32.
    ShapeError
        Where codes or absmax have not the length that `shape` and `block_size` ask for.

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
        _check_kind("kind in QuantizedArray", self.kind)
        as_count("block_size in QuantizedArray", self.block_size)
        for axis in self.shape:
            as_count("an axis of shape in QuantizedArray", axis)
        as_finite("mean in QuantizedArray", self.mean, np.dtype(np.float32))
        object.__setattr__(self, "dtype", _as_float("dtype in QuantizedArray", self.dtype))
        object.__setattr__(self, "codes", self._checked_codes())
        object.__setattr__(self, "absmax", self._checked_absmax())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back from a copy or a pickle checked, and read-only again."""
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def levels(self) -> Array:
        """The float32 values in [-1, 1] that a code may stand for, ascending."""
        return LEVELS[self.kind]

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
        """Bytes of the codes and all constants; the levels, which all arrays share, left out."""
        mean = np.float32(self.mean).nbytes if self.double else 0
        return self.codes.nbytes + self.absmax.nbytes + mean

    @property
    def bits_per_weight(self) -> float:
        """``8 * nbytes / size``: what a value really takes; `bits_per_weight` is the formula."""
        return 8 * self.nbytes / self.size

    @property
    def indices(self) -> NDArray[np.uint8]:
        """The codes unpacked: an index into `levels` for each value, in the array's shape."""
        if _PER_BYTE[self.kind] == 1:
            return self.codes.reshape(self.shape)
        pairs = np.stack([self.codes >> 4, self.codes & 15], axis=1)
        return pairs.reshape(-1)[: self.size].reshape(self.shape)

    @property
    def block_absmax(self) -> Array:
        """The constant of each block, shape (blocks,), float32: what the levels are multiplied by.

        From double quantisation it comes back rounded, and never below zero.
        """
        if not isinstance(self.absmax, QuantizedArray):
            return self.absmax
        absmax = self.absmax.dequantize(np.dtype(np.float64)) + self.mean
        np.clip(absmax, 0.0, _LARGEST, out=absmax)
        return absmax.astype(np.float32)

    def dequantize(self, dtype: AnyDType | None = None) -> Array:
        """Return ``levels[code] * absmax`` for every value, a new array.

        The product is rounded to float32 and only then taken to another dtype, so a layer in
        float64 computes with the very weight that a layer in float32 has.

        Parameters
        ----------
        dtype : numpy.dtype, optional
            Of the result; that of the array which was quantised if omitted.

        Raises
        ------
        LoraRefError
            For a dtype that is not floating point, or cannot hold the largest absmax.
        """
        target = self.dtype if dtype is None else _as_float("dtype in dequantize", dtype)
        absmax = self.block_absmax
        as_finite("the largest absmax in dequantize", absmax.max(), target)
        table, per_byte = _TABLES[self.kind], _PER_BYTE[self.kind]
        width = min(self.block_size, self.size)
        # whole blocks, in whole bytes: the rest of a short last block is zero and is cut off
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
        """Kind, shape, block size, dtype and size in memory, on one line."""
        double = ", double" if self.double else ""
        return (
            f"{type(self).__name__}({self.kind}, shape={self.shape}, "
            f"block_size={self.block_size}{double}, {self.dtype}, "
            f"{self.bits_per_weight:.4g} bits a weight)"
        )

    def _checked_codes(self) -> NDArray[np.uint8]:
        what, codes = "codes in QuantizedArray", self.codes
        got: object = getattr(codes, "dtype", type(codes).__name__)
        if got != np.uint8:
            raise LoraRefError(f"{what} is of {got}, expected an array of uint8")
        expected = (-(-self.size // _PER_BYTE[self.kind]),)
        if codes.shape != expected:
            raise ShapeError(f"{what} has shape {codes.shape}, expected {expected}")
        if self.kind != "nf4" and self.indices.max() >= len(self.levels):
            raise LoraRefError(
                f"{what} holds {self.indices.max()}, expected at most {len(self.levels) - 1}"
            )
        codes = codes.view()
        codes.flags.writeable = False
        return codes

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

    float32 is the working dtype. An array of another dtype is rounded to float32 first, and comes
    back from `QuantizedArray.dequantize` in its own dtype; a magnitude below the smallest float32
    becomes zero. A block of zeros has absmax 0 and comes back as zeros.

    Halfway between two levels, NF4 takes the lower one: the thresholds are the float32 midpoints,
    which are those of bitsandbytes. The integers take the even one, as ``numpy.rint`` does.

    Quantising what came back gives the same codes and absmax, bit for bit: the largest magnitude
    of a block is stored exactly, as level -1 or 1. Double quantisation rounds it. NF4 has one
    exception, at the bottom of float32 (and of float16, for an array of that dtype): where absmax
    is 5 times the smallest subnormal number, -4 times it comes back as -3 times it, and -3 times
    it has another code.

    Parameters
    ----------
    array : ndarray
        Finite values of any shape.
    kind : str
        ``"nf4"``, ``"int4"`` or ``"int8"``.
    block_size : int, optional
        Values that share an absmax; None for one absmax for the whole array.
    double : bool
        Whether to quantise absmax in turn, to 8 bits in blocks of 256 after taking its mean off
        (QLoRA, section 3, "Double Quantization"). The paper stores it as 8-bit floats; here it is
        int8, which takes the same memory and has even steps.

    Raises
    ------
    LoraRefError
        For NaN or an infinity, for values that float32 cannot hold, an unknown kind, or a block
        size that is not a whole number of at least 1.

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
    _check_kind("kind in quantize", kind)
    size = array.size if block_size is None else as_count("block_size in quantize", block_size)
    codes, absmax = _encoded(what, array, kind, min(size, array.size))
    constants: Array | QuantizedArray = absmax
    mean = 0.0
    if double:
        mean = float(np.float32(absmax.mean(dtype=np.float64)))
        centred = absmax.astype(np.float64) - mean
        constants = quantize(centred, "int8", block_size=ABSMAX_BLOCK)
    return QuantizedArray(kind, codes, constants, size, array.shape, array.dtype, mean)


def bits_per_weight(bits: int = 4, *, block_size: int = NF4_BLOCK, double: bool = False) -> float:
    """Return the bits that a weight takes in a large array, from the formula.

    ``bits + 32 / block_size``, or ``bits + 8 / block_size + 32 / (256 * block_size)`` with double
    quantisation (QLoRA, section 3). A real array has rounding up at its end, and with double
    quantisation one mean more: `QuantizedArray.bits_per_weight` counts them.

    Examples
    --------
    >>> bits_per_weight(), bits_per_weight(double=True)
    (4.5, 4.126953125)
    """
    bits = as_count("bits in bits_per_weight", bits)
    block_size = as_count("block_size in bits_per_weight", block_size)
    return bits + (8 + 32 / ABSMAX_BLOCK if double else 32) / block_size


def _encoded(what: str, array: Array, kind: str, width: int) -> tuple[NDArray[np.uint8], Array]:
    """Return the packed codes and the absmax of each block of `width` values."""
    values, per_byte = array.reshape(-1), _PER_BYTE[kind]
    absmax = np.empty(-(-array.size // width), np.float32)
    codes = np.empty(-(-array.size // per_byte), np.uint8)
    for first, last in _chunks(len(absmax), width):
        part = values[first * width : last * width]
        padded = (last - first) * width
        x = np.zeros(padded + padded % 2, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # the next lines say it in a sentence
            x[: part.size] = part
        block = x[:padded].reshape(-1, width)
        largest = np.abs(block).max(axis=1)
        if not np.isfinite(largest).all():
            check_finite(what, array)
            as_finite(f"the largest magnitude of {what}", np.abs(part).max(), x.dtype)
        absmax[first:last] = largest
        block /= np.where(largest > 0, largest, np.float32(1))[:, None]
        found = _nearest(kind, x)
        if per_byte == 2:
            found = _packed(found)
        start = first * width // per_byte
        codes[start : start + len(found)] = found[: len(codes) - start]  # without the padding
    return codes, absmax


def _nearest(kind: str, x: Array) -> NDArray[np.uint8]:
    """Return the index of the level nearest to each x in [-1, 1]; x may be written over."""
    if kind == "nf4":
        # 15 comparisons of whole arrays: a search for each value takes several times as long
        codes = np.zeros(x.shape, np.uint8)
        for threshold in _NF4_THRESHOLDS:
            codes += (x > threshold).view(np.uint8)
        return codes
    largest = len(LEVELS[kind]) // 2
    x *= largest
    np.rint(x, out=x)
    x += largest
    return x.astype(np.uint8)


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return two 4-bit codes a byte, the first in the high nibble."""
    pair = codes.view("<u2")  # first + 256 * second: one number, where slices would be two strides
    return (pair << 4 | pair >> 8).astype(np.uint8)


_NF4_THRESHOLDS = (LEVELS["nf4"][1:] + LEVELS["nf4"][:-1]) / 2

_LARGEST = float(np.finfo(np.float32).max)

_CHUNK = 1 << 16  # values at a time: few enough to stay in the cache for all comparisons


def _chunks(blocks: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first block and the one after the last, an even number of blocks at a time.

    Even, so that each chunk but the last fills whole bytes.
    """
    step = max(2, _CHUNK // width // 2 * 2)
    for first in range(0, blocks, step):
        yield first, min(first + step, blocks)


def _table(kind: str) -> NDArray[Any]:
    """Return what a byte of codes stands for: a level, or two levels side by side.

    The pair is one complex64, which NumPy looks up and copies in one piece; it is never a number.
    """
    levels = LEVELS[kind]
    if _PER_BYTE[kind] == 1:
        return levels
    byte = np.arange(256)
    padded = np.resize(levels, 16)  # int4 has no level 15, and no code that asks for it
    return np.stack([padded[byte >> 4], padded[byte & 15]], axis=1).view(np.complex64)[:, 0]


_TABLES = {kind: np.ascontiguousarray(_table(kind)) for kind in LEVELS}


def _check_kind(what: str, kind: object) -> None:
    if not isinstance(kind, str) or kind not in LEVELS:
        raise LoraRefError(f"{what} is {kind!r}, expected one of: {', '.join(LEVELS)}")


def _as_float(what: str, dtype: AnyDType) -> AnyDType:
    if np.dtype(dtype).kind != "f":
        raise LoraRefError(f"{what} is {np.dtype(dtype)}, expected a floating-point dtype")
    return np.dtype(dtype)
