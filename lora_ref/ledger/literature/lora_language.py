"""The LoRA paper (arXiv 2106.09685v2) on RoBERTa, DeBERTa and GPT-2: tables 2, 3, 9 to 11, 13."""

from typing import Any

from lora_ref.counting.architectures import architecture
from lora_ref.counting.layer import adapter_params, lora_params
from lora_ref.counting.methods import BitFit, TopLayers
from lora_ref.counting.tally import tally
from lora_ref.ledger.literature.figure import Conflict, Figure, Rule, Source

SOURCE = Source("lora", "LoRA: Hu et al., 2021, arXiv 2106.09685v2")

ADAPTED = "2 matrices d r"
ADAPTERS = "adapters (2 d m + m + d)"
WITH_NORMS = "adapters (2 d m + m + d) + 2 norms d"
CUT = "{value:,} with the digits after the last printed one cut off."


def lora(matrices: int, d: int, r: int, **_: Any) -> int:
    """Return the entries of A and B for square matrices of width d."""
    return matrices * lora_params(d, d, r)


def adapters(adapters: int, d: int, m: int, **_: Any) -> int:
    """Return the parameters of bottleneck adapters of width m."""
    return adapters * adapter_params(d, m)


def with_norms(adapters: int, d: int, m: int, norms: int) -> int:
    """Return the parameters of adapters and of the layer norms that are trained with them."""
    return adapters * adapter_params(d, m) + 2 * norms * d


def _model(model: str, **_: Any) -> int:
    return architecture(model).total


def _top(model: str, layers: int) -> int:
    return tally(architecture(model), TopLayers(layers)).trainable


def lora_figure(
    id: str, where: str, says: str, printed: str, given: tuple[int, int, int], **more: Any
) -> Figure:
    """Return a figure of LoRA; `given` is how many matrices, their width, and the rank."""
    matrices, d, r = given
    return Figure(
        id=f"lora-{id}",
        source=SOURCE,
        where=where,
        says=says,
        printed=printed,
        formula=ADAPTED,
        given={"matrices": matrices, "d": d, "r": r} | more.pop("also", {}),
        value=lora,
        **more,
    )


def adapter_figure(
    id: str, where: str, says: str, printed: str, given: tuple[int, int, int], why: str = ""
) -> Figure:
    """Return a figure of adapters; `given` is how many, the width, and that of the bottleneck."""
    count, d, m = given
    return Figure(
        id=f"lora-{id}",
        source=SOURCE,
        where=where,
        says=says,
        printed=printed,
        formula=ADAPTERS,
        given={"adapters": count, "d": d, "m": m},
        value=adapters,
        why=why,
    )


def _adapter_l(id: str, where: str, says: str, printed: str, given: tuple[int, int, int]) -> Figure:
    count, d, m = given
    return Figure(
        id=f"lora-{id}",
        source=SOURCE,
        where=where,
        says=f"{says}, Adapter-L",
        printed=printed,
        formula=WITH_NORMS,
        given={"adapters": count, "d": d, "m": m, "norms": count},
        value=with_norms,
        why="The width m = {m} is not printed: it is the one that fits with the layer norms of the "
        "paper's formula. Without them the next width would fit.",
    )


def _full(
    id: str, where: str, says: str, printed: str, model: str, why: str = "", **more: Any
) -> Figure:
    return Figure(
        id=f"lora-{id}",
        source=SOURCE,
        where=where,
        says=f"{says}, full fine-tuning",
        printed=printed,
        formula="every parameter of the architecture, tied ones once",
        given={"model": model} | more.pop("also", {}),
        value=_model,
        why=why,
        **more,
    )


def _nominal(id: str, says: str, printed: str, model: str, nominal: int) -> Figure:
    return _full(
        f"{id}-full",
        "table 2",
        says,
        printed,
        model,
        "The model itself has {value:,}; what is printed is the size in its name, to a digit "
        "that the name does not have.",
        also={"nominal": nominal},
        rule=Rule("nominal-size", lambda model, nominal: nominal),
    )


def _top_two(printed: str, where: str, **more: Any) -> Figure:
    return Figure(
        id=f"lora-gpt2-medium-top-2-{where.replace(' ', '-')}",
        source=SOURCE,
        where=where,
        says="GPT-2 medium, the last two blocks fine-tuned",
        printed=printed,
        formula="layers (12 d^2 + 13 d)",
        given={"model": "gpt2-medium", "layers": 2},
        value=_top,
        **more,
    )


def _larger_r(matrices: int, d: int, r: int, r_scripts: int) -> int:
    return lora(matrices, d, r_scripts)


