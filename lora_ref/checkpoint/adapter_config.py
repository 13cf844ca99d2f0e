"""The configuration of an adapter in PEFT's layout, and the rules by which it decides numbers.

As PEFT 0.21.2 reads ``adapter_config.json``, and stricter: what PEFT passes over in silence, such
as an alpha that is not finite, is refused here.

A pattern of ``rank_pattern`` or ``alpha_pattern`` that fits no adapted layer is refused too, where
PEFT warns: it decides numbers, and nothing that is stored would contradict one that is misspelt. A
name in a list that is no layer's decides none, because what was trained is stored. It is a warning:
one list often serves models of several families, and a head that is tied is no array of its own.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

from lora_ref.checkpoint.strict_json import strict_json
from lora_ref.errors import FileError
from lora_ref.module_names import by_pattern, fits, is_meant, meaning_none
from lora_ref.read_text import read_text
from lora_ref.suggestions import nearest

LARGEST_CONFIG = 1_000_000

CHANGES_NO_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
"""Starts that leave the base as it is; with the others (PiSSA, OLoRA, ...) it changes too."""

WITHOUT_EFFECT = (
    "task_type",
    "auto_mapping",
    "peft_type",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "eva_config",
    "corda_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "ensure_weight_tying",
)
"""Options that change no output of an adapter that is trained."""

ADDED_BY_PEFT = ("classifier", "score", "qa_outputs")
"""Names that PEFT adds to ``modules_to_save`` by the task, whether the model has them or not."""

UNSUPPORTED = (
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
    "lora_ga_config",
    "loftq_config",
    "megatron_config",
)
"""Options of PEFT that change the numbers, and that are refused unless they ask for nothing."""


@dataclass(frozen=True)
class AdapterConfig:
    """What a configuration says about numbers.

    Parameters
    ----------
    targets : tuple of str, or str
        The layers that are adapted: whole names, or the end after a dot. A string is a regular
        expression for whole names; ``"all-linear"`` leaves the choice to the stored factors.
    r, alpha : int, float
        Rank, and strength of the update, where no pattern says another. With a negative strength
        the update is taken away, in PEFT too.
    rank_pattern, alpha_pattern : mapping of str to number
        Regular expressions for the ends of names. The first that fits decides.
    rank_stabilized, dora : bool
        Whether the scaling is alpha / sqrt(r), and whether there are magnitudes.
    bias : {"none", "lora_only", "all"}
        Which biases were trained and are stored.
    lora_bias : bool
        Whether B has a bias, which the scaling multiplies.
    transposed : bool
        Whether the weights of the base lie as (in_features, out_features), as in GPT-2's Conv1D.
    whole : tuple of str
        Layers that were trained whole and are stored whole.
    dropout : float
        Of training; it changes no output.
    base : str, optional
        What the adapter belongs to.
    """

    targets: tuple[str, ...] | str
    r: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rank_stabilized: bool = False
    dora: bool = False
    bias: str = "none"
    lora_bias: bool = False
    transposed: bool = False
    whole: tuple[str, ...] = ()
    excluded: tuple[str, ...] | str = ()
    dropout: float = 0.0
    base: str | None = None

    def adapts(self, name: str) -> bool:
        """Return whether the layer of that name gets an update."""
        return (
            (self.targets == "all-linear" or is_meant(name, self.targets))
            and not is_meant(name, self.excluded)
            and not self.replaces(name)
        )

    def replaces(self, name: str) -> bool:
        """Return whether the layer of that name, or what it is a part of, is stored whole."""
        parts = name.split(".")
        return any(is_meant(".".join(parts[: i + 1]), self.whole) for i in range(len(parts)))

    def rank(self, name: str) -> int:
        """Return the rank of the update of a layer."""
        return by_pattern(name, self.rank_pattern, self.r)

    def strength(self, name: str) -> float:
        """Return alpha of a layer."""
        return by_pattern(name, self.alpha_pattern, self.alpha)

    def idle_patterns(self, adapted: Iterable[str]) -> list[str]:
        """Return a sentence for each pattern that fits none of the layers that have an update."""
        updated = [name for name in adapted if not self.replaces(name)]
        given = {"rank_pattern": self.rank_pattern, "alpha_pattern": self.alpha_pattern}
        return [
            f"{key} has {pattern!r}, which fits no adapted layer{_hint(pattern, updated)}"
            for key, patterns in given.items()
            for pattern in patterns
            if not any(fits(name, pattern) for name in updated)
        ]

    def idle_names(self, layers: Sequence[str], what: str, *, excluded: bool = True) -> list[str]:
        """Return a sentence for each name in a list that is none of `layers`, nor a part of one.

        `what` says whose layers they are: ``"of the base"``. Without `excluded`, what is left out
        is not looked for.
        """
        listed = () if isinstance(self.targets, str) else self.targets
        parents = {".".join(n.split(".")[:i]) for n in layers for i in range(1, n.count(".") + 2)}
        given = (
            ("target_modules", [name for name in listed if self.adapts(name)], layers),
            ("exclude_modules", self.excluded if excluded else (), layers),
            ("modules_to_save", [n for n in self.whole if n not in ADDED_BY_PEFT], parents),
        )
        return [
            f"{key} has {name!r}, which is no layer {what}{_hint(name, layers)}"
            for key, by, names in given
            for name in meaning_none(names, by)
        ]

    def as_json(self) -> str:
        """Return the text of ``adapter_config.json``; equal configurations have equal texts."""
        alphas = {name: _short(alpha) for name, alpha in self.alpha_pattern.items()}
        keys = {
            "alpha_pattern": alphas,
            "base_model_name_or_path": self.base,
            "bias": self.bias,
            "fan_in_fan_out": self.transposed,
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": _short(self.alpha),
            "lora_bias": self.lora_bias,
            "lora_dropout": self.dropout,
            "modules_to_save": list(self.whole) or None,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": dict(self.rank_pattern),
            "target_modules": self.targets if isinstance(self.targets, str) else [*self.targets],
            "task_type": None,
            "use_dora": self.dora,
            "use_rslora": self.rank_stabilized,
        }
        return json.dumps(keys, indent=2, sort_keys=True) + "\n"

    @classmethod
    def read(cls, path: Path) -> tuple[Self, list[str]]:
        """Return the configuration of a file, and what it asks for that is not known here.

        Raises
        ------
        FileError
            Where the file is missing or no JSON, where an option has another type or value than
            PEFT's, and where it asks for what is known and not supported.
        """
        raw = _Raw(path, strict_json(path, read_text(path, LARGEST_CONFIG, "a configuration")))
        if raw.pop("peft_type", None) != "LORA":
            raw.fail("has no peft_type LORA, expected the configuration of a LoRA adapter")
        start = raw.pop("init_lora_weights", True)
        if start not in CHANGES_NO_BASE:
            raw.fail(
                f"has init_lora_weights {start!r}: such a start changes the base as well, and the "
                "changed base is not in the folder"
            )
        config = cls(
            targets=raw.names("target_modules", needed=True),
            r=raw.count("r", raw.pop("r")),
            alpha=raw.number("lora_alpha", raw.pop("lora_alpha")),
            rank_pattern=raw.pattern("rank_pattern", raw.count),
            alpha_pattern=raw.pattern("alpha_pattern", raw.number),
            rank_stabilized=raw.flag("use_rslora"),
            dora=raw.flag("use_dora"),
            bias=raw.one_of("bias", ("none", "lora_only", "all")),
            lora_bias=raw.flag("lora_bias"),
            transposed=raw.flag("fan_in_fan_out"),
            whole=raw.list_of_names("modules_to_save"),
            excluded=raw.names("exclude_modules"),
            dropout=raw.number("lora_dropout", raw.pop("lora_dropout", 0.0)),
            base=raw.text("base_model_name_or_path"),
        )
        if config.dora and config.lora_bias:
            raw.fail("has use_dora and lora_bias, which PEFT does not combine either")
        if not 0 <= config.dropout <= 1:
            raw.fail(f"has lora_dropout {config.dropout}, expected a share from 0 to 1")
        return config, raw.rest()


class _Raw:
    """A parsed configuration, whose options are taken out one by one."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self.path, self.options = path, options

    def fail(self, sentence: str) -> NoReturn:
        raise FileError(self.path, sentence)

    def pop(self, key: str, *default: Any) -> Any:
        if key not in self.options and not default:
            self.fail(f"has no {key}, expected one: it decides the numbers")
        return self.options.pop(key, *default)

    def count(self, key: str, value: Any) -> int:
        if type(value) is not int or value < 1:
            self.fail(f"has {key} {value!r}, expected a whole number of at least 1")
        return value

    def number(self, key: str, value: Any) -> float:
        if type(value) not in (int, float) or abs(value) > 1e300 or not math.isfinite(value):
            self.fail(f"has {key} {value!r}, expected a finite number")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.pop(key, False)
        if type(value) is not bool:
            self.fail(f"has {key} {value!r}, expected true or false")
        return value

    def text(self, key: str) -> str | None:
        value = self.pop(key, None)
        if value is not None and not isinstance(value, str):
            self.fail(f"has {key} {value!r}, expected a text")
        return value

    def one_of(self, key: str, among: tuple[str, ...]) -> str:
        value = self.pop(key, among[0])
        if value not in among:
            self.fail(f"has {key} {value!r}, expected one of: {', '.join(among)}")
        return str(value)

    def names(self, key: str, *, needed: bool = False) -> tuple[str, ...] | str:
        value = self.options.get(key)
        if isinstance(value, str):
            if value != "all-linear":
                self.expression(key, value)
            return str(self.pop(key))
        names = self.list_of_names(key)
        if needed and not names:
            self.fail(f"has {key} {value!r}, expected the layers that are adapted")
        return names

    def list_of_names(self, key: str) -> tuple[str, ...]:
        value = self.pop(key, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            self.fail(f"has {key} {value!r}, expected a list of names")
        return tuple(value)

    def pattern(self, key: str, value_of: Any) -> dict[str, Any]:
        value = self.pop(key, None) or {}
        if not isinstance(value, dict):
            self.fail(f"has {key} {value!r}, expected numbers by name")
        for expression in value:
            self.expression(key, expression)
        return {name: value_of(f"{key} of {name}", number) for name, number in value.items()}

    def expression(self, key: str, expression: str) -> None:
        try:
            re.compile(expression)
        except (re.error, RecursionError, OverflowError) as error:
            self.fail(f"has {key} {expression!r}, which is no regular expression: {error}")

    def rest(self) -> list[str]:
        """Refuse what is not supported; return what is not known, unless it asks for nothing."""
        for key in UNSUPPORTED:
            value = self.options.pop(key, None)
            if value or (value == 0 and value is not False):
                self.fail(f"has {key} {value!r}, which is not supported here")
        return [k for k, value in self.options.items() if value and k not in WITHOUT_EFFECT]


def _hint(name: str, layers: Sequence[str]) -> str:
    return nearest(name, sorted({layer.rpartition(".")[2] for layer in layers}), cutoff=0.6)


def _short(number: float) -> float:
    """Return a whole number as one: 16, not 16.0."""
    return int(number) if number == int(number) else number
