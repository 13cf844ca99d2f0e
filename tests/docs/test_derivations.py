"""`docs/derivations.md`, the page and LoRA: blocks are run, tables recomputed, statements tried."""

import re
from dataclasses import replace
from itertools import product
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import each
from derivations_page import (
    DOCS,
    FILES,
    SECTIONS,
    agree,
    blocks,
    displayed,
    run,
    sections_of,
    table,
    targets,
)
from numpy.testing import assert_allclose

from lora_ref import Linear, LoRALinear
from lora_ref.gradcheck import EXACT_TOLERANCE, GradientCheckWarning, sgd_step, vjp_errors


class Problem(NamedTuple):
    """One layer, its data, and the same arrays under the names of the page."""

    layer: LoRALinear
    mask: np.ndarray | None
    names: dict[str, Any]


def problem(n: int, k: int, d: int, r: int, *, masked: bool = False, alpha: float = 5.0) -> Problem:
    rng = np.random.default_rng(20210617)
    W0, A, B = (rng.standard_normal(shape) for shape in ((d, k), (r, k), (d, r)))
    x, g = rng.standard_normal((n, k)), rng.standard_normal((n, d))
    mask = 2.0 * (rng.random((n, k)) < 0.5) if masked else None
    m = np.ones((n, k)) if mask is None else mask
    layer = LoRALinear(W0, A, B, alpha)
    names = {"x": x, "g": g, "m": m, "W0": W0, "A": A, "B": B, "s": alpha / r}
    return Problem(layer, mask, {**names, "n": n, "k": k, "d": d, "r": r, "G": g.T @ x})


SHAPES = [(4, 7, 5, 3), (9, 2, 6, 3), (3, 5, 2, 8)]
"""n, k, d, r: more and fewer rows than inputs, and r above both widths."""

masks = pytest.mark.parametrize("masked", [False, True])
shapes = pytest.mark.parametrize("sizes", SHAPES)


def passes(at: Problem) -> dict[str, np.ndarray]:
    """Return y and the gradients of the layer, under the names of the page."""
    y, cache = at.layer.forward(at.names["x"], mask=at.mask)
    grad_x, grads = at.layer.backward(at.names["g"], cache)
    return {"y": y, "h": cache.h, "grad_x": grad_x, "grad_A": grads["A"], "grad_B": grads["B"]}


# The page itself


@pytest.mark.parametrize("section", SECTIONS)
def test_every_derivation_ends_with_what_checks_it(section):
    assert SECTIONS[section].rstrip().splitlines()[-1].startswith("Checked by: ")
    for file, name in targets(section):
        assert file.is_file(), f"{file} is named and not there"
        assert not name or file in FILES, "only the names of these files are known"
        assert not name or f"def {name}(" in file.read_text(encoding="utf-8"), (
            f"no {name} in {file}"
        )


def test_every_section_belongs_to_one_file():
    assert sorted(section for file in FILES for section in sections_of(str(file))) == sorted(
        SECTIONS
    )


