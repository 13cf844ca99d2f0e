"""NF4 of a large matrix: quantizing beside a search for each value, dequantizing beside a gather.

Where bitsandbytes is installed, with torch, its own kernels for the processor run too. It
multiplies by 1/absmax where lora_ref divides, so a few values in a million that lie on a threshold
have another code there.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from lora_ref.quantize import NF4_BLOCK, levels_of, quantize
from tests.bench.contest import contest
from tests.bench.machine import blas_threads
from tests.bench.row import Row, Target

D = 4096

QUANTIZE = "quantize"
SEARCH = "numpy.searchsorted"
ARGMIN = "argmin over 16 distances"
THEIR_QUANTIZE = "bitsandbytes quantise"

DEQUANTIZE = "dequantize"
GATHER = "unpack, gather, multiply"
THEIR_DEQUANTIZE = "bitsandbytes dequantise"

NEEDS = ("torch", "bitsandbytes")

Call = Callable[[], Sequence[Any]]


def make(name: str, d: int) -> Call:
    """Return the call of one contender, for a normal d x d matrix."""
    return CONTENDERS[name](np.random.default_rng(0).standard_normal((d, d), dtype=np.float32))


def ours(W: Any) -> Call:
    def call() -> Sequence[Any]:
        q = quantize(W)
        return q.codes, q.absmax

    return call


def search(W: Any) -> Call:
    levels = levels_of("nf4")
    thresholds = (levels[1:] + levels[:-1]) / 2
    return _one_by_one(W, lambda x: np.searchsorted(thresholds, x).astype(np.uint8))


def argmin(W: Any) -> Call:
    def nearest(x: Any) -> Any:
        parts = np.array_split(x, -(-x.size >> 16))  # 16 distances for each value take memory
        found = [np.abs(part[:, None] - levels_of("nf4")).argmin(axis=1) for part in parts]
        return np.concatenate(found).astype(np.uint8)

    return _one_by_one(W, nearest)


def _one_by_one(W: Any, nearest: Callable[[Any], Any]) -> Call:
    def call() -> Sequence[Any]:
        blocks = W.reshape(-1, NF4_BLOCK)
        absmax = np.abs(blocks).max(axis=1)
        codes = nearest((blocks / absmax[:, None]).reshape(-1))
        return codes[::2] << 4 | codes[1::2], absmax

    return call


def theirs(W: Any) -> Call:
    import torch
    from bitsandbytes.functional import quantize_4bit

    torch.set_num_threads(blas_threads())
    tensor = torch.from_numpy(W)

    def call() -> Sequence[Any]:
        codes, state = quantize_4bit(tensor, quant_type="nf4", blocksize=NF4_BLOCK)
        return codes, state.absmax

    return call


def ours_back(W: Any) -> Call:
    q = quantize(W)
    return lambda: (q.dequantize(),)


def gather(W: Any) -> Call:
    q, levels = quantize(W), levels_of("nf4")

    def call() -> Sequence[Any]:
        blocks = levels[q.indices].reshape(-1, NF4_BLOCK)
        return ((blocks * q.block_absmax[:, None]).reshape(W.shape),)

    return call


def theirs_back(W: Any) -> Call:
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    torch.set_num_threads(blas_threads())
    codes, state = quantize_4bit(torch.from_numpy(W), quant_type="nf4", blocksize=NF4_BLOCK)
    return lambda: (dequantize_4bit(codes, state),)


CONTENDERS = {
    QUANTIZE: ours,
    SEARCH: search,
    ARGMIN: argmin,
    THEIR_QUANTIZE: theirs,
    DEQUANTIZE: ours_back,
    GATHER: gather,
    THEIR_DEQUANTIZE: theirs_back,
}


def over_ours(ours: str, *others: str, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return how many times as long as ours each other takes, and the seconds of all.

    Raises
    ------
    RuntimeError
        If one of them returns arrays of other norms.
    """
    timings = contest(make, [ours, *others], D, rounds=rounds)
    for name in others:
        if not np.allclose(timings[name].norms, timings[ours].norms, rtol=1e-6):
            raise RuntimeError(f"{name} computes something else than {ours}: {timings[name].norms}")
    seconds = {name: timing.seconds for name, timing in timings.items()}
    return {f"{name} over {ours}": seconds[name] / seconds[ours] for name in others}, seconds


def here(*names: str) -> list[str]:
    """Return the contenders whose packages are installed."""
    installed = all(find_spec(package) for package in NEEDS)
    return [name for name in names if installed or not name.startswith("bitsandbytes")]


def quantizing() -> Iterator[Row]:
    """Yield the row of quantizing."""
    figures, seconds = over_ours(QUANTIZE, *here(SEARCH, ARGMIN, THEIR_QUANTIZE), rounds=4)
    yield Row(
        "nf4-quantize",
        f"NF4 of a normal {D} x {D} matrix, float32, blocks of {NF4_BLOCK}: codes packed two a "
        "byte, and absmax",
        figures,
        (Target(f"{SEARCH} over {QUANTIZE}", ">=", 5.0),),
        seconds=seconds,
    )


def dequantizing() -> Iterator[Row]:
    """Yield the row of dequantizing."""
    figures, seconds = over_ours(DEQUANTIZE, *here(GATHER, THEIR_DEQUANTIZE), rounds=8)
    yield Row(
        "nf4-dequantize",
        f"the same {D} x {D} matrix read back to float32",
        figures,
        (Target(f"{THEIR_DEQUANTIZE} over {DEQUANTIZE}", ">=", 1.0),),
        seconds=seconds,
    )


def rows() -> Iterator[Row]:
    """Yield both rows."""
    yield from quantizing()
    yield from dequantizing()
