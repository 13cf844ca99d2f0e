"""A layer made of named layers: parameters and keywords travel under dotted names.

``fc1.A`` is the parameter ``A`` of the child ``fc1``; ``fc1.mask`` is the keyword ``mask`` of its
forward pass. A child may be made of layers itself: ``block.fc1.A``.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, check_params


class Composite(Layer):
    """A layer made of named layers, its children.

    It has no parameters but theirs, under dotted names. A subclass is a dataclass and writes the
    passes. It says in `child_names` which of its attributes are layers, or has `children` and
    `with_children` of its own.
    """

    child_names: ClassVar[tuple[str, ...]] = ()
    """The attributes that are layers, in the order of the parameters; one may be None."""

    @property
    def children(self) -> Mapping[str, Layer]:
        """The layers, by name; a name has no dot in it."""
        found = {name: getattr(self, name) for name in self.child_names}
        return {name: layer for name, layer in found.items() if layer is not None}

    def with_children(self, children: Mapping[str, Layer]) -> Self:
        """Return the same composite of other layers, under the same names."""
        return dataclasses.replace(self, **children)  # type: ignore[type-var]

    @property
    def trainable(self) -> Params:
        """The trainable parameters of every child, under dotted names."""
        return joined({name: child.trainable for name, child in self.children.items()})

    def mapped(self, change: Callable[[str, Layer], Layer], within: str = "") -> Self:
        """Return the composite with ``change(path, layer)`` in place of each innermost layer.

        A path is a dotted name, such as ``blocks.0.attention.q``.
        """
        changed: dict[str, Layer] = {}
        for name, child in self.children.items():
            path = f"{within}{name}"
            if isinstance(child, Composite):
                changed[name] = child.mapped(change, f"{path}.")
            else:
                changed[name] = change(path, child)
        return self.with_children(changed)

    def with_params(self, params: Params) -> Self:
        """Return a composite with other values for some parameters; the children check them."""
        check_params(f"{type(self).__name__}.with_params", params, self.trainable)
        moved = {
            name: self.children[name].with_params(part) for name, part in parted(params).items()
        }
        return self.with_children({**self.children, **moved})

    def check(self) -> Self:
        """Return the composite, or raise `LoraRefError` where an array is not finite."""
        for child in self.children.values():
            child.check()
        return self

    def route(self, where: str, keywords: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
        """Return the keywords for the forward pass of each child that has any.

        Parameters
        ----------
        where : str
            The pass, for the sentence of an error.
        keywords : mapping of str to value, optional
            By dotted name: ``{"fc1.mask": mask}``.
        """
        parts = parted(keywords or {})
        check_known(f"keywords in {where}", parts, self.children)
        for name, part in parts.items():
            child = self.children[name]
            known = getattr(child, "keywords", ())  # a reader's own layer may declare none
            if isinstance(child, Composite):
                own = {key: part.pop(key) for key in known if key in part}
                parts[name] = {**own, "keywords": part} if part else own
                continue
            for key in part:
                if key not in known:
                    takes = ", ".join(known) or "none"
                    raise LoraRefError(
                        f"keywords in {where} hold {name}.{key}, but {name} is "
                        f"{type(child).__name__}, expected one of its keywords: {takes}"
                    )
        return parts


def layers_of(model: Composite) -> dict[str, Layer]:
    """Return the innermost layers of a composite, by dotted name."""
    found: dict[str, Layer] = {}

    def note(path: str, layer: Layer) -> Layer:
        found[path] = layer
        return layer

    model.mapped(note)
    return found


def arrays_of(model: Composite) -> dict[str, Array]:
    """Return every array of a composite, frozen or not, by dotted name: ``fc1.W``."""
    return {
        f"{path}.{name}": array
        for path, layer in layers_of(model).items()
        for name, array in vars(layer).items()
        if isinstance(array, np.ndarray)
    }


def joined(parts: Mapping[str, Params]) -> dict[str, Array]:
    """Return the arrays of each part under dotted names."""
    return {f"{name}.{key}": a for name, part in parts.items() for key, a in part.items()}


def parted(named: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what stands under dotted names, by the first part of the name.

    Examples
    --------
    >>> parted({"fc1.A": 1, "block.fc1.A": 2, "block.fc1.B": 3})
    {'fc1': {'A': 1}, 'block': {'fc1.A': 2, 'fc1.B': 3}}
    """
    parts: dict[str, dict[str, Any]] = {}
    for dotted, value in named.items():
        name, _, key = dotted.partition(".")
        parts.setdefault(name, {})[key] = value
    return parts


def check_known(what: str, names: Iterable[str], among: Iterable[str]) -> None:
    """Raise `LoraRefError` for a name that is not `among` those of the layers."""
    for name in names:
        if name not in among:
            listed = ", ".join(among) or "none"
            raise LoraRefError(f"{what}: {name!r} names nothing, expected {listed}")
