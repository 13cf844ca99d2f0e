"""Optimisers: hyperparameters in a frozen dataclass, and a step that is a function.

``state = optimizer.init_state(params)`` and then, in each step,
``params, state = optimizer.step(params, grads, state)``. A step returns new arrays, or writes into
those of `out`, which is faster and gives the same bits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from lora_ref.checks import (
    Params,
    as_finite,
    as_fraction,
    as_positive,
    at_least_float32,
    check_float,
    check_same_axes,
)
from lora_ref.errors import LoraRefError
from lora_ref.module_names import is_end_of

Rates: TypeAlias = Mapping[str, float]
"""The learning rate of each parameter."""


class DivergedError(LoraRefError):
    """Training has left the range of the dtype; the message names the step."""


@dataclass(frozen=True)
class Optimizer:
    """The base of the optimisers: a learning rate, and its multiples for some of the parameters.

    Parameters
    ----------
    lr : float
        Learning rate, at least 0.
    lr_ratio : mapping of str to float
        Multiples of the learning rate by the end of a parameter's name: ``"B"`` is for ``B`` and
        ``fc1.B``, ``"fc1.B"`` only for that one. The longest end wins. ``{"B": 16.0}`` is LoRA+
        (Hayou, Ghosh and Yu, 2024, arXiv 2402.12354).
    """

    _wide: ClassVar[bool] = False  # whether a state is float32 at least

    lr: float
    # not in the hash: a dict has none, and equal optimisers have equal hashes without it
    lr_ratio: Mapping[str, float] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        here = type(self).__name__
        self._set("lr", _at_least_0(f"lr in {here}", self.lr))
        ratios: Any = self.lr_ratio
        if not isinstance(ratios, Mapping) or not all(isinstance(end, str) for end in ratios):
            raise LoraRefError(
                f"lr_ratio in {here} is {ratios!r}, expected a mapping from ends of names to "
                "numbers"
            )
        checked = {end: _at_least_0(f"lr_ratio of {end} in {here}", ratios[end]) for end in ratios}
        self._set("lr_ratio", checked)

    def init_state(self, params: Params) -> Any:
        """Return the state before the first step: None, or zeros."""
        self._check_params(params)

    def step(
        self, params: Params, grads: Params, state: Any, *, lr: float | None = None, out: Any = None
    ) -> tuple[Params, Any]:
        """Return the parameters and the state after a step.

        Parameters
        ----------
        params, grads : mapping of str to ndarray
            The parameters, and for each a gradient of its shape and dtype.
        state
            From `init_state`, or from the step before.
        lr : float, optional
            Learning rate of this step instead of the optimiser's.
        out : (params, state), optional
            Arrays to write the result into. Each is either the array of the same place in `params`
            and `state`, for a step in place, or shares no memory with what is passed in.
        """
        here = f"{type(self).__name__}.step"
        self._check_params(params)
        _check_like(f"grads in {here}", grads, params)
        if out is None:
            out = {name: np.empty_like(p) for name, p in params.items()}, self.init_state(params)
        else:
            _check_like(f"params of out in {here}", out[0], params, write=True)
            if out[1] is not state:
                self._check_state(f"state of out in {here}", out[1], params, write=True)
        self._check_state(f"state in {here}", state, params, write=out[1] is state)
        lr = self.lr if lr is None else _at_least_0(f"lr in {here}", lr)
        rates = dict.fromkeys(params, lr)
        for end in sorted(self.lr_ratio, key=len):  # the longest last, so that it wins
            rates |= {name: lr * self.lr_ratio[end] for name in params if is_end_of(name, end)}
        return out[0], self._update(rates, params, grads, state, out)

    def _update(self, rates: Rates, params: Params, grads: Params, state: Any, out: Any) -> Any:
        """Write the parameters and the arrays of the state to `out`; return the state."""
        raise NotImplementedError(f"{type(self).__name__} has no formula for a step")

    def _check_state(self, what: str, state: Any, params: Params, *, write: bool) -> None:
        for part, arrays in self._parts(what, state).items():
            _check_like(part, arrays, params, wide=self._wide, write=write)

    def _parts(self, what: str, state: Any) -> dict[str, Params]:
        """Return the mappings of arrays in a state, by what to call them in an error."""
        return {}

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_params(self, params: Params) -> None:
        """Raise unless `params` are arrays by name, and each end in `lr_ratio` belongs to one."""
        here = type(self).__name__
        _check_mapping(f"params in {here}", params)
        for name, param in params.items():
            check_float(f"{name} of params in {here}", param)
        for end in self.lr_ratio:
            if not any(is_end_of(name, end) for name in params):
                raise LoraRefError(
                    f"lr_ratio in {here} has {end!r}, which ends no name, "
                    f"expected an end of: {', '.join(params) or 'none'}"
                )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, ``param - lr * grad``; there is no state, so it is None."""

    def _update(self, rates: Rates, params: Params, grads: Params, state: Any, out: Any) -> Any:
        for name, rate in rates.items():
            np.subtract(params[name], rate * grads[name], out=out[0][name])


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with Polyak's momentum; the state is the velocity of each parameter.

    ``velocity = momentum * velocity + grad`` and ``param - lr * velocity``, as in PyTorch: the
    learning rate is not in the velocity. At a constant one this is the form of Sutskever et al.
    (2013), in which it is. `momentum` is at least 0 and below 1.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("momentum", as_fraction("momentum in Momentum", self.momentum))

    def init_state(self, params: Params) -> Params:
        """Return velocities of zero."""
        self._check_params(params)
        return {name: np.zeros_like(array) for name, array in params.items()}

    def _update(self, rates: Rates, params: Params, grads: Params, state: Any, out: Any) -> Any:
        moved, velocities = out
        for name, rate in rates.items():
            velocity = velocities[name]
            np.multiply(state[name], self.momentum, out=velocity)
            velocity += grads[name]
            np.subtract(params[name], rate * velocity, out=moved[name])
        return velocities

    def _parts(self, what: str, state: Any) -> dict[str, Params]:
        return {what: state}


