"""`docs/notation.md`: each row of its table is computed three ways, and no cell may be changed."""

import re
from collections.abc import Callable
from math import isclose, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import build
import numpy as np
import pytest

from lora_ref import LoRALinear, LoraRefError
from lora_ref.layers.initializers import kaiming_uniform

PAGE = Path(__file__).parents[2] / "docs" / "notation.md"
ALPHA, SCALE, SIGMA = 5.0, 3.5, 0.3
N, IN, OUT, R, D = 4, 7, 5, 3, 6
SIZES = {"n": N, "in": IN, "out": OUT, "r": R, "d": D}  # all different: no wrong shape fits


def tables() -> list[list[dict[str, str]]]:
    """Read every table of the page: rows as column name to cell, without backticks and stars."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        head, _, *rows = (
            [cell.strip().replace("**", "").replace("`", "") for cell in line[1:-1].split("|")]
            for line in block.splitlines()
        )
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


CONVENTIONS, WORDS, LETTERS, READ_IN = tables()
ROWS = {row["row"]: row for row in CONVENTIONS}


# What the sources do, a few lines each. The names and the multiplier are theirs, not the table's.


def paper(x, W0, A, B, drop):
    return W0 @ x + (ALPHA / R) * (B @ (A @ x))


def loralib_linear(x, weight, lora_A, lora_B, drop):
    scaling = ALPHA / R
    result = x @ weight.transpose()
    result += (drop(x) @ lora_A.transpose() @ lora_B.transpose()) * scaling
    return result


def loralib_embedding(x, weight, lora_A, lora_B, drop):
    tokens, scaling = x.argmax(axis=1), ALPHA / R
    after_A = lora_A.transpose()[tokens]
    return weight[tokens] + (after_A @ lora_B.transpose()) * scaling


def peft_linear(x, weight, lora_A, lora_B, drop, *, use_rslora=False, fan_in_fan_out=False):
    scaling = ALPHA / sqrt(R) if use_rslora else ALPHA / R
    base_layer = x @ weight if fan_in_fan_out else x @ weight.T  # Conv1D, or nn.Linear
    after_A = np.einsum("nj,qj->nq", drop(x), lora_A)  # lora_A is an nn.Linear(in, r)
    return base_layer + np.einsum("nq,oq->no", after_A, lora_B) * scaling


def peft_rslora(x, weight, lora_A, lora_B, drop):
    return peft_linear(x, weight, lora_A, lora_B, drop, use_rslora=True)


def peft_conv1d(x, weight, lora_A, lora_B, drop):
    return peft_linear(x, weight, lora_A, lora_B, drop, fan_in_fan_out=True)


def mlx_lm(x, weight, lora_a, lora_b, drop):
    z = (drop(x) @ lora_a) @ lora_b
    return x @ weight.T + SCALE * z


def flax_nnx(x, kernel, lora_a, lora_b, drop):
    return x @ kernel + x @ lora_a @ lora_b


def rasbt_first(x, weight, A, B, drop):
    return x @ weight.T + ALPHA * (x @ A @ B)


def rasbt_later(x, weight, A, B, drop):
    return x @ weight.T + (ALPHA / R) * (x @ A @ B)


def lora_ref_itself(x, W0, A, B, drop):
    return LoRALinear(W0, A, B, ALPHA).forward(x, mask=drop(np.ones_like(x)))[0]


# How they start: (kind, width) of A and of B, from the shapes that the source gives them.


def torch_kaiming(shape):
    return "uniform", sqrt(6 / ((1 + 5) * shape[1]))  # a = sqrt(5); fan_in is the second axis


def jax_he(shape):
    return "uniform", sqrt(3 * 2 / shape[-2])


def mlx_uniform(shape):
    return "uniform", 1 / sqrt(shape[0])  # input_dims


def normal(std):
    return lambda shape: ("normal", std)


def zero(shape):
    return "zero", 0.0


def ours(shape):
    """Read the bound off a large draw of `kaiming_uniform`."""
    _, A, B = kaiming_uniform(np.zeros((1, shape[1])), 20_000, 1.0, np.random.default_rng(0))
    assert not B.any()
    widest = np.abs(A).max()
    bound = torch_kaiming(shape)[1]
    assert 0.999 * bound < widest <= bound
    return "uniform", bound


class Source(NamedTuple):
    """A row's convention, written down a second time from its source."""

    y: Callable[..., Any]
    A_starts: Callable[..., tuple[str, float]]
    B_starts: Callable[..., tuple[str, float]]
    drops_before_A: bool


