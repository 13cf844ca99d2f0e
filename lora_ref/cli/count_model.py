"""``lora-ref count --model``: what a method trains in a published model, or in one's own."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lora_ref.cli.count_table import explanations, table
from lora_ref.cli.outcome import Outcome, as_json
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

if TYPE_CHECKING:
    from lora_ref.counting import Method, Model, Tally

LARGEST = 10**12
"""The largest size that ``count`` takes: beyond it a digit too many is more likely than a model."""


class Needs(NamedTuple):
    """What a method is made from: the options it must have, and those it may have."""

    must: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


RANKED = Needs(("rank", "targets"))
METHODS: Mapping[str, Needs] = {
    "lora": RANKED,
    "dora": RANKED,
    "vera": RANKED,
    "loha": RANKED,
    "lokr": Needs(RANKED.must, ("factor", "decompose_both")),
    "adalora": RANKED,
    "houlsby": Needs(("rank",)),
    "lin": Needs(("rank",)),
    "pfeiffer": Needs(("rank",)),
    "prefix": Needs(("tokens",)),
    "prefix-embed": Needs(("tokens",)),
    "prefix-layer": Needs(("tokens",)),
    "ia3": Needs(("targets",), ("feedforward",)),
    "bitfit": Needs(),
    "top": Needs(("blocks",)),
    "full": Needs(),
}
"""Every method by name, with the options that it takes."""

OF_METHODS = ("rank", "targets", "tokens", "blocks", "feedforward", "factor", "decompose_both")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the form takes."""
    form = parser.add_argument_group(
        "a whole model, with --rank and --targets where a method needs"
    )
    form.add_argument("--model", metavar="NAME", help="a published model, see --models")
    form.add_argument("--spec", metavar="FILE", help="a model of your own, a JSON file")
    form.add_argument("--models", action="store_true", help="list the published models")
    form.add_argument("--targets", nargs="+", metavar="T", help="modules to wrap, such as q_proj")
    form.add_argument("--method", metavar="M", help=f"lora (default), {', '.join([*METHODS][1:])}")
    form.add_argument("--dora", action="store_true", help="the same as --method dora")
    form.add_argument("--tokens", metavar="N", help="of a prefix")
    form.add_argument("--blocks", metavar="K", help="of top: the last K are trained")
    form.add_argument("--feedforward", nargs="+", metavar="T", help="of ia3: input is rescaled")
    form.add_argument("--factor", metavar="N", help="of lokr: where to split a width (middle)")
    form.add_argument("--decompose-both", action="store_true", help="of lokr: factors for w1 too")
    form.add_argument("--save", nargs="+", metavar="T", help="modules that are trained whole")
    form.add_argument(
        "--head", metavar="NAME:N", help="add a linear head with N outputs, trained whole"
    )
    form.add_argument(
        "--rule", nargs="+", metavar="R", help="count by it (saved-twice); --explain: try it too"
    )
    form.add_argument("--dtype", metavar="D", help="of the training memory (float32)")
    form.add_argument("--explain", metavar="N", help="which counting rules give this number")


def given(options: argparse.Namespace) -> list[str]:
    """Return the flags of this form that were given."""
    names = (
        "model", "spec", "models", "targets", "method", "dora", "tokens", "blocks", "feedforward",
        "factor", "decompose_both", "save", "head", "rule", "dtype", "explain",
    )  # fmt: skip
    return [_flag(name) for name in names if getattr(options, name) not in (None, False)]


def run(options: argparse.Namespace) -> Outcome:
    """Count what a method trains in a model, or explain a printed count."""
    from lora_ref import counting

    if options.models:
        return _models(options)
    model = _model(options)
    method = _method(options)
    saved = _names(options.save)
    if options.head is not None:
        name, outputs = _head(options.head)
        model = model.with_head(name, outputs)
        saved.append(name)
    rules, dtype = _names(options.rule), options.dtype or "float32"
    counted = plain = counting.tally(model, method, saved=saved)
    if rules and options.explain is None:
        counted = counting.tally(model, method, saved=saved, rules=rules)
    memory = [
        counting.training_memory(each, dtype, optimizer=options.optimizer)
        for each in (plain, counting.tally(model, counting.Full()))
    ]
    body: dict[str, Any] = {
        "schema": 1,
        "model": model.name,
        "rank": getattr(method, "r", getattr(method, "m", None)),
        "targets": list(getattr(method, "targets", ())),
        "trainable": counted.trainable,
        "total": counted.total,
        "share": float(counted.share),
    }
    if options.explain is None:
        page = table(counted, plain, memory, f"{dtype}, {options.optimizer}")
        idle = tuple(name for name in rules if _idle(name, plain, saved))
        messages = tuple(f"the rule {name} changes nothing here" for name in idle)
        return Outcome(as_json(body) if options.json else page, messages=messages)
    printed = whole("--explain", options.explain.replace(",", ""), LARGEST**2)
    found = counting.explain(printed, model, method, saved=saved, further=rules)
    if options.json:
        body["explanations"] = [asdict(each) for each in found]
        return Outcome(as_json(body))
    close = None if found else counting.nearest(printed, model, method, saved=saved, further=rules)
    return Outcome(explanations(printed, counted, found, close))