ABOUT_THE_PAGE = {
    "test_every_derivation_ends_with_what_checks_it",
    "test_every_section_belongs_to_one_file",
    "test_every_test_of_a_statement_is_named_on_the_page",
    "test_every_block_is_run",
    "test_a_page_keeps_to_plain_markdown_and_dollars",
    "test_every_displayed_formula_is_tried_and_no_other",
    "test_a_displayed_formula_holds",
    "test_a_formula_that_is_not_evaluated_here_has_a_test",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_test_of_a_statement_is_named_on_the_page(file):
    named = {name for section in SECTIONS for path, name in targets(section) if path == file}
    there = re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert named == set(there) - ABOUT_THE_PAGE


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_block_is_run(file):
    run_there = re.findall(r'run\(\s*"([^"]+)"', file.read_text(encoding="utf-8"))
    assert {section for section in sections_of(str(file)) if blocks(section)} == set(run_there)


@pytest.mark.parametrize("name", ["derivations.md", "notation.md"])
def test_a_page_keeps_to_plain_markdown_and_dollars(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    assert "$" not in "".join(re.findall(r"^#.*$", text, re.MULTILINE))  # titles
    assert not re.search(r"^```\{|^:::|\{math\}|\\\(|\\\[|\\operatorname", text, re.MULTILINE)
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    displays = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    wrapped = re.compile(r"\n\\begin\{aligned\}\n.*\n\\end\{aligned\}\n", re.DOTALL)
    assert all(wrapped.fullmatch(display) for display in displays)
    inline = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    for paragraph in inline.split("\n\n"):
        assert paragraph.count("$") % 2 == 0, paragraph
    # a backslash before punctuation is an escape in CommonMark, and lost in some renderers
    for formula in re.findall(r"\$([^$]+)\$", inline):
        assert not re.search(r"\\[^a-zA-Z]", formula), formula


# One rule


def test_a_factor_crosses_over_transposed():
    rng = np.random.default_rng(0)
    P, Q, R, N, m = (rng.standard_normal(s) for s in ((4, 5), (4, 3), (3, 5), (4, 5), (4, 5)))
    page = run("Symbols and one rule", P=P, Q=Q, R=R, N=N, m=m)
    first = np.einsum("ij,il,lj->", P, Q, R)
    assert_allclose(page["first_line"], [first] * 3, rtol=1e-12)
    assert_allclose(page["second_line"], [np.einsum("ij,ij,ij->", P, m, N)] * 2, rtol=1e-12)


# The linear layer


@shapes
def test_linear(sizes):
    n, k, d, _ = sizes
    rng = np.random.default_rng(0)
    W, bias, x, g = (rng.standard_normal(s) for s in ((d, k), d, (n, k), (n, d)))
    page = run("The linear layer", W=W, bias=bias, x=x, g=g)
    y, cache = Linear(W, bias).forward(x)
    grad_x, grads = Linear(W, bias).backward(g, cache)
    code = {"y": y, "grad_x": grad_x, "grad_W": grads["W"], "grad_bias": grads["bias"]}
    agree(page, code, *code)


# LoRA


@masks
@shapes
def test_lora(sizes, masked):
    at = problem(*sizes, masked=masked)
    page = run("LoRA by crossing over", **at.names)
    agree(page, passes(at), "y", "h", "grad_A", "grad_B", "grad_x")


@masks
@shapes
def test_lora_index_by_index(sizes, masked):
    at = problem(*sizes, masked=masked)
    page = run("LoRA index by index", **at.names)
    agree(page, passes(at), "y", "grad_A", "grad_B", "grad_x")


@masks
def test_twice_the_alpha_doubles_each_path_through_the_branch(masked):
    once, twice = (problem(4, 7, 5, 3, masked=masked, alpha=alpha) for alpha in (5.0, 10.0))
    frozen = once.names["g"] @ once.names["W0"]
    one, two = passes(once), passes(twice)
    agree(two, {"grad_A": 2 * one["grad_A"], "grad_B": 2 * one["grad_B"]}, "grad_A", "grad_B")
    assert_allclose(two["grad_x"] - frozen, 2 * (one["grad_x"] - frozen), rtol=1e-10)
    assert np.abs(one["grad_x"] - frozen).max() > 1
    assert problem(4, 7, 5, 3, alpha=3.0).layer.scaling == 1  # alpha = r, where none of it shows


# What is frozen


@shapes
def test_what_is_frozen_has_a_gradient_too(sizes):
    at = problem(*sizes)
    page = run("What is frozen has a gradient too", **at.names)
    agree(page, passes(at), "grad_A", "grad_B")


@masks
@shapes
def test_the_gradient_of_W0_is_a_difference_quotient_and_not_zero(sizes, masked):
    at = problem(*sizes, masked=masked)
    x, g, rng = at.names["x"], at.names["g"], np.random.default_rng(0)
    G = run("What is frozen has a gradient too", **at.names)["G"]

    def y(arguments: Any) -> np.ndarray:
        return replace(at.layer, W0=arguments["W0"]).forward(x, mask=at.mask)[0]

    errors = vjp_errors(y, {"W0": at.names["W0"]}, g, {"W0": G}, rng, step=1.0)
    assert errors["W0"] < EXACT_TOLERANCE
    with pytest.warns(GradientCheckWarning, match="W0 is wrong: it is zero"):
        wrong = vjp_errors(y, {"W0": at.names["W0"]}, g, {"W0": 0 * G}, rng, step=1.0)
    assert wrong["W0"] == float("inf")
    assert np.linalg.norm(G) > 1
    _, cache = at.layer.forward(x, mask=at.mask)
    assert set(at.layer.backward(g, cache)[1]) == {"A", "B"}


def test_what_both_factors_miss_moves_nothing():
    at = problem(9, 7, 6, 3)
    A, B, x = at.names["A"], at.names["B"], at.names["x"]
    off_A = np.eye(7) - np.linalg.pinv(A) @ A  # projects off the rows of A
    off_B = np.eye(6) - B @ np.linalg.pinv(B)  # and off the columns of B
    x, g = x @ off_A, at.names["g"] @ off_B
    _, cache = at.layer.forward(x)
    _, grads = at.layer.backward(g, cache)
    assert np.linalg.norm(g.T @ x) > 1
    for grad in grads.values():
        assert_allclose(grad, 0, atol=1e-12)


# The start


@shapes
def test_the_start(sizes):
    at = problem(*sizes)
    page = run("The start", **at.names)
    at = at._replace(layer=replace(at.layer, B=np.zeros_like(at.layer.B)))
    code = passes(at)
    agree(page, code, "grad_A", "grad_B")
    assert np.array_equal(code["grad_A"], np.zeros_like(at.layer.A))
    assert np.linalg.norm(code["grad_B"]) > 1


def test_two_zero_factors_never_move():
    at = problem(4, 7, 5, 3)
    layer = replace(at.layer, A=0 * at.layer.A, B=0 * at.layer.B)
    for _ in range(5):
        layer, _ = sgd_step(layer, at.names["x"], at.names["g"], lr=0.1)
    assert not layer.A.any()
    assert not layer.B.any()


# Costs


COSTS = table("What a pass costs")[:8]
ORDERS = table("What a pass costs")[-2:]


class Spy(np.ndarray):
    """An array that writes down the shapes of its matrix products."""

    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []  # noqa: RUF012 - one for all

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if ufunc is np.matmul:
            Spy.seen.append((inputs[0].shape, inputs[1].shape))
        keywords["out"] = tuple(np.asarray(o) for o in keywords.get("out", ())) or None
        plain = (np.asarray(i) if isinstance(i, Spy) else i for i in inputs)
        return np.asarray(getattr(ufunc, method)(*plain, **keywords)).view(Spy)


def test_the_table_of_costs_lists_what_a_pass_multiplies():
    at = problem(4, 7, 5, 3, masked=True)
    assert at.mask is not None
    sizes = {name: at.names[name] for name in "nkdr"}
    arrays = {**at.names, **passes(at), "grad_h": at.names["s"] * at.names["g"] @ at.names["B"]}
    listed: dict[str, list[int]] = {"forward": [], "backward": []}
    for where, term, result, cost in COSTS:
        assert eval(term, {}, arrays).shape == eval(result, {}, sizes)
        listed[where].append(eval(cost, {}, sizes))

    def spied(run_pass: Any) -> list[int]:
        Spy.seen.clear()
        run_pass()
        return [left[0] * prod(right) for left, right in Spy.seen]

    x, g, mask = (array.view(Spy) for array in (at.names["x"], at.names["g"], at.mask))
    _, cache = at.layer.forward(x, mask=mask)
    assert sorted(spied(lambda: at.layer.forward(x, mask=mask))) == sorted(listed["forward"])
    assert sorted(spied(lambda: at.layer.backward(g, cache))) == sorted(listed["backward"])
    n, k, d, r = sizes.values()
    total = sum(listed["forward"] + listed["backward"])
    assert total == 2 * n * d * k + 3 * n * r * (d + k)
    full = 3 * n * d * k
    assert (total < full) == (3 * r * (d + k) < d * k)
    assert 3 * total > 2 * full  # a third is the most that is saved


def test_the_order_of_a_product_decides_its_cost():
    at = problem(4, 7, 5, 3).names
    example = {"n": 512, "k": 1024, "d": 1024, "r": 8}
    terms = [eval(term, {}, at) for term, _, _ in ORDERS]
    assert_allclose(terms[0], terms[1], rtol=1e-10)
    for _, cost, printed in ORDERS:
        assert eval(cost, {}, example) == int(printed.replace(",", ""))


# The cache


@masks
def test_the_cache_holds_what_the_table_says(masked):
    at = problem(4, 7, 5, 3, masked=masked)
    x = at.names["x"]
    _, cache = at.layer.forward(x, mask=at.mask)
    kept = {name: array for name, array in cache._asdict().items() if isinstance(array, np.ndarray)}
    sizes = {name: at.names[name] for name in "nkdr"}
    stated = {name: eval(cost, {}, sizes) for name, cost, _ in table("What the cache keeps")}
    if not masked:
        assert stated.pop("mask") == x.size
    assert {name: array.size for name, array in kept.items()} == stated
    assert np.shares_memory(cache.x, x) == (not masked)
    assert_allclose(cache.x, at.names["m"] * x)
    frozen = Linear(at.names["W0"], train=())
    _, cache_of_frozen = frozen.forward(x)
    blind = cache_of_frozen._replace(x=0 * x)
    for without_x in (blind, cache_of_frozen):
        grad_x, _ = frozen.backward(at.names["g"], without_x)
        assert_allclose(grad_x, at.names["g"] @ at.names["W0"])


# Merging


@shapes
def test_merging_and_unmerging(sizes):
    at = problem(*sizes)
    page = run("Merging and unmerging", **at.names)
    merged = at.layer.merge()
    agree(page, {"W": merged.W, "y": merged.forward(at.names["x"])[0]}, "W", "y")
    agree(page, passes(at), "y")


def unmerged(layer: LoRALinear) -> tuple[np.ndarray, np.ndarray]:
    """Return the merged weight, and W0 as it comes back, both in float64."""
    merged = layer.merge()
    back = LoRALinear.unmerge(merged, layer.A, layer.B, layer.alpha)
    return merged.W.astype(np.float64), back.W0.astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("size", [0.01, 1.0, 10.0])
def test_unmerging_is_off_by_two_roundings_of_the_results(dtype, size):
    rng = np.random.default_rng(0)
    W0, A, B = (rng.standard_normal(s).astype(dtype) for s in ((50, 40), (3, 40), (50, 3)))
    layer = LoRALinear(W0, A, B, alpha=3 * size)
    W, back = unmerged(layer)
    u = float(np.finfo(dtype).eps) / 2
    error = np.abs(back - W0)
    assert (error <= u * np.abs(W) + u * np.abs(back)).all()
    assert error.any()


def test_a_weight_far_below_the_update_is_gone_after_unmerging():
    rng = np.random.default_rng(0)
    A, B = (rng.uniform(0.5, 2, s).astype(np.float32) for s in ((1, 40), (50, 1)))
    u = float(np.finfo(np.float32).eps) / 2
    update = LoRALinear(np.zeros((50, 40), np.float32), A, B, alpha=1).delta_w
    signs = rng.choice([-1, 1], update.shape)
    tiny = (0.49 * u * np.abs(update) * signs).astype(np.float32)
    W, back = unmerged(LoRALinear(tiny, A, B, alpha=1))
    assert tiny.all()
    assert np.array_equal(W, update)
    assert not back.any()
    small = (4 * u * np.abs(update) * signs).astype(np.float32)
    assert unmerged(LoRALinear(small, A, B, alpha=1))[1].all()


# The first step


def first_step(layer: LoRALinear, x: np.ndarray, g: np.ndarray, lr: float) -> LoRALinear:
    start = replace(layer, B=np.zeros_like(layer.B))
    moved, _ = sgd_step(start, x, g, lr)
    assert np.array_equal(moved.A, start.A)
    return moved


@shapes
@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_first_step(sizes, rank_stabilized):
    at = problem(*sizes)
    layer = replace(at.layer, rank_stabilized=rank_stabilized)
    moved = first_step(layer, at.names["x"], at.names["g"], lr=0.1)
    page = run("The first step", **{**at.names, "eta": 0.1, "s": layer.scaling})
    code = {"delta_w": moved.delta_w}
    code["delta_y"] = moved.forward(at.names["x"])[0] - at.names["x"] @ at.names["W0"].T
    assert_allclose(page["delta_w"], code["delta_w"], rtol=1e-10, atol=1e-12)
    assert_allclose(page["delta_y"], code["delta_y"], rtol=1e-9, atol=1e-10)


K, ALPHA = 256, 16.0


def share(r: int, s: float) -> float:
    return s**2 * r / (3 * K)


def size(r: int, s: float) -> float:
    return s**2 / (3 * K) * sqrt(r * (K + r - 1 / 5))


@pytest.mark.parametrize("rank_stabilized", [False, True])
@pytest.mark.parametrize("r", [8, 32, 128])
def test_the_first_step_by_simulation(r, rank_stabilized):
    rng = np.random.default_rng(r)
    n, d, draws = 6, 5, 300
    W0, x, g = (rng.standard_normal(s) for s in ((d, K), (n, K), (n, d)))
    G = g.T @ x
    shares, squares, layer = [], [], None
    for _ in range(draws):
        layer = LoRALinear.init(W0, r, ALPHA, rng, rank_stabilized=rank_stabilized)
        delta_w = first_step(layer, x, g, lr=1.0).delta_w
        shares.append(-np.vdot(delta_w, G) / np.vdot(G, G))
        squares.append(np.vdot(delta_w, delta_w) / np.vdot(G, G))
    assert layer is not None
    s = layer.scaling
    for measured, theory in ((shares, share(r, s)), (squares, size(r, s) ** 2)):
        standard_error = np.std(measured, ddof=1) / sqrt(draws)
        assert abs(np.mean(measured) - theory) < 4 * standard_error
        assert standard_error < 0.03 * theory  # or the line above would forgive too much


def test_the_mean_of_a_product_of_uniform_factors_is_exact():
    # every A whose entries are +-1/sqrt(3k), all 2**(r k) of them: the variance of the uniform
    # distribution, and A.T @ A depends on nothing else in the mean
    k, r = 4, 2
    signs = np.array(list(product([-1, 1], repeat=r * k))).reshape(-1, r, k)
    A = signs / sqrt(3 * k)
    assert_allclose(np.mean(A.transpose(0, 2, 1) @ A, axis=0), r / (3 * k) * np.eye(k), atol=1e-15)
    bound = k**-0.5
    assert (bound**3 - (-bound) ** 3) / 3 / (2 * bound) == pytest.approx(1 / (3 * k))
    assert (bound**5 * 2 / 5) / (2 * bound) == pytest.approx(9 / 5 / (3 * k) ** 2)


def test_the_table_of_first_steps_is_recomputed():
    rows = table("The first step")
    assert [row[0] for row in rows] == ["8", "32", "128"]
    assert f"k = {K}, alpha = {ALPHA:g}" in SECTIONS["The first step"]
    for row in rows:
        r = int(row[0])
        scalings = ALPHA / r, ALPHA / sqrt(r)
        numbers = [f(r, s) for f in (share, size) for s in scalings]
        assert row[1:] == [f"{number:.4f}" for number in numbers]
        assert share(r, scalings[0]) == pytest.approx(ALPHA**2 / (3 * K * r))
        assert share(r, scalings[1]) == pytest.approx(ALPHA**2 / (3 * K))
        for s in scalings:
            assert (share(r, s) / size(r, s)) ** 2 == pytest.approx(r / (K + r - 1 / 5))


def test_the_share_is_that_of_full_fine_tuning_and_of_the_loss():
    rng = np.random.default_rng(0)
    n, k, d, r, eta, draws = 6, 8, 5, 4, 0.1, 4000
    x, g = rng.standard_normal((n, k)), rng.standard_normal((n, d))
    G, s = g.T @ x, 3.0
    A = rng.uniform(-(k**-0.5), k**-0.5, (draws, r, k))
    delta_y = -eta * s**2 * np.einsum("ij,aqj,aql,ol->aio", x, A, A, G)
    error = delta_y.std(axis=0, ddof=1) / sqrt(draws)
    full = -eta * x @ G.T
    assert (np.abs(delta_y.mean(axis=0) - s**2 * r / (3 * k) * full) < 5 * error).all()
    assert_allclose(full, x @ (Linear(-eta * G).W).T)
    layer = LoRALinear(np.zeros((d, k)), A[0], np.zeros((d, r)), alpha=s * r)
    fall = -np.vdot(G, first_step(layer, x, g, eta).delta_w)
    assert fall == pytest.approx(eta * s**2 * np.sum((G @ A[0].T) ** 2))


# The bordered matrix


@shapes
def test_one_bordered_matrix(sizes):
    at = problem(*sizes)
    page = run("One bordered matrix", **at.names)
    _, k, d, r = sizes
    assert page["M"].shape == (d + r, k + r)
    agree(page, passes(at), "y", "grad_x")
    n = sizes[0]
    before = sum(eval(cost, {}, {"n": n, "k": k, "d": d, "r": r}) for *_, cost in COSTS)
    thin = n * k * r + n * d * r + r * n * k + d * n * r  # h and grad_h, grad_A and grad_B
    assert n * (k + r) * d + n * (d + r) * k + thin == before


# The best update


def linear_task(n: int, k: int, d: int, r: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a task with inputs of very different loudness, and the page's answer to it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, k)) * np.geomspace(1, 30, k)
    names = {
        "x": x,
        "W0": rng.standard_normal((d, k)),
        "t": 10 * rng.standard_normal((n, d)),
        "r": r,
    }
    return names, run("The best update of a linear task", **names)


def squared_loss(at: dict[str, Any], delta_w: np.ndarray) -> float:
    return float(np.sum((at["x"] @ (at["W0"] + delta_w).T - at["t"]) ** 2))


@pytest.mark.parametrize("sizes", [(12, 7, 5, 2), (12, 7, 5, 4), (4, 7, 5, 2)])
def test_the_best_update_of_a_linear_task(sizes):
    at, page = linear_task(*sizes)
    r = sizes[-1]
    loss = squared_loss(at, page["delta_w"])
    assert loss == pytest.approx(page["least"], rel=1e-9)
    assert np.linalg.matrix_rank(page["delta_w"]) == r
    # a layer that starts there finds no slope in A or B, and no neighbour is better
    B = page["Qh"][:r].T * page["tau"][:r]
    A = page["P"][:, :r].T / page["S"] @ page["Vh"]
    layer = LoRALinear(at["W0"], A, B, alpha=r)
    assert_allclose(layer.delta_w, page["delta_w"], rtol=1e-9, atol=1e-12)
    y, cache = layer.forward(at["x"])
    _, grads = layer.backward(2 * (y - at["t"]), cache)
    for name, grad in grads.items():
        assert np.linalg.norm(grad) < 1e-9 * loss * np.linalg.norm(layer.trainable[name])
    rng = np.random.default_rng(1)
    for step in (1e-3, 0.1, 1.0):
        near = {p: v + step * rng.standard_normal(v.shape) for p, v in layer.trainable.items()}
        assert squared_loss(at, layer.with_params(near).delta_w) > loss


def test_truncating_the_unrestricted_update_is_worse():
    at, page = linear_task(12, 7, 5, 2)
    unrestricted = np.linalg.lstsq(at["x"], page["T"])[0].T
    left, values, right = np.linalg.svd(unrestricted, full_matrices=False)
    truncated = left[:, :2] * values[:2] @ right[:2]
    assert squared_loss(at, truncated) > 1.01 * page["least"]
    white = {**at, "x": np.sqrt(3) * page["U"]}  # x.T @ x is three times the identity
    again = run("The best update of a linear task", **white)
    unrestricted = np.linalg.lstsq(white["x"], again["T"])[0].T
    left, values, right = np.linalg.svd(unrestricted, full_matrices=False)
    truncated = left[:, :2] * values[:2] @ right[:2]
    assert squared_loss(white, truncated) == pytest.approx(again["least"])


# Each displayed formula, as the page writes it and in NumPy


FORMULAS = {
    r"\langle P, QR \rangle &= \langle P R^\top, Q \rangle = \langle Q^\top P, R \rangle": (
        "inner(P, Q @ R) == inner(P @ R.T, Q) == inner(Q.T @ P, R)"
    ),
    r"\langle P, m \odot N \rangle &= \langle m \odot P, N \rangle": (
        "inner(P, m * N) == inner(m * P, N)"
    ),
    r"\delta y &= \delta x W^\top + x \delta W^\top + \mathbf{1} \delta b^\top": (
        "dy_linear == dx @ W.T + x @ dW.T + ones @ db.T"
    ),
    r"\delta L = \langle g, \delta y \rangle &= \langle g W, \delta x \rangle"
    r" + \langle g^\top x, \delta W \rangle + \langle g^\top \mathbf{1}, \delta b \rangle": (
        "inner(g, dy_linear) == inner(g @ W, dx) + inner(g.T @ x, dW) + inner(g.T @ ones, db)"
    ),
    r"h &= (m \odot x) A^\top": "code['h'] == (m * x) @ A.T",
    r"y &= x W_0^\top + s h B^\top": "code['y'] == x @ W0.T + s * h @ B.T",
    r"\delta y &= \delta x W_0^\top + s \delta h B^\top + s h \delta B^\top": (
        "dy == dx @ W0.T + s * dh @ B.T + s * h @ dB.T"
    ),
    r"\delta h &= (m \odot \delta x) A^\top + (m \odot x) \delta A^\top": (
        "dh == (m * dx) @ A.T + (m * x) @ dA.T"
    ),
    r"\nabla_h &= s g B": "inner(s * g @ B, dh) == inner(g, s * dh @ B.T)",
    r"\nabla_B &= s g^\top h": "code['grad_B'] == s * g.T @ h",
    r"\nabla_A &= \nabla_h^\top (m \odot x)": "code['grad_A'] == (s * g @ B).T @ (m * x)",
    r"\nabla_x &= g W_0 + m \odot (\nabla_h A)": "code['grad_x'] == g @ W0 + m * (s * g @ B @ A)",
    r"y_{io} &= \sum_j W_{0,oj} x_{ij} + s \sum_q \sum_j B_{oq} A_{qj} m_{ij} x_{ij}": (
        "code['y'] == ein('oj,ij->io', W0, x) + s * ein('oq,qj,ij,ij->io', B, A, m, x)"
    ),
    r"\frac{\partial L}{\partial A_{qj}} &= s \sum_{io} g_{io} B_{oq} m_{ij} x_{ij}": (
        "code['grad_A'] == s * ein('io,oq,ij,ij->qj', g, B, m, x)"
    ),
    r"\frac{\partial L}{\partial B_{oq}} &= s \sum_{ij} g_{io} A_{qj} m_{ij} x_{ij}": (
        "code['grad_B'] == s * ein('io,qj,ij,ij->oq', g, A, m, x)"
    ),
    r"\frac{\partial L}{\partial x_{ij}} &= \sum_o g_{io} W_{0,oj}"
    r" + s \sum_{oq} g_{io} B_{oq} A_{qj} m_{ij}": (
        "code['grad_x'] == ein('io,oj->ij', g, W0) + s * ein('io,oq,qj,ij->ij', g, B, A, m)"
    ),
    r"\nabla_{W_0} = G = g^\top x": "inner(G, dW) == inner(g.T @ x, dW) == slope_of_W0",
    r"\nabla_A &= s B^\top G": "unmasked['grad_A'] == s * B.T @ G",
    r"\nabla_B &= s G A^\top": "unmasked['grad_B'] == s * G @ A.T",
    r"\nabla_A &= s 0^\top G = 0": "start['grad_A'] == s * (0 * B).T @ G == 0 * A",
    r"\nabla_B &= s G A^\top \neq 0": "start['grad_B'] == s * G @ A.T",
    r"x W^\top = x W_0^\top + s x A^\top B^\top": (
        "x @ merged.T == x @ W0.T + s * x @ A.T @ B.T == unmasked['y']"
    ),
    r"\lvert W_0' - W_0 \rvert \leq u \lvert W \rvert + u \lvert W_0' \rvert": (
        "test_unmerging_is_off_by_two_roundings_of_the_results"
    ),
    r"\Delta W &= -\eta s^2 G A^\top A": "stepped.delta_w == -eta * s**2 * G @ A.T @ A",
    r"\Delta y &= x \Delta W^\top = -\eta s^2 x A^\top A G^\top": (
        "stepped.forward(x)[0] - x @ W0.T == x @ stepped.delta_w.T"
        " == -eta * s**2 * x @ A.T @ A @ G.T"
    ),
    r"\mathbb{E}[A^\top A] &= \frac{r}{3k} I": (
        "test_the_mean_of_a_product_of_uniform_factors_is_exact"
    ),
    r"\mathbb{E}[\Delta y] &= \frac{s^2 r}{3k} (-\eta x G^\top)": (
        "test_the_share_is_that_of_full_fine_tuning_and_of_the_loss"
    ),
    r"s = \alpha / r: \quad & \frac{s^2 r}{3k} = \frac{\alpha^2}{3kr}": (
        "(alpha / r) ** 2 * r / (3 * k) == alpha**2 / (3 * k * r)"
    ),
    r"s = \alpha / \sqrt{r}: \quad & \frac{s^2 r}{3k} = \frac{\alpha^2}{3k}": (
        "(alpha / sqrt(r)) ** 2 * r / (3 * k) == alpha**2 / (3 * k)"
    ),
    r"\mathbb{E} \lVert \Delta W \rVert^2 = \eta^2 \left( \frac{s^2}{3k} \right)^2"
    r" r \left( k + r - \frac{1}{5} \right) \lVert G \rVert^2": (
        "test_the_first_step_by_simulation"
    ),
    r"M = \begin{pmatrix} W_0 & sB \\ A & 0 \end{pmatrix}": "test_one_bordered_matrix",
    r"\begin{pmatrix} x & x A^\top \end{pmatrix} \begin{pmatrix} W_0^\top \\ s B^\top"
    r" \end{pmatrix} &= x W_0^\top + s x A^\top B^\top = y": (
        "np.hstack([x, x @ A.T]) @ np.vstack([W0.T, s * B.T]) == x @ W0.T + s * x @ A.T @ B.T"
        " == unmasked['y']"
    ),
    r"\begin{pmatrix} g & s g B \end{pmatrix} \begin{pmatrix} W_0 \\ A \end{pmatrix}"
    r" &= g W_0 + s g B A = \nabla_x": (
        "np.hstack([g, s * g @ B]) @ np.vstack([W0, A]) == g @ W0 + s * g @ B @ A"
        " == unmasked['grad_x']"
    ),
    r"\min_{\mathrm{rank} \Delta W \leq r} \lVert x \Delta W^\top - T \rVert^2": (
        "test_the_best_update_of_a_linear_task"
    ),
    r"\lVert U Z - T \rVert^2 = \lVert Z - U^\top T \rVert^2 + \lVert T - U U^\top T \rVert^2": (
        "square(U @ Z - T) == square(Z - U.T @ T) + square(T - U @ U.T @ T)"
    ),
    r"\Delta W^\top = V S^{-1} Z": "best.T == Vh.T @ np.diag(1 / S) @ Z",
    r"\lVert x \Delta W^\top - T \rVert^2 = \lVert T \rVert^2 - \sum_{q \leq r} \tau_q^2": (
        "square(loud @ best.T - T) == square(T) - square(tau[:2])"
    ),
}


def everything() -> dict[str, Any]:
    """Return one problem with all that the formulas speak of; a d before a name is its change."""
    at, rng = problem(4, 7, 5, 3, masked=True), np.random.default_rng(1)
    e = {**at.names, "inner": lambda u, v: np.sum(u * v), "ein": np.einsum, "np": np}
    e |= {"square": lambda u: np.sum(u**2), "sqrt": sqrt, "alpha": 5.0, "eta": 0.1}
    e |= {"P": e["x"], "N": rng.standard_normal((4, 7))}
    e |= {"Q": rng.standard_normal((4, 3)), "R": rng.standard_normal((3, 7)), "W": e["W0"]}
    e |= {f"d{name}": rng.standard_normal(e[name].shape) for name in ("x", "W", "A", "B")}
    e |= {"b": rng.standard_normal((5, 1)), "db": rng.standard_normal((5, 1))}
    e |= {"ones": np.ones((4, 1)), "code": passes(at), "h": (e["m"] * e["x"]) @ e["A"].T}
    plain = at._replace(mask=None)
    start = replace(at.layer, B=0 * e["B"])
    e |= {"unmasked": passes(plain), "start": passes(plain._replace(layer=start))}
    e |= {"merged": at.layer.merge().W, "stepped": first_step(start, e["x"], e["g"], e["eta"])}

    def derivative(function: Any) -> Any:
        return (function(1e-5) - function(-1e-5)) / 2e-5

    def linear(t: float) -> np.ndarray:
        layer = Linear(e["W"] + t * e["dW"], (e["b"] + t * e["db"])[:, 0])
        return layer.forward(e["x"] + t * e["dx"])[0]

    def lora(t: float) -> Any:
        moved = {name: e[name] + t * e[f"d{name}"] for name in ("A", "B")}
        return at.layer.with_params(moved).forward(e["x"] + t * e["dx"], mask=at.mask)

    def moved_W0(t: float) -> float:
        layer = replace(at.layer, W0=e["W0"] + t * e["dW"])
        return float(np.sum(e["g"] * layer.forward(e["x"], mask=at.mask)[0]))

    e |= {"dy_linear": derivative(linear), "dy": derivative(lambda t: lora(t)[0])}
    e |= {"dh": derivative(lambda t: lora(t)[1].h), "slope_of_W0": derivative(moved_W0)}
    task, page = linear_task(12, 7, 5, 2)
    e |= {name: page[name] for name in ("U", "S", "Vh", "T", "tau", "Z")}
    return e | {"best": page["delta_w"], "loud": task["x"]}


def test_every_displayed_formula_is_tried_and_no_other():
    here = {formula for section in sections_of(__file__) for formula in displayed(section)}
    assert sorted(here) == sorted(FORMULAS)


@each("formula", [f for f in FORMULAS if not FORMULAS[f].startswith("test_")])
def test_a_displayed_formula_holds(formula):
    first, *others = (eval(side, everything()) for side in FORMULAS[formula].split(" == "))
    for other in others:
        assert_allclose(first, other, rtol=1e-8, atol=1e-8)
    assert np.any(first) or formula.endswith("= 0")


def test_a_formula_that_is_not_evaluated_here_has_a_test():
    assert {v for v in FORMULAS.values() if v.startswith("test_")} <= set(globals())