SOURCES = {
    "paper": Source(paper, normal(SIGMA), zero, False),
    "loralib Linear": Source(loralib_linear, torch_kaiming, zero, True),
    "loralib Embedding": Source(loralib_embedding, zero, normal(1.0), False),
    "PEFT Linear": Source(peft_linear, torch_kaiming, zero, True),
    "PEFT use_rslora": Source(peft_rslora, torch_kaiming, zero, True),
    "PEFT fan_in_fan_out": Source(peft_conv1d, torch_kaiming, zero, True),
    "mlx-lm": Source(mlx_lm, mlx_uniform, zero, True),
    "flax nnx": Source(flax_nnx, jax_he, zero, False),
    "rasbt, first": Source(rasbt_first, torch_kaiming, zero, False),
    "rasbt, later": Source(rasbt_later, torch_kaiming, zero, False),
    "lora_ref": Source(lora_ref_itself, ours, zero, True),
}
ARTICLE = "article"  # defined nowhere, so it has tests of its own


def value(expression: str, **names: Any) -> Any:
    """Evaluate a cell; `in` is a width there and a keyword in Python."""
    known = {
        "alpha": ALPHA,
        "scale": SCALE,
        "sigma": SIGMA,
        "sqrt": sqrt,
        "LoRALinear": LoRALinear,
        "in_": IN,
        "r": R,
        "uniform": lambda b: ("uniform", float(b)),
        "normal": lambda s: ("normal", float(s)),
        "zero": ("zero", 0.0),
    }
    return eval(re.sub(r"\bin\b", "in_", expression), {"__builtins__": {}}, known | names)


def shape(cell: str) -> tuple[int, ...]:
    """Turn "(r, in)" into lengths; words after it are for the reader."""
    axes = re.match(r"\((\w+), (\w+)\)", cell)
    assert axes, f"{cell!r} is no shape"
    return tuple(SIZES[axis] for axis in axes.groups())


def arrays(row: dict[str, str]) -> dict[str, np.ndarray]:
    """Draw x, W0, A and B in the shapes that the row states."""
    rng = np.random.default_rng(20210617)
    drawn = {name: rng.standard_normal(shape(row[name])) for name in ("x", "W0", "A", "B")}
    if row["x"].endswith("one-hot"):
        drawn["x"] = np.eye(shape(row["x"])[1])[[2, 0, 2, 6]]
    return drawn


def same(got: Any, expected: Any) -> bool:
    return np.shape(got) == np.shape(expected) and np.allclose(got, expected, rtol=1e-10)


