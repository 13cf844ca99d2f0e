"""The LoRA paper (arXiv 2106.09685v2) in its text: latency, savings, speed, subspaces."""

from fractions import Fraction

from lora_ref.counting.layer import lora_params
from lora_ref.ledger.literature.figure import Figure, Rule
from lora_ref.ledger.literature.lora_language import SOURCE

GB = 10**9


def _ratio(above: Fraction, below: Fraction) -> Fraction:
    return above / below


def _random(norm: Fraction, r: int, d: int) -> Fraction:
    return norm * r / d


def _random_figure(printed: str, r: int, within: str | None = None) -> Figure:
    return Figure(
        id=f"lora-random-subspace-{r}",
        source=SOURCE,
        where="table 7, column random",
        says=f"norm of U^T W V^T for random U and V of r = {r}",
        printed=printed,
        formula="norm(W) r / d",
        given={"norm": Fraction("61.95"), "r": r, "d": 12288},
        value=_random,
        within=within,
        why="An approximation: the expected square of the norm is norm(W)^2 (r/d)^2 for uniformly "
        "drawn subspaces. A measured entry of a table, predicted by one line of algebra.",
    )


def _slower(method: str, rows: int, printed: str, adapted: str, plain: str) -> Figure:
    return Figure(
        id=f"lora-latency-{method}-{rows}",
        source=SOURCE,
        where="table 1",
        says=f"GPT-2 medium with Adapter-{method.upper()}, batch of {rows}: slower by",
        printed=printed,
        formula=f"{adapted} ms / {plain} ms - 1",
        given={"adapted": Fraction(adapted), "plain": Fraction(plain)},
        value=lambda adapted, plain: adapted / plain - 1,
    )


FIGURES: tuple[Figure, ...] = (
    _slower("l", 32, "2.2 %", "1482.0", "1449.4"),
    _slower("l", 16, "5.0 %", "354.8", "338.0"),
    _slower("l", 1, "20.7 %", "23.9", "19.8"),
    _slower("h", 32, "3.0 %", "1492.2", "1449.4"),
    _slower("h", 16, "8.4 %", "366.3", "338.0"),
    _slower("h", 1, "30.3 %", "25.8", "19.8"),
    Figure(
        id="lora-share",
        source=SOURCE,
        where="section 2",
        says="what is trained can be as small as 0.01 % of GPT-3",
        printed="0.01 %",
        formula="2 matrices d r / 175,255.8M",
        given={"full": 175_255_800_000, "matrices": 192, "d": 12288, "r": 4},
        value=lambda full, matrices, d, r: Fraction(matrices * lora_params(d, d, r), full),
    ),
    Figure(
        id="lora-memory-3",
        source=SOURCE,
        where="abstract and section 4.2",
        says="3 times less GPU memory: 350 GB in place of 1.2 TB",
        printed="3",
        formula="1.2 TB / 350 GB",
        given={"above": Fraction(1200 * GB), "below": Fraction(350 * GB)},
        value=_ratio,
    ),
    Figure(
        id="lora-checkpoint-350gb",
        source=SOURCE,
        where="section 4.2",
        says="a checkpoint of the 175B parameters of GPT-3 in 16 bits",
        printed="350 GB",
        formula="2 bytes x 175B",
        given={"parameters": 175 * 10**9, "itemsize": 2},
        value=lambda parameters, itemsize: parameters * itemsize,
    ),
    Figure(
        id="lora-checkpoint-10000",
        source=SOURCE,
        where="section 4.2",
        says="a checkpoint is 10,000 times smaller, 35 MB for 350 GB",
        printed="10,000",
        formula="350 GB / 35 MB",
        given={"above": Fraction(350 * GB), "below": Fraction(35 * 10**6)},
        value=_ratio,
    ),
    Figure(
        id="lora-parameters-10000",
        source=SOURCE,
        where="abstract and table 4",
        says="10,000 times fewer trainable parameters than GPT-3's full fine-tuning",
        printed="10,000",
        formula="175,255.8M / (2 matrices d r)",
        given={"full": 175_255_800_000, "matrices": 192, "d": 12288, "r": 4},
        value=lambda full, matrices, d, r: Fraction(full, matrices * lora_params(d, d, r)),
        within="10 %",
        why="{value:,.0f} times with r = {r} on q and v.",
    ),
    Figure(
        id="lora-checkpoint-35mb",
        source=SOURCE,
        where="sections 4.2 and 7.1",
        says="18M parameters are roughly 35 MB in 16 bits",
        printed="35 MB",
        formula="2 bytes x 2 matrices d r",
        given={"matrices": 192, "d": 12288, "r": 4, "itemsize": 2},
        value=lambda matrices, d, r, itemsize: itemsize * matrices * lora_params(d, d, r),
        within="10 %",
        why="{value:,} bytes: the paper says roughly.",
    ),
    Figure(
        id="lora-100-tasks",
        source=SOURCE,
        where="section 4.2, footnote 4",
        says="100 adapted models take 354 GB with LoRA",
        printed="354 GB",
        formula="350 GB + tasks x 35 MB",
        given={"base": 350 * GB, "each": 35 * 10**6, "tasks": 100},
        value=lambda base, each, tasks: base + tasks * each,
    ),
    Figure(
        id="lora-100-models",
        source=SOURCE,
        where="section 4.2, footnote 4",
        says="100 fine-tuned models take 35 TB",
        printed="35 TB",
        formula="tasks x 350 GB",
        given={"base": 350 * GB, "tasks": 100},
        value=lambda base, tasks: base * tasks,
    ),
    Figure(
        id="lora-speed-up",
        source=SOURCE,
        where="section 4.2, footnote 5",
        says="a speed-up of 25 %: 43.1 tokens a second in place of 32.5",
        printed="25 %",
        formula="43.1 / 32.5 - 1",
        given={"lora": Fraction("43.1"), "full": Fraction("32.5")},
        value=lambda lora, full: lora / full - 1,
        rule=Rule("time-not-throughput", lambda lora, full: 1 - full / lora),
        why="Throughput rises by {value:.1%}; the time of a token falls by {by_rule:.1%}.",
    ),
    _random_figure("0.02", 4),
    _random_figure("0.33", 64, within="5 %"),
    Figure(
        id="lora-amplification",
        source=SOURCE,
        where="section 7.3",
        says="Delta W amplifies by 21.5, r = 4: 6.91 / 0.32",
        printed="21.5",
        formula="6.91 / 0.32",
        given={"above": Fraction("6.91"), "below": Fraction("0.32")},
        value=_ratio,
        why="The quotient of the printed norms is {value:.3f}, with its last digit cut.",
    ),
    Figure(
        id="lora-amplification-64",
        source=SOURCE,
        where="section H.4",
        says="Delta W amplifies by around 2 at r = 64: 3.57 / 1.90",
        printed="2",
        formula="3.57 / 1.90",
        given={"above": Fraction("3.57"), "below": Fraction("1.90")},
        value=_ratio,
        why="The quotient is {value:.2f}.",
    ),
)