def _idle(name: str, plain: "Tally", saved: list[str]) -> bool:
    """Whether a rule by itself changes neither count."""
    from lora_ref.counting import tally

    alone = tally(plain.model, plain.method, saved=saved, rules=[name])
    return (alone.trainable, alone.total) == (plain.trainable, plain.total)


def _models(options: argparse.Namespace) -> Outcome:
    """List the published models."""
    from lora_ref.counting import ARCHITECTURES

    if (also := given(options)) != ["--models"]:
        raise LoraRefError(f"--models lists what is known and takes no {also[0]}")
    models = ARCHITECTURES.values()
    if options.json:
        listed = [{"name": m.name, "title": m.title, "total": m.total} for m in models]
        return Outcome(as_json({"schema": 1, "models": listed}))
    wide, high = (max(len(text) for text in column) for column in zip(
        *((m.name, f"{m.total:,}") for m in models), strict=True
    ))  # fmt: skip
    return Outcome("\n".join(f"{m.name:<{wide}}  {m.total:>{high},}  {m.title}" for m in models))


def _model(options: argparse.Namespace) -> "Model":
    """Return the published model, or the one in the file."""
    if (options.model is None) == (options.spec is None):
        raise LoraRefError("expected one of --model and --spec; --models lists what is known")
    if options.model is not None:
        from lora_ref.counting import architecture

        return architecture(options.model)
    from lora_ref.counting.spec import load

    return load(Path(options.spec))


def _method(options: argparse.Namespace) -> "Method":
    """Return the method, made from the options that it takes and no others."""
    from lora_ref import counting

    name = options.method or ("dora" if options.dora else "lora")
    if name not in METHODS:
        raise LoraRefError(f"no method is called {name!r}{nearest(name, METHODS)}")
    if options.dora and name != "dora":
        raise LoraRefError(f"--dora and --method {name} are two methods, expected one")
    must, may = METHODS[name]
    has = [option for option in OF_METHODS if getattr(options, option) not in (None, False)]
    for option in must:
        if option not in has:
            raise LoraRefError(f"{_flag(option)} is missing: {name} needs {_flags(must)}")
    for option in has:
        if option not in must + may:
            raise LoraRefError(
                f"{name} takes no {_flag(option)}, expected {_flags(must + may) or 'none'}"
            )
    values: dict[str, Any] = {}
    for option in has:
        value = getattr(options, option)
        if option in ("targets", "feedforward"):
            value = _names(value)
        elif option != "decompose_both":
            value = whole(_flag(option), value, LARGEST)
        values[option] = value
    made: Mapping[str, Callable[..., Method]] = {
        **counting.RANKED,
        "houlsby": counting.Adapter,
        "lin": counting.Adapter,
        "pfeiffer": counting.Adapter,
        "prefix": counting.Prefix,
        "prefix-embed": counting.PrefixEmbed,
        "prefix-layer": counting.PrefixLayer,
        "ia3": counting.IA3,
        "bitfit": counting.BitFit,
        "top": counting.TopLayers,
        "full": counting.Full,
    }
    first = [values.pop(option) for option in must]
    if made[name] is counting.Adapter:
        values["kind"] = name
    return made[name](*first, **values)


def _head(text: str) -> tuple[str, int]:
    """Return name and outputs of the head that ``NAME:LABELS`` describes."""
    name, colon, labels = text.rpartition(":")
    if not colon:
        raise LoraRefError(f"--head is {text!r}, expected NAME:LABELS such as classifier:101")
    return name, whole("--head", labels, LARGEST)


def _names(texts: list[str] | None) -> list[str]:
    """Return names that were separated by spaces or commas."""
    return [name for text in texts or () for name in text.split(",") if name]


def whole(flag: str, text: str, largest: int) -> int:
    """Return a whole number from 1 on, or say why the text is none.

    Raises
    ------
    LoraRefError
        For text that is no whole number, or one that is too small, too large or too long to read.
    """
    expected = f"expected a whole number from 1 to {largest:,}"
    if len(text) > 1000:
        raise LoraRefError(f"{flag} has {len(text):,} characters, {expected}")
    try:
        value = int(text)
    except ValueError:
        raise LoraRefError(f"{flag} is {text!r}, {expected}") from None
    if not 1 <= value <= largest:
        raise LoraRefError(f"{flag} is {value}, {expected}")
    return value


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _flags(options: tuple[str, ...]) -> str:
    return " and ".join(_flag(option) for option in options)
