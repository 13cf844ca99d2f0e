"""Optimisers: hyperparameters in a frozen dataclass, and a step that is a function.

``state = optimizer.start(params)`` and ``params, state = optimizer.step(params, grads, state)``. A
step returns new arrays. For speed it writes into given ones instead: ``out`` is a pair like the one
that comes back, and may be ``(params, state)`` themselves. The bits are the same either way.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from lora_ref.checks import Array, Params, as_finite, at_least_float32, check_float
from lora_ref.errors import LoraRefError


class Optimizer(Protocol):
    """What the training loop asks of an optimiser."""

    @property
    def lr(self) -> float:
        """Learning rate, before a schedule."""
        ...

    def start(self, params: Params) -> Any:
        """Return the state before the first step."""
        ...

    def step(
        self, params: Params, grads: Params, state: Any, *, lr: float | None = None, out: Any = None
    ) -> tuple[Params, Any]:
        """Return the parameters and the state after a step."""
        ...


@dataclass(frozen=True)
class _Rated:
    """A learning rate, and its multiples for some of the parameters.

    Parameters
    ----------
    lr : float
        Learning rate, at least 0; ``step(..., lr=...)`` takes another for one step.
    lr_ratio : mapping of str to float
        Multiples of the learning rate, by the end of a parameter's name: ``"B"`` is for ``B`` and
        ``fc1.B``, ``"fc1.B"`` for that one, and the longest end wins. ``{"B": 16.0}`` is LoRA+
        (Hayou, Ghosh and Yu, 2024, arXiv 2402.12354).
    """

    lr: float
    # not part of the hash: a dict has none, and equal optimisers keep equal hashes without it
    lr_ratio: Mapping[str, float] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        here = type(self).__name__
        self._set("lr", _at_least_0(f"lr in {here}", self.lr))
        given: Any = self.lr_ratio
        named = isinstance(given, Mapping) and all(isinstance(end, str) for end in given)
        if not named:
            raise LoraRefError(
                f"lr_ratio in {here} is {given!r}, expected a mapping from ends of names to numbers"
            )
        ratios = {
            end: _at_least_0(f"lr_ratio of {end} in {here}", ratio)
            for end, ratio in self.lr_ratio.items()
        }
        self._set("lr_ratio", ratios)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_ends(self, params: Params) -> None:
        for end in self.lr_ratio:
            if not any(_ends(name, end) for name in params):
                raise LoraRefError(
                    f"lr_ratio in {type(self).__name__} has {end!r}, which ends no name, "
                    f"expected an end of: {', '.join(params) or 'none'}"
                )

    def _rates(self, params: Params, grads: Params, lr: float | None) -> dict[str, float]:
        """Return the learning rate of each parameter, after a look at the gradients."""
        here = type(self).__name__
        _check_like(f"grads in {here}.step", grads, params)
        rate = self.lr if lr is None else _at_least_0(f"lr in {here}.step", lr)
        for name, param in params.items():
            if param.dtype.kind != "f":
                check_float(f"{name} of params in {here}.step", param)
        if not self.lr_ratio:
            return dict.fromkeys(params, rate)
        self._check_ends(params)
        ends = sorted(self.lr_ratio, key=len)  # the longest last, so that it wins
        rates = {}
        for name in params:
            ratios = [self.lr_ratio[end] for end in ends if _ends(name, end)]
            rates[name] = rate * ratios[-1] if ratios else rate
        return rates


@dataclass(frozen=True)
class SGD(_Rated):
    """Computes ``param - lr * grad``; there is no state, so it is None.

    Parameters
    ----------
    lr : float
        Learning rate.
    lr_ratio : mapping of str to float
        Multiples of it by the end of a name, as ``{"B": 16.0}`` for LoRA+.
    """

    def start(self, params: Params) -> None:
        """Return None, after a look at the names in `lr_ratio`."""
        self._check_ends(params)

    def step(
        self,
        params: Params,
        grads: Params,
        state: None,
        *,
        lr: float | None = None,
        out: tuple[Params, None] | None = None,
    ) -> tuple[Params, None]:
        """Return the parameters after a step, and None; `AdamW.step` explains the arguments."""
        rates = self._rates(params, grads, lr)
        moved = _empty_like(params) if out is None else out[0]
        _check_out("params of out in SGD.step", moved, params)
        for name, rate in rates.items():
            np.subtract(params[name], rate * grads[name], out=moved[name])
        return moved, None


MomentumState: TypeAlias = Params
"""The velocity of each parameter: a sum of its gradients, the older the smaller."""


@dataclass(frozen=True)
class Momentum(_Rated):
    """Computes ``velocity = momentum * velocity + grad`` and ``param - lr * velocity``.

    Polyak's heavy ball, in the form of PyTorch: the learning rate stands outside the velocity. With
    a constant one this is the form of Sutskever et al. (2013), which has it inside.

    Parameters
    ----------
    lr : float
        Learning rate.
    momentum : float
        What is left of the velocity after a step, at least 0 and below 1.
    lr_ratio : mapping of str to float
        Multiples of the learning rate by the end of a name, as ``{"B": 16.0}`` for LoRA+.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("momentum", _share("momentum in Momentum", self.momentum))

    def start(self, params: Params) -> MomentumState:
        """Return velocities of zero."""
        self._check_ends(params)
        return {name: np.zeros_like(array) for name, array in params.items()}

    def step(
        self,
        params: Params,
        grads: Params,
        state: MomentumState,
        *,
        lr: float | None = None,
        out: tuple[Params, MomentumState] | None = None,
    ) -> tuple[Params, MomentumState]:
        """Return parameters and velocities after a step; `AdamW.step` explains the arguments."""
        rates = self._rates(params, grads, lr)
        _check_like("state in Momentum.step", state, params)
        moved, velocities = (_empty_like(params), _empty_like(params)) if out is None else out
        _check_out("params of out in Momentum.step", moved, params)
        _check_out("state of out in Momentum.step", velocities, params)
        for name, rate in rates.items():
            velocity = velocities[name]
            np.multiply(state[name], self.momentum, out=velocity)
            velocity += grads[name]
            np.subtract(params[name], rate * velocity, out=moved[name])
        return moved, velocities


