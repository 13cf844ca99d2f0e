"""Mistakes from real code, most of which still train, each with the check that catches it.

There are five kinds. A wrong *backward* is caught by differences, a change *in place* by comparing
copies, a wrong *function* by the formula in plain loops, a wrong *start* or *step* by what a first
step of training must do. The code here is wrong on purpose. ``caught_by("scaling-forgotten", rng)``
returns the checks that reject a mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
from lora_ref.gradcheck import differences, passes, reference
from lora_ref.gradcheck.init_and_step import property_errors, sgd_step
from lora_ref.layers.initializers import both_random, both_zero, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRACache, LoRALinear

Kind = Literal["backward", "in place", "function", "start", "step"]
Wrong = TypeVar("Wrong", bound=Callable[..., Any])


@dataclass(frozen=True)
class Mistake:
    """One mistake: what is wrong, what leads to it, and the wrong code itself."""

    name: str
    kind: Kind
    text: str
    cause: str
    wrong: Callable[..., Any]


MISTAKES: dict[str, Mistake] = {}
"""Every mistake by name, in the order of this file."""


def caught_by(
    name: str, rng: np.random.Generator, *, at_start: bool = False, square: bool = True
) -> dict[str, float]:
    """Return the checks that reject a mistake, each with the error that it found.

    Parameters
    ----------
    name : str
        A key of `MISTAKES`.
    rng : numpy.random.Generator
        Draws layer, data and directions.
    at_start : bool
        Whether to look where B = 0: a wrong gradient of A is invisible there.
    square : bool
        Whether W0 is square, which some wrong code needs to run at all.
    """
    if name not in MISTAKES:
        raise LoraRefError(f"no mistake is called {name!r}, expected one of: {', '.join(MISTAKES)}")
    mistake = MISTAKES[name]
    errors, tolerance = evidence(mistake.kind, mistake.wrong, rng, at_start, square)
    return {check: error for check, error in errors.items() if not error <= tolerance}


def evidence(
    kind: Kind,
    code: Callable[..., Any],
    rng: np.random.Generator,
    at_start: bool = False,
    square: bool = True,
) -> tuple[dict[str, float], float]:
    """Return the errors that the checks of a kind find in some code, and their tolerance.

    The code is a subclass of LoRALinear or Linear; for ``"start"`` and ``"step"`` it is a function,
    as in `init_and_step`. The other arguments are those of `caught_by`.
    """
    if kind == "start":
        return property_errors(code, sgd_step, rng), reference.TOLERANCE
    if kind == "step":
        return property_errors(kaiming_uniform, code, rng), reference.TOLERANCE
    out_features, in_features, r = (6 if square else 5), 6, 2
    W0, bias = rng.standard_normal((out_features, in_features)), rng.standard_normal(out_features)
    A, B = rng.standard_normal((r, in_features)), rng.standard_normal((out_features, r))
    x = rng.standard_normal((4, in_features))
    wrong: Any = code
    keywords: dict[str, Any] = {}
    if isinstance(code, type) and issubclass(code, Linear):
        layer = wrong(W0, bias)
    else:
        layer = wrong(W0, A, np.zeros_like(B) if at_start else B, 5.0, bias)
        keywords["mask"] = 2.0 * (rng.random(x.shape) < 0.5)
    if kind == "function":
        return reference.formula_errors(layer, x, rng), reference.TOLERANCE
    if kind == "in place":
        return passes.in_place_changes(layer, x, rng, **keywords), 0.0
    return differences.gradient_errors(layer, x, rng, **keywords), differences.EXACT_TOLERANCE


def _mistake(kind: Kind, name: str, *, text: str, cause: str) -> Callable[[Wrong], Wrong]:
    def keep(wrong: Wrong) -> Wrong:
        MISTAKES[name] = Mistake(name, kind, text, cause, wrong)
        return wrong

    return keep


_wrong_backward = partial(_mistake, "backward")
_change_in_place = partial(_mistake, "in place")
_wrong_function = partial(_mistake, "function")
_wrong_start = partial(_mistake, "start")
_wrong_step = partial(_mistake, "step")


# ------------------------------------------------------------------------------ wrong backward


@_wrong_backward(
    "batch-divided-twice",
    text="The gradients of A and B are divided by the batch size.",
    cause="the loss was a mean already, and each layer divides again",
)
class _BatchDividedTwice(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {name: grad / len(cache.x) for name, grad in grads.items()}


@_wrong_backward(
    "mean-for-sum",
    text="The gradient of the bias is the mean over the rows, not their sum.",
    cause="the bias gradient is taken for an average over the batch",
)
class _MeanForSum(Linear):
    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {**grads, "bias": grads["bias"] / len(cache.x)}


@_wrong_backward(
    "scaling-forgotten",
    text="The gradients of A and B lack alpha / r.",
    cause="the scaling was added to forward later",
)
class _ScalingForgotten(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {name: grad / self.scaling for name, grad in grads.items()}


@_wrong_backward(
    "scaling-twice",
    text="The gradient of A, and the adapter's part of grad_x, carry alpha / r squared.",
    cause="grad_y is scaled at the top and grad_h once more below",
)
class _ScalingTwice(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        base = (grad_y @ self.W0).reshape(grad_x.shape)
        return base + self.scaling * (grad_x - base), {**grads, "A": self.scaling * grads["A"]}


@_wrong_backward(
    "adapter-path-missing",
    text="grad_x goes through W0 alone, not through B and A.",
    cause="the backward of the frozen layer was left as it was",
)
class _AdapterPathMissing(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        return grad_y @ self.W0, super().backward(grad_y, cache)[1]


@_wrong_backward(
    "square-transpose",
    text="grad_x uses W0 transposed, which only a square W0 forgives.",
    cause="all test matrices were square, so nothing complained",
)
class _SquareTranspose(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x - grad_y @ self.W0 + grad_y @ self.W0.T, grads


@_wrong_backward(
    "A-hundredfold",
    text="The gradient of A is a hundred times too large.",
    cause="the check ran at the start only, where B = 0 hides it",
)
class _AHundredfold(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {**grads, "A": 100 * grads["A"]}


@_wrong_backward(
    "dropout-forgotten",
    text="grad_x passes the adapter without the dropout mask.",
    cause="the backward was written before dropout came",
)
class _DropoutForgotten(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        return super().backward(grad_y, cache._replace(mask=None))


# ----------------------------------------------------------------------------- changes in place


@_change_in_place(
    "grad_y-scaled-in-place",
    text="Backward multiplies the grad_y that it is given by alpha / r.",
    cause="one array fewer is allocated; another layer may still need what is overwritten",
)
class _GradYScaledInPlace(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        grad_y *= self.scaling
        return grad_x, grads


@_change_in_place(
    "cached-x-masked-in-place",
    text="Backward multiplies the x in the cache by the dropout mask.",
    cause="the cache is taken for scratch space; without dropout its x is the caller's",
)
class _CachedXMaskedInPlace(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        x: Array = cache.x
        x *= 1.0 if cache.mask is None else cache.mask
        return grad_x, grads


@_change_in_place(
    "B-moved-in-backward",
    text="Backward moves B as soon as its gradient is known.",
    cause="the optimiser is fused into backward, and a second backward sees another layer",
)
class _BMovedInBackward(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        B: Array = self.B
        B -= 0.01 * grads["B"]
        return grad_x, grads


# ------------------------------------------------------------------- wrong function, wrong merge


@_wrong_function(
    "factors-swapped",
    text="B is applied first and A second: the update is transposed.",
    cause="every layer in sight was square, so nothing complained",
)
class _FactorsSwapped(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        seen = x if mask is None else x * mask
        y = x @ self.W0.T + self.scaling * (seen @ self.B @ self.A)
        return (y if self.bias is None else y + self.bias), LoRACache(x.shape[:-1], seen, x, mask)


@_wrong_function(
    "alpha-forgotten",
    text="The multiplier is alpha, not alpha / r.",
    cause="asked for a year after the code came out, in rasbt/LLMs-from-scratch issue 821",
)
class _AlphaForgotten(LoRALinear):
    @property
    def scaling(self) -> float:
        return self.alpha


@_wrong_function(
    "merge-without-scaling",
    text="The scaling stands in forward but not in merge.",
    cause="two places know the scaling; in microsoft/LoRA the two parted until 7036ee0",
)
class _MergeWithoutScaling(LoRALinear):
    def merge(self) -> Linear:
        return Linear(self.W0 + self.B @ self.A, self.bias)


@_wrong_function(
    "merged-twice",
    text="Merging adds the update twice.",
    cause="a merged flag that a second call does not look at",
)
class _MergedTwice(LoRALinear):
    def merge(self) -> Linear:
        return Linear(self.W0 + 2 * self.delta_w, self.bias)


@_wrong_function(
    "merge-loses-bias",
    text="The merged layer has no bias.",
    cause="the merged layer is made from the weight alone",
)
class _MergeLosesBias(LoRALinear):
    def merge(self) -> Linear:
        return Linear(self.W0 + self.delta_w)


@_wrong_function(
    "one-mask-for-the-batch",
    text="All rows share the first row's dropout mask.",
    cause="the mask is drawn with the shape of one row",
)
class _OneMaskForTheBatch(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        shared = None if mask is None else np.tile(mask[:1], (len(mask), 1))
        return super().forward(x, mask=shared)


@_wrong_function(
    "dropout-on-the-base",
    text="Dropout hits the frozen path too.",
    cause="x is dropped out before it is split between the branches",
)
class _DropoutOnTheBase(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        return super().forward(x if mask is None else x * mask)


# -------------------------------------------------------------------------- wrong start or step


_wrong_start(
    "both-zero",
    text="Start both factors at zero: each gradient has the other as a factor, so nothing moves.",
    cause="B = 0 is good, so A = 0 seems better; see Guitaricet/relora issue 18",
)(both_zero)

_wrong_start(
    "both-random",
    text="Start both factors at random: the pretrained function is disturbed before training.",
    cause="every parameter is initialised alike",
)(both_random)


@_wrong_step(
    "A-updated-before-grad_x",
    text="Move A and B before grad_x is formed: what goes on belongs to another layer.",
    cause="gradients are applied as soon as they are known",
)
def _A_updated_before_grad_x(
    layer: LoRALinear, x: Array, grad_y: Array, lr: float
) -> tuple[LoRALinear, Array]:
    after, _ = sgd_step(layer, x, grad_y, lr)
    _, cache = layer.forward(x)
    return after, after.backward(grad_y, cache)[0]


@_wrong_step(
    "sign-flipped",
    text="Every step goes uphill.",
    cause="the gradient of a reward, or a minus sign that two places leave to each other",
)
def _sign_flipped(
    layer: LoRALinear, x: Array, grad_y: Array, lr: float
) -> tuple[LoRALinear, Array]:
    return sgd_step(layer, x, grad_y, -lr)


@_wrong_step(
    "W0-decays",
    text="Shrink the frozen weight a little in every step.",
    cause="weight decay is applied to all arrays of the layer, the frozen one too",
)
def _W0_decays(layer: LoRALinear, x: Array, grad_y: Array, lr: float) -> tuple[LoRALinear, Array]:
    after, grad_x = sgd_step(layer, x, grad_y, lr)
    return LoRALinear(0.999 * after.W0, after.A, after.B, after.alpha), grad_x
