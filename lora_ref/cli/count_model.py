"""``lora-ref count --model``: what a method trains in a published model, or in one's own."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any, NamedTuple

from lora_ref.cli.count_table import explanation_text, other_ranks_text, size_text, table
from lora_ref.cli.outcome import FAILED, GOOD, Outcome, as_json, columns, listed, whole
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

if TYPE_CHECKING:
    from lora_ref.counting import (
        Explanation,
        Method,
        Model,
        ParameterCount,
        Size,
        SizeExplanation,
        Targets,
    )

MAX_SIZE = 10**12
"""The largest size that ``count`` takes; a larger one more likely has a digit too many."""


MAX_LAYERS = 10_000

NAME = set(ascii_letters + digits + "._-")
"""Characters of a module's name; a target with another one is a regular expression."""


class Recipe(NamedTuple):
    """How a method is made: a class of `lora_ref.counting`, and the options it takes."""

    class_name: str  # a name, because importing the class would load NumPy for every --help
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


METHODS: Mapping[str, Recipe] = {
    "lora": Recipe("LoRA", ("rank", "targets"), ("rank_pattern", "bias", "parameters", "tokens")),
    "dora": Recipe("DoRA", ("rank", "targets"), ("rank_pattern", "bias", "tokens")),
    "vera": Recipe("VeRA", ("rank", "targets")),
    "loha": Recipe("LoHa", ("rank", "targets"), ("rank_pattern",)),
    "lokr": Recipe("LoKr", ("rank", "targets"), ("rank_pattern", "factor", "decompose_both")),
    "adalora": Recipe("AdaLoRA", ("rank", "targets")),
    "houlsby": Recipe("Adapter", ("rank",)),
    "lin": Recipe("Adapter", ("rank",)),
    "pfeiffer": Recipe("Adapter", ("rank",)),
    "prefix": Recipe("Prefix", ("tokens",)),
    "prefix-embed": Recipe("PrefixEmbed", ("tokens",)),
    "prefix-layer": Recipe("PrefixLayer", ("tokens",)),
    "ia3": Recipe("IA3", ("targets",), ("feedforward",)),
    "bitfit": Recipe("BitFit"),
    "top": Recipe("TopLayers", ("blocks",)),
    "full": Recipe("Full"),
}

METHOD_OPTIONS = (
    "rank", "targets", "tokens", "blocks", "feedforward", "factor", "decompose_both",
    "rank_pattern", "bias", "parameters",
)  # fmt: skip
MODEL_OPTIONS = (
    "model", "spec", "models", "method", "dora", "save", "head", "rule", "dtype", "explain",
    "exclude", "layers", "files",
    *METHOD_OPTIONS[1:],
)  # fmt: skip
"""Options of this form; ``--rank``, ``--optimizer`` and ``--json`` belong to both forms."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the form for a whole model."""
    title = "a whole model, with --rank and --targets where a method needs"
    add = parser.add_argument_group(title).add_argument
    add("--model", metavar="NAME", help="a published model, see --models")
    files = "a model's own files: a safetensors file, an index of several, or their folder"
    add("--from", dest="files", metavar="PATH", help=files)
    add("--spec", metavar="FILE", help="a model of your own, a JSON file")
    add("--models", action="store_true", help="list the published models")
    names = "modules to wrap: names such as q_proj, an expression, or all-linear (PEFT's default)"
    add("--targets", nargs="+", metavar="T", help=names)
    add("--exclude", nargs="+", metavar="T", help="modules that are not wrapped")
    add("--layers", metavar="L", help="blocks whose modules are wrapped, such as 0-3,8 (all)")
    add("--rank-pattern", nargs="+", metavar="T=R", help="other ranks, such as down_proj=16")
    add("--bias", metavar="B", help="biases that train too: none (default), all or lora_only")
    parameters = "bare parameters to wrap, such as experts.down_proj"
    add("--target-parameters", dest="parameters", nargs="+", metavar="P", help=parameters)
    add("--method", metavar="M", help=f"lora (default), {', '.join([*METHODS][1:])}")
    add("--dora", action="store_true", help="the same as --method dora")
    add("--tokens", metavar="N", help="of a prefix; of lora: that get an update of their own")
    add("--blocks", metavar="K", help="of top: the last K are trained")
    add("--feedforward", nargs="+", metavar="T", help="of ia3: input is rescaled")
    add("--factor", metavar="N", help="of lokr: where to split a width (middle)")
    add("--decompose-both", action="store_true", help="of lokr: factors for w1 too")
    add("--save", nargs="+", metavar="T", help="modules that are trained whole")
    add("--head", metavar="NAME:N", help="add a linear head with N outputs, trained whole")
    rules = "count by it (saved-twice); --explain: try it too"
    add("--rule", nargs="+", metavar="R", help=rules)
    add("--dtype", metavar="D", help="of the training memory (float32)")
    add(
        "--explain",
        metavar="N",
        help="which rules give this count, or 4.7M, or a size such as 610MB",
    )