class AdamWState(NamedTuple):
    """What AdamW remembers: the number of steps, and for each parameter two fading sums.

    ``sums`` fade by β1 in a step and gain the gradient; ``squares`` fade by β2 and gain its square.
    The paper's m and v are these times 1 - β1 and 1 - β2, numbers that no array has to see. For
    float16 parameters both are float32: a square, or epsilon, is soon 0 or infinite in float16.
    """

    t: int
    sums: Params
    squares: Params


@dataclass(frozen=True)
class AdamW(_Rated):
    """Adam with a weight decay that the running means do not see.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, arXiv 1711.05101. With
    β1, β2 = betas, in step t::

        m = β1 m + (1 - β1) grad
        v = β2 v + (1 - β2) grad²
        param = param - lr * (m / (1 - β1^t)) / (sqrt(v / (1 - β2^t)) + epsilon)
                      - lr * weight_decay * param

    Both quotients by ``1 - β^t`` are weighted means: the weights ``(1 - β) β^k`` add up to it.

    The paper decays by ``η λ``, free of the learning rate α; here, as in PyTorch, λ is
    ``lr * weight_decay``. A schedule multiplies both terms in either form.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : (float, float)
        What is left of each mean after a step, at least 0 and below 1.
    epsilon : float
        Positive: keeps a parameter without gradients where it is.
    weight_decay : float
        At least 0.
    lr_ratio : mapping of str to float
        Multiples of the learning rate, and so of the decay, by the end of a name, as
        ``{"B": 16.0}`` for LoRA+.

    Examples
    --------
    >>> optimizer = AdamW(lr=0.1, weight_decay=0.0)
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> state = optimizer.start(params)
    >>> params, state = optimizer.step(params, {"w": np.array([1e-3, -1e3])}, state)
    >>> params["w"].round(4).tolist()  # the first step is lr long, whatever the gradient is
    [0.9, 1.1]
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        betas: Any = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise LoraRefError(f"betas in AdamW are {betas!r}, expected two numbers")
        self._set("betas", tuple(_share("betas in AdamW", beta) for beta in betas))
        self._set("epsilon", as_finite("epsilon in AdamW", self.epsilon))
        self._set("weight_decay", _at_least_0("weight_decay in AdamW", self.weight_decay))
        if not self.epsilon > 0:
            raise LoraRefError(f"epsilon in AdamW is {self.epsilon}, expected a positive number")

    def start(self, params: Params) -> AdamWState:
        """Return sums of zero, and no steps."""
        self._check_ends(params)
        wide = {name: at_least_float32(array.dtype) for name, array in params.items()}
        for name, dtype in wide.items():
            if not dtype.type(self.epsilon) > 0:
                raise LoraRefError(
                    f"epsilon in AdamW is {self.epsilon}, which is 0 in the {dtype} of {name}'s "
                    "state, expected a larger one"
                )
        zeros = (
            {name: np.zeros_like(array, wide[name]) for name, array in params.items()}
            for _ in range(2)
        )
        return AdamWState(0, *zeros)

    def step(
        self,
        params: Params,
        grads: Params,
        state: AdamWState,
        *,
        lr: float | None = None,
        out: tuple[Params, AdamWState] | None = None,
    ) -> tuple[Params, AdamWState]:
        """Return the parameters and the state after a step.

        Parameters
        ----------
        params, grads : mapping of str to ndarray
            The parameters, and for each a gradient of its shape and dtype.
        state : AdamWState
            From `start`, or from the step before.
        lr : float, optional
            Learning rate of this step, in place of the optimiser's.
        out : (params, state), optional
            Arrays that the result is written into; its ``t`` is not read. Each is either an array
            of this very place in `params` and `state`, for a step in place, or shares no memory
            with what goes in.

        Raises
        ------
        LoraRefError
            For names, shapes or dtypes that are not those of `params`.
        """
        rates = self._rates(params, grads, lr)
        t, sums, squares = state
        _check_like("sums of state in AdamW.step", sums, params, wide=True)
        _check_like("squares of state in AdamW.step", squares, params, wide=True)
        if out is None:
            out = _empty_like(params), AdamWState(0, _empty_like(sums), _empty_like(squares))
        moved, (_, new_sums, new_squares) = out
        _check_out("params of out in AdamW.step", moved, params)
        _check_out("sums of out in AdamW.step", new_sums, sums)
        _check_out("squares of out in AdamW.step", new_squares, squares)
        t, (beta1, beta2) = t + 1, self.betas
        # what turns a sum into a mean: the sum of its weights, 1 + β + ... + β^(t-1)
        weight1, weight2 = (1 - beta1**t) / (1 - beta1), (1 - beta2**t) / (1 - beta2)
        root = math.sqrt(weight2)
        for name, rate in rates.items():
            grad, total, square, param = grads[name], new_sums[name], new_squares[name], moved[name]
            np.multiply(sums[name], beta1, out=total)
            total += grad
            wide = grad if grad.dtype == square.dtype else grad.astype(square.dtype)
            term = wide * wide  # the one temporary: all that follows is written into it
            np.multiply(squares[name], beta2, out=square)
            square += term
            # total / weight1 / (sqrt(square / weight2) + epsilon), with one quotient of arrays
            np.sqrt(square, out=term)
            term += self.epsilon * root
            np.divide(total, term, out=term)
            term *= rate * root / weight1
            np.multiply(params[name], 1 - rate * self.weight_decay, out=param)
            param -= term
        return moved, AdamWState(t, new_sums, new_squares)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _empty_like(params: Params) -> dict[str, Array]:
    return {name: np.empty_like(array) for name, array in params.items()}


def _check_like(what: str, arrays: Params, params: Params, *, wide: bool = False) -> None:
    """Raise unless each parameter has an array of its shape and dtype, or of the wide dtype."""
    if arrays is params:
        return
    if arrays.keys() != params.keys():
        raise LoraRefError(
            f"{what} are for {', '.join(arrays) or 'nothing'}; "
            f"expected one for each of: {', '.join(params) or 'nothing'}"
        )
    for name, param in params.items():
        array = arrays[name]
        dtype = at_least_float32(param.dtype) if wide else param.dtype
        if array.shape != param.shape or array.dtype != dtype:
            raise LoraRefError(
                f"{name} in {what} has shape {array.shape} and dtype {array.dtype}, "
                f"expected {param.shape} and {dtype}"
            )


def _check_out(what: str, arrays: Params, params: Params) -> None:
    _check_like(what, arrays, params)
    for name, array in arrays.items():
        if not array.flags.writeable:
            raise LoraRefError(f"{name} in {what} is read-only, expected an array to write into")


def _at_least_0(what: str, value: object) -> float:
    number = as_finite(what, value)
    if number < 0:
        raise LoraRefError(f"{what} is {number}, expected a number of at least 0")
    return number


def _share(what: str, value: object) -> float:
    number = _at_least_0(what, value)
    if number >= 1:
        raise LoraRefError(f"{what} is {number}, expected a number of at least 0 and below 1")
    return number