def faults(row: dict[str, str]) -> list[str]:
    """Return what is wrong with a row: nothing, if cells, source and `LoRALinear` agree."""
    source, wrong = SOURCES[row["row"]], []
    try:
        at = arrays(row)
        columns = row["x"].startswith("(in")
        by_source = source.y(*at.values(), lambda x: x)
        by_cells = value(row["y"], m=value(row["m"]), **at)
        layer = value(row["the same layer here"], **{k: at[k] for k in ("W0", "A", "B")})
        rows = at["x"].T if columns else at["x"]
        here = layer.forward(rows)[0]
        if not same(by_cells, by_source):
            wrong.append("the cells y and m are not what the source computes")
        if not same(here.T if columns else here, by_source):
            wrong.append("the layer in the last column is not what the source computes")
        mask = 2.0 * (np.random.default_rng(1).random(at["x"].shape) < 0.5)
        dropped = source.y(*at.values(), lambda x: x * mask)
        if source.drops_before_A:
            if not same(dropped, layer.forward(rows, mask=mask)[0]) or same(dropped, by_source):
                wrong.append("the source does not drop before A")
        elif not same(dropped, by_source):
            wrong.append("the source drops somewhere")
        if (row["dropout"] == "before A") != source.drops_before_A:
            wrong.append("dropout")
        for factor, rule in (("A", source.A_starts), ("B", source.B_starts)):
            kind, width = value(row[f"{factor} starts as"])
            kind_there, width_there = rule(shape(row[factor]))
            if kind != kind_there or not isclose(width, width_there, rel_tol=1e-12):
                wrong.append(f"{factor} starts otherwise")
    except (AssertionError, IndexError, ValueError, NameError, SyntaxError, TypeError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
    return wrong


# The table


def test_every_row_has_a_source_and_every_source_a_row():
    assert set(ROWS) == {*SOURCES, ARTICLE}
    assert len(CONVENTIONS) == len(ROWS)


def test_every_row_says_where_it_was_read():
    assert [row["row"] for row in READ_IN] == list(ROWS)
    assert all(row["source"] and row["names there"] for row in READ_IN)


@pytest.mark.parametrize("name", SOURCES)
def test_the_row_its_source_and_lora_linear_compute_the_same(name):
    assert faults(ROWS[name]) == []


CHANGES = {
    "x": lambda cell: "(in, n)" if cell.startswith("(n") else "(n, in)",
    "W0": lambda cell: "(in, out)" if cell == "(out, in)" else "(out, in)",
    "A": lambda cell: "(in, r)" if cell == "(r, in)" else "(r, in)",
    "B": lambda cell: "(out, r)" if cell == "(r, out)" else "(r, out)",
    "y": lambda cell: cell.replace("+ m", "- m"),
    "m": lambda cell: "alpha" if "/" in cell else "alpha / r",
    "A starts as": lambda cell: "zero" if cell != "zero" else "uniform(1 / sqrt(in))",
    "B starts as": lambda cell: "zero" if cell != "zero" else "normal(1)",
    "dropout": lambda cell: "none" if cell == "before A" else "before A",
    "the same layer here": lambda cell: (
        cell.replace("alpha", "2 * alpha") if "alpha" in cell else cell.replace("r)", "2 * r)")
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_changed_cell_is_a_fault(name):
    for column, change in CHANGES.items():
        cell = ROWS[name][column]
        changed = change(cell)
        assert changed != cell, column
        assert faults({**ROWS[name], column: changed}) != [], column


def test_only_the_name_and_the_cells_above_make_a_row():
    assert set(CONVENTIONS[0]) == {"row", *CHANGES}


# The article


def test_the_articles_product_is_undefined_for_its_input():
    at = arrays(ROWS[ARTICLE])
    assert (at["A"] @ at["B"]).shape == (R, R)
    with pytest.raises(ValueError, match="matmul"):
        value(ROWS[ARTICLE]["y"], m=value(ROWS[ARTICLE]["m"]), **at)


def test_the_articles_product_cannot_be_added_to_W0():
    at = arrays(ROWS[ARTICLE])
    with pytest.raises(ValueError, match="broadcast"):
        at["W0"] + at["A"] @ at["B"]


def test_the_articles_order_at_r_equal_to_d_is_defined_and_another_number():
    rng = np.random.default_rng(0)
    W0, A, B, x = rng.standard_normal((4, D, D))
    layer = LoRALinear(W0, A, B, ALPHA)
    literal = value(ROWS[ARTICLE]["y"], x=x, W0=W0, A=A, B=B, m=ALPHA / D)
    assert literal.shape == (D, D)
    assert not np.allclose(literal, layer.forward(x.T)[0].T)


def test_the_articles_row_with_the_factors_in_order_is_the_layer():
    at, row = arrays(ROWS[ARTICLE]), ROWS[ARTICLE]
    corrected = row["y"].replace("A @ B", "B @ A")
    assert corrected != row["y"]
    y = value(corrected, m=value(row["m"]), **at)
    layer = LoRALinear(at["W0"], at["A"], at["B"], ALPHA)
    assert same(layer.forward(at["x"].T)[0].T, y)


def test_the_articles_cells_are_what_the_article_says():
    row = ROWS[ARTICLE]
    assert [shape(row[name]) for name in ("x", "W0", "A", "B")] == [(D, N), (D, D), (R, D), (D, R)]
    assert value(row["m"]) == ALPHA / R
    assert value(row["A starts as"]) == ("normal", 0.02)
    assert value(row["B starts as"]) == ("zero", 0.0)
    assert row["dropout"] == "not in the formula"
    assert row["the same layer here"].startswith("none")


def test_lora_linear_refuses_the_shapes_of_the_other_convention():
    at = arrays(ROWS["mlx-lm"])
    with pytest.raises(LoraRefError, match="its transpose fits"):
        LoRALinear(at["W0"], at["A"], at["B"], ALPHA)


# What the page says about the table


def test_there_are_two_pairs_of_shapes_and_five_multipliers():
    shapes = {(row["A"], row["B"]) for name, row in ROWS.items() if name != ARTICLE}
    assert shapes == {("(r, in)", "(out, r)"), ("(in, r)", "(r, out)")}
    assert len({row["m"] for row in CONVENTIONS}) == 5
    assert "two pairs of shapes, and five different multipliers" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mlx-lm", "flax nnx", "rasbt, first", "PEFT use_rslora"])
def test_an_adapter_moved_with_its_number_unchanged_is_too_weak(name):
    there = value(ROWS[name]["m"])
    number = {"mlx-lm": SCALE, "flax nnx": 1.0}.get(name, ALPHA)
    factor = sqrt(R) if name == "PEFT use_rslora" else R
    rng = np.random.default_rng(0)
    unchanged = LoRALinear(
        rng.standard_normal((OUT, IN)),
        rng.standard_normal((R, IN)),
        rng.standard_normal((OUT, R)),
        number,
    )
    assert isclose(there / unchanged.scaling, factor)


def test_the_transposed_starts_are_wider_by_the_stated_factors():
    names = ("loralib Linear", "rasbt, later", "flax nnx")
    loralib, rasbt, flax = (value(ROWS[name]["A starts as"])[1] for name in names)
    assert isclose(rasbt / loralib, sqrt(IN / R))
    assert isclose(flax / loralib, sqrt(6))


def test_an_embedding_starts_with_the_gradient_of_B_zero_and_that_of_A_not():
    at = arrays(ROWS["loralib Embedding"])
    layer = LoRALinear(at["W0"].T, np.zeros((R, IN)), at["B"], ALPHA)
    y, cache = layer.forward(at["x"])
    _, grads = layer.backward(np.random.default_rng(0).standard_normal(y.shape), cache)
    assert not grads["B"].any()
    assert grads["A"].any()
    assert np.array_equal(y, at["x"] @ at["W0"])


def test_a_merge_into_a_transposed_weight_transposes_the_product():
    row = ROWS["PEFT fan_in_fan_out"]
    at = arrays(row)
    layer = value(row["the same layer here"], **{k: at[k] for k in ("W0", "A", "B")})
    m = value(row["m"])
    merged = at["W0"] + m * (at["B"] @ at["A"]).T
    assert "`W0 + m * (B @ A).T`" in PAGE.read_text(encoding="utf-8")
    assert np.allclose(merged, layer.merge().W.T, rtol=1e-12)


def test_columns_are_rows_transposed():
    at = arrays(ROWS["paper"])
    assert np.allclose((at["W0"] @ at["x"]).T, at["x"].T @ at["W0"].T, rtol=1e-12)


def test_the_words_name_what_the_layer_has():
    words = {row["here"] for row in WORDS}
    rng = np.random.default_rng(0)
    layer = LoRALinear.init(rng.standard_normal((OUT, IN)), R, ALPHA, rng)
    y, cache = layer.forward(rng.standard_normal((N, IN)))
    _, grads = layer.backward(y, cache)
    assert {"h", "n", "W0", "r", "alpha, scaling", "out_features, in_features"} <= words
    assert cache.h.shape == (N, R)
    assert layer.W0.shape == (OUT, IN)
    assert (layer.r, layer.alpha, layer.scaling) == (R, ALPHA, ALPHA / R)
    assert all(grads[name].shape == getattr(layer, name).shape for name in ("A", "B"))


# ---------------------------------------------------------------------- the letters of the course

GREEK = dict(zip("ασηδ∇ℓ", ("alpha", "sigma", "eta", "delta", "nabla", "ell"), strict=True))
STRUCTURE = {
    *("Big", "cdot", "dots", "frac", "lVert", "leftarrow", "partial", "qquad", "quad", "rVert"),
    *("sum", "to", "top"),
}
"""Commands that set a formula and name nothing."""


def formulas(name):
    """Return the formulas of a notebook, without words in them."""
    cells = [cell.text for cell in build.cells_of(build.SOURCES / name) if cell.kind == "markdown"]
    pattern = r"\$\$(.+?)\$\$|(?<![\w$`])\$([^$`\n]+?)\$"
    found = re.findall(pattern, "\n\n".join(cells), re.DOTALL)
    return [re.sub(r"\\(text|mathrm)\{[^}]*\}", "", one or other) for one, other in found]


def test_every_letter_of_a_formula_has_its_meaning_in_the_table():
    listed = {letter for row in LETTERS for letter in re.findall(r"[A-Za-zασηδ∇ℓ]", row["letter"])}
    known, used = {GREEK.get(letter, letter) for letter in listed}, set()
    for source in build.sources():
        for formula in formulas(source.name):
            commands = re.findall(r"\\([a-zA-Z]+)", formula)
            letters = re.findall(r"[A-Za-z]", re.sub(r"\\[a-zA-Z]+", " ", formula))
            for name in {*commands, *letters} - STRUCTURE:
                assert name in known | {"l"}, f"{source.name}: {name} in {formula}"
                used.add(name)
    assert known - used == set(), "in the table, and in no formula"


@pytest.mark.parametrize("folder", ["notebooks/src", "lora_ref/exercises/topics"])
def test_singular_values_are_not_called_as_the_scaling(folder):
    for path in sorted((PAGE.parents[1] / folder).glob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"(\bs|, s, \w+) = .*svd", line), f"{path.name}: {line}"