def flags_given(options: argparse.Namespace) -> list[str]:
    """Return the flags of this form that are on the command line."""
    return [_flag(name) for name in MODEL_OPTIONS if getattr(options, name) not in (None, False)]


def run(options: argparse.Namespace) -> Outcome:
    """Count what a method trains in a model, or explain a printed count."""
    from lora_ref import counting

    if options.models:
        return _list_models(options)
    model, saved, rules = _model(options), _names(options.save), _names(options.rule)
    if options.head is not None:
        name, outputs = _head(options.head)
        model = model.with_head(name, outputs)
        saved.append(name)
    method = _method(options, model, saved)
    dtype = options.dtype or "float32"
    counted = plain = counting.count_parameters(model, method, modules_to_save=saved)
    if options.explain is None:
        counted = counting.count_parameters(model, method, modules_to_save=saved, rules=rules)
    memory = [
        counting.training_memory(each, dtype, optimizer=options.optimizer)
        for each in (plain, counting.count_parameters(model, counting.Full()))
    ]
    body: dict[str, Any] = {
        "schema": 1,
        "model": model.name,
        "rank": getattr(method, "r", getattr(method, "bottleneck", None)),
        "targets": _as_json(getattr(method, "targets", None)),
        "trainable": counted.trainable,
        "total": counted.total,
        "share": float(counted.share),
    }
    if options.explain is None:
        text = table(counted, plain, memory, f"{dtype}, {options.optimizer}")
        idle = [name for name in rules if _changes_nothing(name, plain, saved)]
        messages = tuple(f"the rule {name} changes nothing here" for name in idle)
        return Outcome(as_json(body) if options.json else text, messages=messages)
    search: dict[str, Any] = {"modules_to_save": saved, "extra_rules": rules}
    size = _size(options.explain, "KMGT", "B")
    if size is not None:
        dtypes = counting.DTYPES if options.dtype is None else (dtype,)
        sizes = counting.explain_size(size, model, method, dtypes=dtypes, **search)
        explained = [_size_as_json(each) for each in sizes]
        text = size_text(size, counted, sizes, dtypes)

        def fits(plain: "Explanation") -> bool:
            return any(one.agrees(size) for one in counting.sizes_of(plain, size, dtypes))
    else:
        printed, within = _number(options.explain)
        found = counting.explain(printed, model, method, within=within, **search)
        near = None if found else counting.closest(printed, model, method, **search)
        explained = [asdict(each) for each in found]
        text = explanation_text(printed, counted, found, near, within > 0)

        def fits(plain: "Explanation") -> bool:
            return abs(plain.value - printed) <= within

    status = GOOD if explained else FAILED
    ranks = () if explained else counting.other_ranks(fits, model, method, saved)
    if options.json:
        body["other_ranks"] = [{"r": r, **asdict(each)} for r, each in ranks]
        body["explanations"] = explained
        return Outcome(as_json(body), status)
    return Outcome("\n".join([text, *other_ranks_text(ranks)]), status)