FIGURES: tuple[Figure, ...] = (
    _nominal("roberta-base", "RoBERTa base", "125.0M", "roberta-base", 125 * 10**6),
    _nominal("roberta-large", "RoBERTa large", "355.0M", "roberta-large", 355 * 10**6),
    _nominal("deberta-xxl", "DeBERTa XXL", "1500.0M", "deberta-v2-xxlarge", 1500 * 10**6),
    Figure(
        id="lora-roberta-base-bitfit",
        source=SOURCE,
        where="table 2",
        says="RoBERTa base, BitFit: every bias",
        printed="0.1M",
        formula="11 d L + 2 d",
        given={"model": "roberta-base"},
        value=lambda model: tally(architecture(model), BitFit()).trainable,
    ),
    lora_figure(
        "roberta-base", "table 2", "RoBERTa base, LoRA r = 8 on q and v", "0.3M", (24, 768, 8)
    ),
    lora_figure("roberta-large", "table 2", "RoBERTa large, LoRA r = 8", "0.8M", (48, 1024, 8)),
    lora_figure(
        "deberta-xxl",
        "table 2, and r = 8 in table 10",
        "DeBERTa XXL, LoRA r = 8 on q and v",
        "4.7M",
        (96, 1536, 8),
        also={"r_scripts": 16},
        conflict=Conflict(
            "lora_r 16 in microsoft/LoRA, examples/NLU/deberta_v2_xxlarge_*.sh", value=_larger_r
        ),
        why="r = {r} gives {value:,}; what is printed is r = {r_scripts}, which the paper's own "
        "scripts use.",
    ),
    adapter_figure(
        "roberta-large-adapter-p-3m",
        "tables 2 and 9",
        "RoBERTa large, Adapter-P, m = 64",
        "3.0M",
        (24, 1024, 64),
        "The formula of the paper gives {value:,}.",
    ),
    adapter_figure(
        "roberta-large-adapter-p-0.8m",
        "tables 2 and 9",
        "RoBERTa large, Adapter-P, m = 16",
        "0.8M",
        (24, 1024, 16),
    ),
    adapter_figure(
        "roberta-large-adapter-h-6m",
        "tables 2 and 9",
        "RoBERTa large, Adapter-H, m = 64",
        "6.0M",
        (48, 1024, 64),
        "The formula of the paper gives {value:,}.",
    ),
    adapter_figure(
        "roberta-large-adapter-h-0.8m",
        "tables 2 and 9",
        "RoBERTa large, Adapter-H, m = 8",
        "0.8M",
        (48, 1024, 8),
    ),
    _full(
        "gpt2-medium-full",
        "table 3",
        "GPT-2 medium",
        "354.92M",
        "gpt2-medium",
        "The architecture has {value:,} parameters: one digit of the printed number is off.",
    ),
    _full("gpt2-large-full", "table 3", "GPT-2 large", "774.03M", "gpt2-large"),
    _full("gpt2-medium-full-table-13", "table 13", "GPT-2 medium", "354M", "gpt2-medium", CUT),
    _full("gpt2-large-full-table-13", "table 13", "GPT-2 large", "774M", "gpt2-large"),
    _top_two("25.19M", "table 3"),
    _top_two(
        "24M",
        "table 13",
        conflict=Conflict("table 3, for the same two blocks", printed="25.19M"),
        why="Two blocks have {value:,} parameters, as table 3 says.",
    ),
    _adapter_l("gpt2-medium-adapter-l-0.37m", "table 3", "GPT-2 medium", "0.37M", (24, 1024, 6)),
    _adapter_l("gpt2-medium-adapter-l-11m", "table 3", "GPT-2 medium", "11.09M", (24, 1024, 224)),
    _adapter_l("gpt2-large-adapter-l-0.88m", "table 3", "GPT-2 large", "0.88M", (36, 1280, 8)),
    _adapter_l("gpt2-large-adapter-l-23m", "table 3", "GPT-2 large", "23.00M", (36, 1280, 248)),
    adapter_figure(
        "gpt2-medium-adapter-h",
        "table 3",
        "GPT-2 medium, Adapter-H",
        "11.09M",
        (48, 1024, 112),
        "Two adapters a block have {value:,} at m = {m}, the nearest: no width gives what is "
        "printed, which is the number of Adapter-L.",
    ),
    lora_figure(
        "gpt2-medium",
        "table 3, r = 4 in table 11",
        "GPT-2 medium, LoRA r = 4 on q and v",
        "0.35M",
        (48, 1024, 4),
        why="{matrices} matrices of r = {r} have {value:,}, as the published checkpoint does. "
        "0.35M is the number of PreLayer, the row above; the caption of table 18 says that r = {r} "
        "has as many parameters as another method.",
    ),
    lora_figure(
        "gpt2-large",
        "table 3, r = 4 in table 11",
        "GPT-2 large, LoRA r = 4 on q and v",
        "0.77M",
        (72, 1280, 4),
        why="{matrices} matrices of r = {r} have {value:,}. 0.77M is also the number of PreLayer, "
        "the row above.",
    ),
)
