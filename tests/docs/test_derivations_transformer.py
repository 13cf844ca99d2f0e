"""`docs/derivations.md`, adapters and what a transformer is made of: run, and tried."""

import re
from collections.abc import Callable
from math import erf, exp, pi, sqrt, tanh
from typing import Any

import numpy as np
import pytest
from cases import each
from derivations_page import SECTIONS, agree, displayed, run, sections_of, table
from numpy.testing import assert_allclose

from lora_ref.checks import Array
from lora_ref.gradcheck import SMOOTH_TOLERANCE, gradient_errors, vjp_errors
from lora_ref.layers import Adapter, Attention, DoRALinear, Embedding, LayerNorm, Linear, RMSNorm
from lora_ref.ops import (
    ACTIVATIONS,
    attention,
    attention_backward,
    softmax,
    softmax_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from lora_ref.transformer import GPT, Encoder

SEEDS = range(3)
N, K, D, B_, R = 4, 7, 5, 3, 2
TOKENS = np.array([3, 1, 4, 1])
SIZES = {"vocabulary": 6, "context": 5, "features": 6, "heads": 2, "blocks": 2}

seeds = pytest.mark.parametrize("seed", SEEDS)


def drawn(seed: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
    """Return arrays by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def passes(layer: Any, x: Any, g: Array) -> dict[str, Any]:
    """Return y and the gradients of a layer, such as ``grad_x`` and ``grad_W``."""
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(g, cache)
    return {"y": y, "grad_x": grad_x} | {f"grad_{name}": grad for name, grad in grads.items()}


def slope(function: Callable[[float], Any]) -> Any:
    return (function(1e-5) - function(-1e-5)) / 2e-5


def row_means(u: Array) -> Array:
    return u.mean(axis=1, keepdims=True)


# The bottleneck adapter


def adapter(seed: int) -> dict[str, Any]:
    shapes = {"x": (N, K), "g": (N, K), "D": (B_, K), "a": (B_,), "U": (K, B_), "b": (K,)}
    return drawn(seed, **shapes)


def adapter_layer(at: dict[str, Any]) -> Adapter:
    return Adapter(at["D"], at["a"], at["U"], at["b"], "tanh")


@seeds
def test_the_bottleneck_adapter(seed):
    at = adapter(seed)
    page = run("The bottleneck adapter", **at)
    code = passes(adapter_layer(at), at["x"], at["g"])
    names = {"U": "W_up", "b": "b_up", "D": "W_down", "a": "b_down"}
    code |= {f"grad_{here}": code[f"grad_{there}"] for here, there in names.items()}
    agree(page, code, "y", "grad_x", *(f"grad_{name}" for name in names))


def test_an_adapter_at_its_start_passes_the_gradient_on():
    layer = Adapter.init(K, B_, np.random.default_rng(0), activation="tanh")
    at = adapter(0)
    code = passes(layer, at["x"], at["g"])
    assert not code["grad_W_down"].any()
    assert not code["grad_b_down"].any()
    assert code["grad_W_up"].any()
    assert np.array_equal(code["grad_x"], at["g"])


# DoRA


def dora(seed: int) -> dict[str, Any]:
    shapes = {"x": (N, K), "g": (N, D), "W0": (D, K), "A": (R, K), "B": (D, R), "mu": (D, 1)}
    at = drawn(seed, **shapes)
    return {**at, "s": 5.0 / R, "G": at["g"].T @ at["x"]}


def dora_layer(at: dict[str, Any], norm_gradient: Any = "true") -> DoRALinear:
    arrays = (at["W0"], at["A"], at["B"], at["mu"][:, 0])
    return DoRALinear(*arrays, alpha=5.0, norm_gradient=norm_gradient)


@seeds
def test_dora(seed):
    at = dora(seed)
    page = run("DoRA", **at)
    true, detached = (
        passes(dora_layer(at, kind), at["x"], at["g"]) for kind in ("true", "detached")
    )
    agree(page, true, "y", "grad_A", "grad_B", "grad_x")
    agree(
        {"grad_A": page["grad_A_detached"], "grad_B": page["grad_B_detached"]}, detached, "grad_A"
    )
    assert_allclose(page["grad_B_detached"], detached["grad_B"], rtol=1e-10)
    assert_allclose(page["grad_mu"][:, 0], true["grad_magnitude"], rtol=1e-10)


def test_the_gradient_of_a_row_of_V_is_perpendicular_to_it_and_the_detached_one_is_not():
    at = dora(0)
    page = run("DoRA", **at)
    sizes = np.linalg.norm(page["V"], axis=1) * np.linalg.norm(page["detached"], axis=1)
    along = {name: np.sum(page[name] * page["V"], axis=1) / sizes for name in ("true", "detached")}
    assert np.abs(along["true"]).max() < 1e-14
    assert np.abs(along["detached"]).min() > 0.01
    rng = np.random.default_rng(0)
    for kind in ("true", "detached"):
        errors = gradient_errors(dora_layer(at, kind), at["x"], rng)
        assert (max(errors.values()) < SMOOTH_TOLERANCE) == (kind == "true")


# GELU and SiLU


ROWS = table("GELU and SiLU")
POINTS = np.linspace(-4, 4, 33)
CUBIC, SLOPE_OF_CUBIC = map(float, re.findall(r"0\.\d+", SECTIONS["GELU and SiLU"]))


def gate(cell: str, x: Array) -> Array:
    """Evaluate a cell of the table at each number."""
    known: dict[str, Any] = {"erf": erf, "exp": exp, "pi": pi, "sqrt": sqrt, "tanh": tanh}

    def at(x: float) -> float:
        u = sqrt(2 / pi) * (x + CUBIC * x**3)
        du = sqrt(2 / pi) * (1 + SLOPE_OF_CUBIC * x**2)
        return float(eval(cell, {**known, "x": x, "u": u, "du": du}))

    return np.array([at(float(one)) for one in x.ravel()]).reshape(x.shape)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_gelu_and_silu(row):
    name, F, dF = row
    at = {"x": POINTS, "g": np.random.default_rng(0).standard_normal(POINTS.shape)}
    page = run("GELU and SiLU", F=gate(F, POINTS), dF=gate(dF, POINTS), **at)
    y, cache = ACTIVATIONS[name].forward(POINTS)
    agree(page, {"y": y, "grad_x": ACTIVATIONS[name].backward(at["g"], cache)}, "y", "grad_x")
    assert_allclose(slope(lambda t: gate(F, POINTS + t)), gate(dF, POINTS), atol=1e-9)
    assert_allclose(gate(F, -POINTS), 1 - gate(F, POINTS), atol=1e-15)


def gates(seed: int) -> dict[str, Any]:
    at = drawn(seed, x=(N, K), g=(N, K))
    F, dF = (gate(cell, at["x"]) for cell in ROWS[-1][1:])
    return {**at, "F": F, "dF": dF}


def slopes(name: str, x: Array) -> Array:
    _, cache = ACTIVATIONS[name].forward(x)
    return ACTIVATIONS[name].backward(np.ones_like(x), cache)


@pytest.mark.parametrize("name", [row[0] for row in ROWS])
def test_slopes_at_x_and_at_minus_x_add_up_to_one(name):
    assert_allclose(slopes(name, POINTS) + slopes(name, -POINTS), 1, atol=1e-14)
    assert slopes(name, np.zeros(1))[0] == 0.5
    assert_allclose(slopes(name, np.array([-30.0, 30.0])), [0, 1], atol=1e-10)
    difference = np.abs(slopes("gelu", POINTS) - slopes("gelu_tanh", POINTS))
    assert 1e-4 < difference.max() < 1e-2


# Softmax and cross-entropy


@seeds
def test_softmax(seed):
    at = drawn(seed, x=(N, K), g=(N, K))
    page = run("Softmax", **at)
    y, cache = softmax(at["x"])
    agree(page, {"y": y, "grad_x": softmax_backward(at["g"], cache)}, "y", "grad_x")


def test_rows_of_the_gradient_of_a_softmax_add_up_to_zero():
    at = drawn(0, x=(N, K), g=(N, K))
    at["x"][0, 0] = -np.inf
    y, cache = softmax(at["x"])
    grad_x = softmax_backward(at["g"], cache)
    assert_allclose(grad_x.sum(axis=1), 0, atol=1e-15)
    assert_allclose(softmax(at["x"] + np.arange(N)[:, None])[0], y, rtol=1e-14)
    assert (grad_x == 0).sum() == 1
    assert grad_x[0, 0] == y[0, 0] == 0


LABELS = np.array([2, -100, 0, 6])


def cross_entropy(seed: int) -> dict[str, Any]:
    c = (LABELS >= 0).astype(float)
    return {**drawn(seed, x=(N, K)), "c": c, "t": np.eye(K)[LABELS % K]}


@seeds
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(seed, smoothing):
    at = cross_entropy(seed)
    at["t"] = (1 - smoothing) * at["t"] + smoothing / K
    page = run("Cross-entropy", **at)
    loss, cache = softmax_cross_entropy(at["x"], LABELS, smoothing=smoothing, ignore=-100)
    assert page["loss"] == pytest.approx(loss, rel=1e-12)
    agree(page, {"grad_x": softmax_cross_entropy_backward(cache)}, "grad_x")


def test_the_signs_of_the_gradient_of_a_cross_entropy():
    for seed in SEEDS:
        x = drawn(seed, x=(N, K))["x"]
        grad_x = softmax_cross_entropy_backward(softmax_cross_entropy(x, LABELS, ignore=-100)[1])
        assert_allclose(grad_x.sum(axis=1), 0, atol=1e-15)
        assert not grad_x[1].any()
        for i in (0, 2, 3):
            assert np.flatnonzero(grad_x[i] < 0).tolist() == [LABELS[i]]
            assert grad_x[i].min() > -1 / 3


# Norms


EPSILON = 0.1


def norm(seed: int) -> dict[str, Any]:
    shapes = {"x": (N, K), "g": (N, K), "gamma": (K,), "beta": (K,)}
    return {**drawn(seed, **shapes), "epsilon": EPSILON}


@seeds
def test_layer_norm(seed):
    at = norm(seed)
    page = run("Layer norm", **at)
    code = passes(LayerNorm(at["gamma"], at["beta"], EPSILON), at["x"], at["g"])
    code |= {"grad_gamma": code["grad_gain"], "grad_beta": code["grad_bias"]}
    agree(page, code, "y", "grad_x", "grad_gamma", "grad_beta")


@seeds
def test_rms_norm(seed):
    at = norm(seed)
    page = run("RMS norm", **at)
    code = passes(RMSNorm(at["gamma"], EPSILON), at["x"], at["g"])
    agree(page, {**code, "grad_gamma": code["grad_gain"]}, "y", "grad_x", "grad_gamma")


@pytest.mark.parametrize("epsilon", [1e-12, EPSILON])
def test_a_row_has_no_gradient_along_what_changes_nothing(epsilon):
    at = norm(0)
    for section, layer in (
        ("Layer norm", LayerNorm(at["gamma"], at["beta"], epsilon)),
        ("RMS norm", RMSNorm(at["gamma"], epsilon)),
    ):
        page = run(section, **{**at, "epsilon": epsilon})
        grad_x = passes(layer, at["x"], at["g"])["grad_x"]
        size = page["sigma"] if section == "Layer norm" else page["rho"]
        left = epsilon / size**3 * row_means(page["z"] * page["grad_z"])
        assert_allclose(row_means(page["z"] * grad_x), left, rtol=1e-6, atol=1e-14)
        assert (np.abs(row_means(page["z"] * grad_x)).max() < 1e-10) == (epsilon < 1e-10)
        assert (np.abs(row_means(grad_x)).max() < 1e-14) == (section == "Layer norm")


# Attention


WIDTH = 3


def heads(seed: int) -> dict[str, Any]:
    at = drawn(seed, q=(N, WIDTH), k=(N, WIDTH), v=(N, D), g=(N, D))
    return {**at, "d": WIDTH, "allowed": np.tri(N, dtype=bool)}


@seeds
@pytest.mark.parametrize("causal", [True, False])
def test_attention(seed, causal):
    at = heads(seed)
    at["allowed"] = at["allowed"] | (not causal)
    page = run("Attention", **at)
    y, cache = attention(at["q"], at["k"], at["v"], allowed=at["allowed"])
    grads = attention_backward(at["g"], cache)
    code = dict(zip(("grad_q", "grad_k", "grad_v"), grads, strict=True))
    agree(page, {"y": y, **code}, "y", *code)


def test_what_must_vanish_in_the_gradients_of_attention():
    at = heads(0)
    page = run("Attention", **at)
    assert not page["grad_S"][~at["allowed"]].any()
    assert_allclose(page["grad_S"].sum(axis=1), 0, atol=1e-15)
    _, cache = attention(at["q"], at["k"], at["v"], allowed=at["allowed"])
    grad_q, grad_k, _ = attention_backward(at["g"], cache)
    assert not grad_q[0].any()
    assert (np.abs(grad_q[1:]).max(axis=1) > 0.01).all()
    assert_allclose(grad_k.sum(axis=0), 0, atol=1e-15)


def test_a_bias_of_the_keys_has_no_gradient_and_those_of_queries_and_values_have_one():
    rng = np.random.default_rng(0)
    q, k, v, o = (Linear(rng.standard_normal((6, 6)), rng.standard_normal(6)) for _ in range(4))
    layer, x = Attention(q, k, v, o, heads=2), rng.standard_normal((2, N, 6))
    y, cache = layer.forward(x)
    _, grads = layer.backward(rng.standard_normal(y.shape), cache)
    sizes = {name: np.linalg.norm(grads[f"{name}.bias"]) for name in "qkvo"}
    assert sizes["k"] < 1e-13
    assert min(sizes["q"], sizes["v"], sizes["o"]) > 0.1
    moved = layer.with_params({"k.bias": k.bias + rng.standard_normal(6)})
    assert_allclose(moved.forward(x)[0], y, rtol=1e-11, atol=1e-12)


# Embedding and tied weight


def lookup(seed: int) -> dict[str, Any]:
    return {**drawn(seed, W=(6, K), g=(N, K)), "tokens": TOKENS}


@seeds
def test_embedding(seed):
    at = lookup(seed)
    page = run("Embedding", **at)
    code = passes(Embedding(at["W"]), TOKENS, at["g"])
    agree(page, code, "y", "grad_W")
    agree({"y": page["E"] @ at["W"], "grad_W": page["E"].T @ at["g"]}, code, "y", "grad_W")


def test_no_row_is_lost_in_the_gradient_of_an_embedding():
    at = lookup(0)
    grad = passes(Embedding(at["W"]), TOKENS, at["g"])["grad_W"]
    assert np.flatnonzero(~grad.any(axis=1)).tolist() == [0, 2, 5]
    assert_allclose(grad.sum(axis=0), at["g"].sum(axis=0), rtol=1e-13)
    overwritten = np.zeros_like(grad)
    overwritten[TOKENS] = at["g"]
    assert np.array_equal(overwritten[1], at["g"][3])
    assert np.linalg.norm(overwritten - grad) > 0.1


def ends(seed: int) -> dict[str, Any]:
    return {**drawn(seed, W=(6, K), g=(N, 6)), "tokens": TOKENS}


@seeds
def test_a_tied_weight(seed):
    at = ends(seed)
    page = run("A tied weight", **at)
    embedding, head = Embedding(at["W"]), Linear(at["W"])
    rows, cache = embedding.forward(TOKENS)
    h, inner = ACTIVATIONS["tanh"].forward(rows)
    y, outer = head.forward(h)
    grad_h, of_head = head.backward(at["g"], outer)
    _, of_embedding = embedding.backward(ACTIVATIONS["tanh"].backward(grad_h, inner), cache)
    agree(page, {"y": y, "grad_W": of_embedding["W"] + of_head["W"]}, "y", "grad_W")
    errors = vjp_errors(
        lambda arguments: np.tanh(arguments["W"][TOKENS]) @ arguments["W"].T,
        {"W": at["W"]},
        at["g"],
        {"W": page["grad_W"]},
        np.random.default_rng(seed),
    )
    assert errors["W"] < SMOOTH_TOLERANCE


def test_a_tied_gpt_adds_what_an_untied_one_reports_at_both_ends():
    rng = np.random.default_rng(0)
    tied = GPT.init(**SIZES, rng=rng)
    untied = GPT(tied.tokens, tied.positions, tied.blocks, tied.norm, Linear(tied.tokens.W))
    grad_y = rng.standard_normal(tied.forward(TOKENS)[0].shape)
    one, two = (passes(gpt, TOKENS, grad_y) for gpt in (tied, untied))
    assert_allclose(one["grad_tokens.W"], two["grad_tokens.W"] + two["grad_head.W"], rtol=1e-12)
    assert np.flatnonzero(~two["grad_tokens.W"].any(axis=1)).tolist() == [0, 2, 5]
    assert one["grad_tokens.W"].any(axis=1).all()


# The mean over tokens


SEEN = np.array([True, True, True, False])


def text(seed: int) -> dict[str, Any]:
    return {**drawn(seed, h=(N, K), g=(1, K)), "seen": SEEN}


@seeds
def test_the_mean_over_tokens(seed):
    at = text(seed)
    page = run("The mean over tokens", **at)
    assert_allclose(page["y"], at["h"][:3].mean(axis=0, keepdims=True), rtol=1e-13)
    encoder = Encoder.init(**SIZES, rng=np.random.default_rng(seed))
    y, cache = encoder.forward(TOKENS, attention_mask=SEEN)
    rows = encoder.tokens.forward(TOKENS)[0] + encoder.positions.forward(np.arange(N))[0]
    rows, _ = encoder.norm.forward(rows)
    to_all = {f"{name}.attention_mask": SEEN for name in encoder.blocks}
    h, inner = encoder.blocks.forward(rows, keywords=to_all)
    g = np.random.default_rng(seed).standard_normal((1, 6))
    page = run("The mean over tokens", h=h, g=g, seen=SEEN)
    assert_allclose(page["y"][0], y, rtol=1e-12, atol=1e-14)
    _, grads = encoder.backward(g[0], cache)
    _, of_blocks = encoder.blocks.backward(page["grad_h"], inner)
    code = {name: grads[f"blocks.{name}"] for name in of_blocks}
    agree(of_blocks, code, *of_blocks)


def test_an_encoder_gives_no_gradient_to_padding():
    at = text(0)
    grad_h = run("The mean over tokens", **at)["grad_h"]
    assert not grad_h[~SEEN].any()
    assert (grad_h[SEEN] == grad_h[0]).all()
    assert_allclose(grad_h.sum(axis=0), at["g"][0], rtol=1e-14)
    plain = np.ones((N, 1)) / N @ at["g"]
    assert (plain == plain[0]).all()
    assert_allclose(plain.sum(axis=0), at["g"][0], rtol=1e-14)
    assert plain[~SEEN].any()


# Each displayed formula, as the page writes it and in NumPy


FORMULAS: dict[str, dict[str, str]] = {
    "The bottleneck adapter": {
        r"u &= x D^\top + \mathbf{1} a^\top": "u == x @ D.T + ones(4) @ a[None]",
        r"h &= \varphi(u)": "h == np.tanh(u)",
        r"y &= x + h U^\top + \mathbf{1} b^\top": "code['y'] == x + h @ U.T + ones(4) @ b[None]",
        r"\nabla_u &= \varphi'(u) \odot (g U)": (
            "inner(slope(lambda t: np.tanh(u + t)) * (g @ U), du)"
            " == inner(g, slope(lambda t: np.tanh(u + t * du) @ U.T)) == inner(grad_u, du)"
        ),
        r"\nabla_U &= g^\top h": "code['grad_W_up'] == g.T @ h",
        r"\nabla_D &= \nabla_u^\top x": "code['grad_W_down'] == grad_u.T @ x",
        r"\nabla_x &= g + \nabla_u D": "code['grad_x'] == g + grad_u @ D",
    },
    "DoRA": {
        r"\nu_o &= \lVert V_o \rVert": "nu[:, 0] == np.linalg.norm(V, axis=1)",
        r"W_o &= \frac{\mu_o}{\nu_o} V_o": "merged == mu / nu * V",
        r"y &= x W^\top": "code['y'] == x @ W.T",
        r"\delta \nu_o &= \frac{\langle V_o, \delta V_o \rangle}{\nu_o}": (
            "slope(lambda t: np.linalg.norm(V + t * dV, axis=1)[:, None]) == rows(V * dV) / nu"
        ),
        r"\delta W_o &= \frac{\delta \mu_o}{\nu_o} V_o + \frac{\mu_o}{\nu_o}"
        r" \left( \delta V_o - \frac{\delta \nu_o}{\nu_o} V_o \right)": (
            "slope(lambda t: weight(mu + t * dmu, V + t * dV))"
            " == dmu / nu * V + mu / nu * (dV - rows(V * dV) / nu / nu * V)"
        ),
        r"\nabla_{\mu_o} &= \frac{\langle G_o, V_o \rangle}{\nu_o}": (
            "code['grad_magnitude'][:, None] == rows(G * V) / nu"
        ),
        r"\nabla_{V_o} &= \frac{\mu_o}{\nu_o} \left( G_o"
        r" - \frac{\langle G_o, V_o \rangle}{\nu_o^2} V_o \right)": (
            "inner(mu / nu * (G - rows(G * V) / nu**2 * V), dV)"
            " == slope(lambda t: inner(G, weight(mu, V + t * dV)))"
        ),
    },
    "GELU and SiLU": {
        r"\nabla_x = g \odot (F(x) + x \odot F'(x))": "code == g * (F + x * dF)",
    },
    "Softmax": {
        r"y_{ij} = \frac{e^{x_{ij}}}{\sum_l e^{x_{il}}}": "y == np.exp(x) / rows(np.exp(x))",
        r"\frac{\delta y_{ij}}{y_{ij}} = \delta x_{ij} - \sum_l y_{il} \delta x_{il}": (
            "slope(lambda t: softmax(x + t * dx)[0]) / y == dx - rows(y * dx)"
        ),
        r"\nabla_x = y \odot (g - \sigma \mathbf{1}^\top)": (
            "code == y * (g - (g * y) @ ones(7) @ ones(7).T)"
        ),
    },
    "Cross-entropy": {
        r"L = -\frac{1}{n} \sum_{ij} c_i t_{ij} \log p_{ij}": (
            "loss(x) == -np.sum(c[:, None] * t * np.log(softmax(x)[0])) / 3"
        ),
        r"\delta L = -\frac{1}{n} \sum_{ij} c_i t_{ij} \left( \delta x_{ij}"
        r" - \sum_l p_{il} \delta x_{il} \right) = \frac{1}{n} \sum_{ij} c_i (p_{ij} - t_{ij})"
        r" \delta x_{ij}": (
            "slope(lambda s: loss(x + s * dx))"
            " == -np.sum(c[:, None] * t * (dx - rows(softmax(x)[0] * dx))) / 3"
            " == np.sum(c[:, None] * (softmax(x)[0] - t) * dx) / 3"
        ),
    },
    "Layer norm": {
        r"c &= x - \bar{x}": "c == x - row_means(x)",
        r"\sigma &= \sqrt{\overline{c \odot c} + \epsilon}": (
            "sigma == np.sqrt(row_means(c * c) + epsilon)"
        ),
        r"z &= c / \sigma": "z == c / sigma",
        r"y &= \gamma \odot z + \beta": "code['y'] == gamma * z + beta",
        r"\delta \sigma &= \overline{c \odot \delta c} / \sigma = \overline{z \odot \delta c}": (
            "slope(lambda t: size(c + t * dc)) == row_means(c * dc) / sigma == row_means(z * dc)"
        ),
        r"\delta z &= (\delta c - z \odot \delta \sigma) / \sigma": (
            "slope(lambda t: (c + t * dc) / size(c + t * dc))"
            " == (dc - z * row_means(z * dc)) / sigma"
        ),
        r"\nabla_z &= \gamma \odot g": "inner(gamma * g, dx) == inner(g, gamma * dx)",
        r"\nabla_x &= (\nabla_z - \overline{\nabla_z}"
        r" - z \odot \overline{z \odot \nabla_z}) / \sigma": (
            "code['grad_x']"
            " == (gamma * g - row_means(gamma * g) - z * row_means(z * gamma * g)) / sigma"
        ),
        r"\nabla_\gamma &= (g \odot z)^\top \mathbf{1}": (
            "code['grad_gain'] == ((g * z).T @ ones(4))[:, 0]"
        ),
        r"\nabla_\beta &= g^\top \mathbf{1}": "code['grad_bias'] == (g.T @ ones(4))[:, 0]",
        r"\overline{\nabla_x} &= 0": "row_means(code['grad_x']) == 0",
        r"\overline{z \odot \nabla_x} &= \frac{\epsilon}{\sigma^3}"
        r" \odot \overline{z \odot \nabla_z}": (
            "row_means(z * code['grad_x']) == epsilon / sigma**3 * row_means(z * gamma * g)"
        ),
    },
    "RMS norm": {
        r"\rho &= \sqrt{\overline{x \odot x} + \epsilon}": (
            "rho == np.sqrt(row_means(x * x) + epsilon)"
        ),
        r"z &= x / \rho": "z == x / rho",
        r"y &= \gamma \odot z": "code['y'] == gamma * z",
        r"\nabla_x &= (\nabla_z - z \odot \overline{z \odot \nabla_z}) / \rho": (
            "code['grad_x'] == (gamma * g - z * row_means(z * gamma * g)) / rho"
        ),
    },
    "Attention": {
        r"S &= q k^\top / \sqrt{d}": "S[allowed] == (q @ k.T / np.sqrt(d))[allowed]",
        r"P &= \mathrm{softmax}(S)": "P == softmax(S)[0]",
        r"y &= P v": "code['y'] == P @ v",
        r"\nabla_v &= P^\top g": "code['grad_v'] == P.T @ g",
        r"\nabla_P &= g v^\top": "inner(g @ v.T, dP) == inner(g, dP @ v)",
        r"\nabla_S &= P \odot (\nabla_P - (P \odot \nabla_P) \mathbf{1} \mathbf{1}^\top)": (
            "grad_S == P * (g @ v.T - (P * (g @ v.T)) @ ones(4) @ ones(4).T)"
            " == softmax_backward(g @ v.T, softmax(S)[1])"
        ),
        r"\nabla_q &= \nabla_S k / \sqrt{d}": "code['grad_q'] == grad_S @ k / np.sqrt(d)",
        r"\nabla_k &= \nabla_S^\top q / \sqrt{d}": "code['grad_k'] == grad_S.T @ q / np.sqrt(d)",
        r"\nabla_b = \nabla_k^\top \mathbf{1} = q^\top \nabla_S \mathbf{1} / \sqrt{d} = 0": (
            "slope(of_bias) == code['grad_k'].T @ ones(4)"
            " == q.T @ grad_S @ ones(4) / np.sqrt(d) == 0"
        ),
    },
    "Embedding": {
        r"y &= E W": "code['y'] == E @ W",
        r"\nabla_W &= E^\top g": "code['grad_W'] == E.T @ g",
    },
    "A tied weight": {
        r"r &= E W": "r == E @ W",
        r"h &= f(r)": "h == np.tanh(r)",
        r"y &= h W^\top": "y == h @ W.T",
        r"\delta y &= \delta h W^\top + h \delta W^\top": (
            "slope(lambda t: (h + t * dh) @ (W + t * dW).T) == dh @ W.T + h @ dW.T"
        ),
        r"\nabla_h &= g W": "inner(g @ W, dh) == inner(g, dh @ W.T)",
        r"\nabla_W &= E^\top \nabla_r + g^\top h": (
            "inner(E.T @ grad_r + g.T @ h, dW)"
            " == slope(lambda t: inner(g, np.tanh((W + t * dW)[tokens]) @ (W + t * dW).T))"
        ),
    },
    "The mean over tokens": {
        r"y &= w^\top h": "h[seen].mean(axis=0)[None] == w.T @ h",
        r"\nabla_h &= w g": "inner(w @ g, dh) == inner(g, dh[seen].mean(axis=0)[None])",
    },
}


PROBLEMS: dict[str, Callable[[int], dict[str, Any]]] = {
    "The bottleneck adapter": adapter,
    "DoRA": dora,
    "GELU and SiLU": gates,
    "Softmax": lambda seed: drawn(seed, x=(N, K), g=(N, K)),
    "Cross-entropy": cross_entropy,
    "Layer norm": norm,
    "RMS norm": norm,
    "Attention": heads,
    "Embedding": lookup,
    "A tied weight": ends,
    "The mean over tokens": text,
}


def everything(section: str) -> dict[str, Any]:
    """Return what the formulas of a section speak of; a d before a name is its change."""
    e = run(section, **PROBLEMS[section](0)) | {"slope": slope, "row_means": row_means}
    e |= {"softmax": softmax, "softmax_backward": softmax_backward}
    e |= {"inner": lambda u, v: np.sum(u * v), "rows": lambda u: u.sum(axis=1, keepdims=True)}
    e |= {"ones": lambda n: np.ones((n, 1))}
    rng = np.random.default_rng(1)
    names = [name for name in ("x", "V", "P", "W", "h", "u", "mu") if name in e]
    e |= {f"d{name}": rng.standard_normal(e[name].shape) for name in names}
    return e | CODE.get(section, lambda e: {})(e)


def loss_of(at: dict[str, Any]) -> dict[str, Any]:
    return {"loss": lambda x: softmax_cross_entropy(x, LABELS, ignore=-100)[0]}


def of_layer_norm(at: dict[str, Any]) -> dict[str, Any]:
    centred = at["dx"] - row_means(at["dx"])
    layer = LayerNorm(at["gamma"], at["beta"], EPSILON)
    found = {"c": at["centred"], "dc": centred, "code": passes(layer, at["x"], at["g"])}
    return found | {"size": lambda c: np.sqrt(row_means(c * c) + EPSILON)}


def of_attention(at: dict[str, Any]) -> dict[str, Any]:
    y, cache = attention(at["q"], at["k"], at["v"], allowed=at["allowed"])
    grads = dict(
        zip(("grad_q", "grad_k", "grad_v"), attention_backward(at["g"], cache), strict=True)
    )

    def of_bias(t: float) -> Array:
        """Return the value for each entry of a bias of k that moves alone."""
        moved = (at["k"] + t * one for one in np.eye(WIDTH))
        ys = (attention(at["q"], k, at["v"], allowed=at["allowed"])[0] for k in moved)
        return np.array([[np.sum(at["g"] * y)] for y in ys])

    return {"code": {"y": y, **grads}, "of_bias": of_bias}


CODE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "The bottleneck adapter": lambda e: {"code": passes(adapter_layer(e), e["x"], e["g"])},
    "DoRA": lambda e: {
        "code": passes(dora_layer(e), e["x"], e["g"]),
        "merged": dora_layer(e).merge().W,
        "weight": lambda mu, V: mu / np.linalg.norm(V, axis=1)[:, None] * V,
    },
    "GELU and SiLU": lambda e: {
        "code": ACTIVATIONS["silu"].backward(e["g"], ACTIVATIONS["silu"].forward(e["x"])[1])
    },
    "Softmax": lambda e: {"code": softmax_backward(e["g"], softmax(e["x"])[1])},
    "Cross-entropy": loss_of,
    "Layer norm": of_layer_norm,
    "RMS norm": lambda e: {"code": passes(RMSNorm(e["gamma"], EPSILON), e["x"], e["g"])},
    "Attention": of_attention,
    "Embedding": lambda e: {"code": passes(Embedding(e["W"]), TOKENS, e["g"])},
    "A tied weight": lambda e: {
        "E": np.eye(6)[TOKENS],
        "r": Embedding(e["W"]).forward(TOKENS)[0],
    },
}


def test_every_displayed_formula_is_tried_and_no_other():
    there = {section: displayed(section) for section in sections_of(__file__)}
    assert there == {section: list(formulas) for section, formulas in FORMULAS.items()}


@each(
    ("section", "formula"),
    [(s, formula) for s, formulas in FORMULAS.items() for formula in formulas],
)
def test_a_displayed_formula_holds(section, formula):
    at = {**everything(section), "np": np}
    first, *others = (eval(side, at) for side in FORMULAS[section][formula].split(" == "))
    for other in others:
        assert_allclose(first, other, rtol=1e-8, atol=1e-8)
    assert np.any(np.abs(first) > 1e-6) or formula.endswith("= 0")