def _number(text: str) -> tuple[int, Fraction]:
    """Return a printed count, and half its last digit where it is rounded, as 4.7M is."""
    size = _size(text, "KMBT")
    if size is None:
        return whole("--explain", text.replace(",", ""), MAX_SIZE**2), Fraction(0)
    number, digit = (part * 1000**size.power for part in (size.number, size.digit))
    if number.denominator > 1:
        raise LoraRefError(f"--explain is {text!r}, expected a whole number of parameters")
    return int(number), digit / 2


def _size(text: str, letters: str, end: str = "") -> "Size | None":
    """Return the size that a text such as 32.8MB is, None if it is none."""
    pattern = rf"(\d[\d,]{{0,20}})(\.\d{{1,20}})? ?([k{letters}]){end}"
    found = re.fullmatch(pattern, text.strip())
    if found is None:
        return None
    from lora_ref.counting import Size

    before, behind, letter = found.groups(default="")
    number = Fraction(before.replace(",", "") + behind)
    power = letters.index(letter.upper()) + 1
    digit = Fraction(1, 10 ** max(0, len(behind) - 1))
    return Size(text.strip(), number, digit, power)


def _size_as_json(each: "SizeExplanation") -> dict[str, Any]:
    counted = asdict(each.counted)
    return {**counted, "rules": each.rules, "dtype": each.dtype, "size": float(each.value)}


def _changes_nothing(rule: str, plain: "ParameterCount", saved: list[str]) -> bool:
    from lora_ref.counting import count_parameters

    alone = count_parameters(plain.model, plain.method, modules_to_save=saved, rules=[rule])
    return (alone.trainable, alone.total) == (plain.trainable, plain.total)


def _list_models(options: argparse.Namespace) -> Outcome:
    from lora_ref.counting import MODELS

    flags = flags_given(options)
    if flags != ["--models"]:
        raise LoraRefError(f"--models lists what is known and takes no {flags[0]}")
    models = MODELS.values()
    if options.json:
        listed = [{"name": m.name, "title": m.title, "total": m.total} for m in models]
        return Outcome(as_json({"schema": 1, "models": listed}))
    return Outcome("\n".join(columns(((m.name, f"{m.total:,}", m.title) for m in models), "<><")))


def _model(options: argparse.Namespace) -> "Model":
    """Return the published model, or the one in the files."""
    given = [one for one in ("model", "files", "spec") if getattr(options, one) is not None]
    if len(given) != 1:
        raise LoraRefError(
            "expected one of --model, --from and --spec; --models lists what is known"
        )
    from lora_ref.counting import get_model
    from lora_ref.counting.spec import load

    if options.files is not None:
        return _from_files(Path(options.files))
    return get_model(options.model) if options.spec is None else load(options.spec)


def _from_files(path: Path) -> "Model":
    """Return the model whose arrays the headers of some files name."""
    from lora_ref.checkpoint.shapes import read_shapes
    from lora_ref.counting.from_shapes import model_from_shapes

    entries, config = read_shapes(path)
    for name, entry in entries.items():
        if name.endswith("weight") and entry.dtype not in ("F64", "F32", "F16", "BF16"):
            raise LoraRefError(
                f"{name} in {path} is stored as {entry.dtype}: in few bits, so that its shape need "
                "not be that of the weight; expected a file of floats"
            )
    shapes = {name: entry.shape for name, entry in entries.items()}
    return model_from_shapes(path.stem if path.is_file() else path.name, shapes, config)