class AdamWState(NamedTuple):
    """The state of AdamW: the number of steps, and two weighted sums for each parameter.

    In each step `sums` is multiplied by β1 and the gradient is added; `squares` is multiplied by β2
    and the squared gradient is added. The paper's m and v are these times 1 - β1 and 1 - β2. For
    float16 parameters both are float32: a square, or epsilon, soon leaves the range of float16.
    """

    t: int
    sums: Params
    squares: Params


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with a weight decay that does not enter the running means.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, arXiv 1711.05101. With
    β1, β2 = betas, in step t::

        m = β1 m + (1 - β1) grad
        v = β2 v + (1 - β2) grad²
        param = param - lr * (m / (1 - β1^t)) / (sqrt(v / (1 - β2^t)) + epsilon)
                      - lr * weight_decay * param

    Both quotients by ``1 - β^t`` are weighted means, because the weights ``(1 - β) β^k`` add up to
    it. The paper decays by ``η λ``, independent of the learning rate α; here, as in PyTorch, λ is
    ``lr * weight_decay``. In either form a schedule multiplies both terms.

    Parameters
    ----------
    lr, lr_ratio
        As in `Optimizer`; they multiply the decay too.
    betas : (float, float)
        Weights of the old means in a step, at least 0 and below 1.
    epsilon : float
        Positive: a parameter with zero gradients then stays where it is.
    weight_decay : float
        At least 0.

    Raises
    ------
    DivergedError
        From `step`, if the state or a parameter overflows: in float32, for a gradient above
        1.8e19, whose square is infinite. Arrays of `out` may then be partly written.

    Examples
    --------
    >>> optimizer = AdamW(lr=0.1, weight_decay=0.0)
    >>> params = {"w": np.array([1.0, 1.0])}
    >>> state = optimizer.init_state(params)
    >>> params, state = optimizer.step(params, {"w": np.array([1e-3, -1e3])}, state)
    >>> params["w"].round(4).tolist()  # the first step has length lr for every gradient
    [0.9, 1.1]
    """

    _wide: ClassVar[bool] = True

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        betas: Any = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise LoraRefError(f"betas in AdamW are {betas!r}, expected two numbers")
        self._set("betas", tuple(as_fraction("betas in AdamW", beta) for beta in betas))
        self._set("epsilon", as_positive("epsilon in AdamW", self.epsilon))
        self._set("weight_decay", _at_least_0("weight_decay in AdamW", self.weight_decay))

    def init_state(self, params: Params) -> AdamWState:
        """Return sums of zero, and no steps."""
        self._check_params(params)
        wide = {name: at_least_float32(array.dtype) for name, array in params.items()}
        for name, dtype in wide.items():
            if not dtype.type(self.epsilon) > 0:
                raise LoraRefError(
                    f"epsilon in AdamW is {self.epsilon}, which is 0 in the {dtype} of {name}'s "
                    "state, expected a larger one"
                )
        sums, squares = (
            {name: np.zeros_like(array, wide[name]) for name, array in params.items()}
            for _ in range(2)
        )
        return AdamWState(0, sums, squares)

    def _update(self, rates: Rates, params: Params, grads: Params, state: Any, out: Any) -> Any:
        (t, sums, squares), (moved, (_, new_sums, new_squares)) = state, out
        t, (beta1, beta2) = t + 1, self.betas
        # the sum of the weights, 1 + β + ... + β^(t-1), turns a weighted sum into a mean
        weight1, weight2 = (1 - beta1**t) / (1 - beta1), (1 - beta2**t) / (1 - beta2)
        root = math.sqrt(weight2)
        try:
            with np.errstate(over="raise"):
                for name, rate in rates.items():
                    total, square, param = new_sums[name], new_squares[name], moved[name]
                    np.multiply(sums[name], beta1, out=total)
                    total += grads[name]
                    term = np.square(grads[name], dtype=square.dtype)
                    np.multiply(squares[name], beta2, out=square)
                    square += term
                    # total / weight1 / (sqrt(square / weight2) + epsilon), with one division of
                    # arrays; `term` is the only new array
                    np.sqrt(square, out=term)
                    term += self.epsilon * root
                    np.divide(total, term, out=term)
                    term *= rate * root / weight1
                    np.multiply(params[name], 1 - rate * self.weight_decay, out=param)
                    param -= term
        except FloatingPointError:
            raise DivergedError(
                f"{name} overflows {squares[name].dtype} in step {t} of AdamW: its gradient is up "
                f"to {np.abs(grads[name]).max():.2g}, expected one whose square is finite; clip "
                "the gradients, or use a smaller learning rate"
            ) from None
        return AdamWState(t, new_sums, new_squares)

    def _parts(self, what: str, state: Any) -> dict[str, Params]:
        if not isinstance(state, AdamWState):
            raise LoraRefError(
                f"{what} is a {type(state).__name__}, expected the AdamWState of init_state or of "
                "the step before"
            )
        return {f"sums of {what}": state.sums, f"squares of {what}": state.squares}


def _check_like(
    what: str, arrays: Params, params: Params, *, wide: bool = False, write: bool = False
) -> None:
    """Raise unless each parameter has an array of its shape and dtype, or of the wide dtype."""
    _check_mapping(what, arrays)
    if arrays.keys() != params.keys():
        raise LoraRefError(
            f"{what} are for {', '.join(arrays) or 'nothing'}; "
            f"expected one for each of: {', '.join(params) or 'nothing'}"
        )
    for name, param in params.items():
        array: Any = arrays[name]
        if array is not param:
            dtype = at_least_float32(param.dtype) if wide else param.dtype
            same = isinstance(array, np.ndarray) and array.dtype == dtype
            if not same or array.shape != param.shape:
                check_float(f"{name} in {what}", array, dtype)
                check_same_axes(f"{name} in {what}", array, param.shape)
        if write and not array.flags.writeable:
            raise LoraRefError(f"{name} in {what} is read-only, expected an array to write into")


def _check_mapping(what: str, arrays: object) -> None:
    if not isinstance(arrays, Mapping):
        raise LoraRefError(
            f"{what} is a {type(arrays).__name__}, expected a mapping from names to arrays"
        )


def _at_least_0(what: str, value: object) -> float:
    number = as_finite(what, value)
    if number < 0:
        raise LoraRefError(f"{what} is {number}, expected a number of at least 0")
    return number