def _method(options: argparse.Namespace, model: "Model", saved: list[str]) -> "Method":
    """Return the method, made from the options that it takes and no others."""
    from lora_ref import counting

    name = options.method or ("dora" if options.dora else "lora")
    if name not in METHODS:
        raise LoraRefError(f"no method is called {name!r}{nearest(name, METHODS)}")
    if options.dora and name != "dora":
        raise LoraRefError(f"--dora and --method {name} are two methods, expected one")
    class_name, required, optional = METHODS[name]
    present = [one for one in METHOD_OPTIONS if getattr(options, one) not in (None, False)]
    if "targets" in required and name in counting.LOW_RANK_METHODS and "targets" not in present:
        present.append("targets")
    elif "targets" not in required and (options.exclude or options.layers):
        raise LoraRefError(f"{name} wraps no targets, so it takes no --exclude and no --layers")
    for option in required:
        if option not in present:
            raise LoraRefError(f"{_flag(option)} is missing: {name} needs {_flags(required)}")
    values: dict[str, Any] = {}
    for option in present:
        if option not in required + optional:
            raise LoraRefError(
                f"{name} takes no {_flag(option)}, expected {_flags(required + optional) or 'none'}"
            )
        value = getattr(options, option)
        if option == "targets":
            value = _targets(options, model, saved)
        elif option == "rank_pattern":
            value = dict(_rank(text) for text in _names(value))
        elif isinstance(value, list):
            value = _names(value)
        elif isinstance(value, str) and option != "bias":
            value = whole(_flag(option), value, MAX_SIZE)
        values[option] = value
    positional = [values.pop(option) for option in required]
    if class_name == "Adapter":
        values["kind"] = name
    method: Method = getattr(counting, class_name)(*positional, **values)
    return method


def _targets(options: argparse.Namespace, model: "Model", saved: list[str]) -> "Targets":
    """Return what is wrapped: what is named, or what PEFT wraps where nothing is."""
    from lora_ref.counting.targets import Targets, default_targets

    given = options.targets
    if given is None and options.parameters is None:
        given = default_targets(model)
    names = _names_or_expression("--targets", given)
    exclude = _names_or_expression("--exclude", options.exclude)
    if isinstance(names, str) and not exclude:
        exclude = saved  # PEFT does not wrap what is trained whole, either
    layers = None if options.layers is None else _numbers(options.layers)
    return Targets(names, exclude, layers)


def _names_or_expression(flag: str, texts: Sequence[str] | None) -> list[str] | str:
    """Return the names in a flag, or the one expression; that may have commas in it."""
    odd = [one for one in texts or () if one == "all-linear" or set(one) - NAME - {","}]
    if not odd:
        return _names(texts)
    if len(texts or ()) > 1:
        raise LoraRefError(f"{flag} has {odd[0]!r} and more: an expression stands alone")
    return odd[0]


def _numbers(text: str) -> list[int]:
    """Return the numbers of ``0-3,8``."""
    numbers: list[int] = []
    for part in listed(text):
        first, dash, last = part.partition("-")
        low = whole("--layers", first, MAX_LAYERS, smallest=0)
        high = whole("--layers", last, MAX_LAYERS, smallest=low) if dash else low
        numbers += range(low, high + 1)
    if not numbers:
        raise LoraRefError(f"--layers is {text!r}, expected numbers such as 0-3,8")
    return numbers


def _rank(text: str) -> tuple[str, int]:
    """Return the pattern and the rank of ``down_proj=16``."""
    pattern, equals, rank = text.rpartition("=")
    if not equals or not pattern:
        raise LoraRefError(f"--rank-pattern is {text!r}, expected such as down_proj=16")
    return pattern, whole("--rank-pattern", rank, MAX_SIZE)


def _as_json(targets: "Targets | None") -> list[str] | str:
    if targets is None:
        return []
    return targets.names if isinstance(targets.names, str) else list(targets.names)


def _head(text: str) -> tuple[str, int]:
    """Return name and outputs of the head that ``NAME:LABELS`` describes."""
    name, colon, labels = text.rpartition(":")
    if not colon:
        raise LoraRefError(f"--head is {text!r}, expected NAME:LABELS such as classifier:101")
    return name, whole("--head", labels, MAX_SIZE)


def _names(texts: Sequence[str] | None) -> list[str]:
    """Return names that were separated by spaces or commas."""
    return [name for text in texts or () for name in listed(text)]


def _flag(option: str) -> str:
    name = {"files": "from", "parameters": "target_parameters"}.get(option, option)
    return "--" + name.replace("_", "-")


def _flags(options: tuple[str, ...]) -> str:
    return " and ".join(_flag(option) for option in options)
