"""Every quantity has a value by hand or an independent recomputation, and every key matters."""

import re
from math import erf, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from cases import over
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from test_reader import MATRICES, claim_text, judged

from lora_ref.claims import parse
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.errors import LoraRefError
from lora_ref.layers import Linear, LoRALinear
from lora_ref.quantize import NF4_OFFSET, nf4_levels
from lora_ref.study import committed, judge_claims


def written(name, array):
    """Return a matrix of a file."""
    return f"{name} = {np.asarray(array).tolist()}\n"


OTHERS = {  # of each matrix that has a default name, another and a zero of its shape
    "A": [[2, -5]], "B": [[3], [1], [2]], "W0": [[7, 1], [2, 2], [0, 9]], "x": [3, -1],
    "grad_y": [2, 0, 1], "V": [[1, 3], [3, 4]], "a": [[2, 3]], "b": [[3], [1]], "u": [0, 1],
    "t": [5, 4],
}  # fmt: skip

HEAD = MATRICES + "".join(
    written(name, array)
    for name, array in {
        "v": [1, 2, 4], "w": [1, 4, 16], "h": ["1/2", "1/4", "1/4"], "pair": [7, 3],
        "R": [[1, 2, 3], [4, 5, 6]], "A2": [[1, 2], [0, 1]], "B2": [[1, 0], [2, 1], [0, 3]],
        "V": [[0, 0], [0, 0]], "a": [[1, 0]], "b": [[1], [0]], "u": [1, 0], "u-other": [0, 1],
        "t": [0, 0], "T": np.diag([3, 2, 1]),
    }.items()
)  # fmt: skip

STEP = 'lr = 1\nW0 = "V"\nA = "a"\nB = "b"\nx = "u"\ntarget = "t"'
GPT2 = 'model = "gpt2"\nr = 8\ntargets = ["c_attn"]'

BY_HAND = {
    # matrices
    "entry": ('of = "S S"\nrow = 2\ncolumn = 1', "20"),
    "product": ('of = "W0 x"', "3 7 11"),
    "products": ('of = "v"\nby = "w"', "1 8 64"),
    "row": ('of = "W0"\nrow = 2', "3 4"),
    "sum": ('of = ["W0", "B A", "M"]', "5 4 / 3 8 / 4 4"),
    "difference": ('of = ["W0", "M"]', "-2 2 / 3 0 / 5 6"),
    "scaled": ('of = "A"\nby = "1/4"', [["0.25", "0.50"]]),
    "transpose": ('of = "W0"', "1 3 5 / 2 4 6"),
    "beside": ('of = ["B", "M"]', "1 3 0 / 0 0 4 / -1 0 0"),
    "term": ("k = 1", "1 2 / 0 0 / -1 -2"),
    "sum-of-terms": ('k = 2\nA = "A2"\nB = "B2"', "1 2 / 2 5 / 0 3"),
    "best-approximation": ('of = "M"\nr = 1', "0 0 / 0 4.0 / 0 0"),
    "trace": ('of = "S"', "5"),
    "determinant": ('of = "S"', "2"),
    "rank": ('of = "B A"', "1"),
    "frobenius-norm": ('of = "M"', "5"),
    "squared-norm": ('of = "M"', "25"),
    "norm-of-terms": ("k = 1", "3.1623"),
    "spectral-norm": ('of = "M"', "4"),
    "nuclear-norm": ('of = "M"', "7"),
    "singular-values": ('of = "M"', "4 3"),
    "condition-number": ('of = "M"', "1.33333"),
    "effective-rank": ('of = "M"', "1.9796"),
    "truncation-error": ('of = "M"\nr = 1\nnorm = "spectral"', "3.0"),
    "largest-entry": ('of = "B A"', "2"),
    "size": ('of = "W0"', "6"),
    "multiples-of": ('of = "W0"\nstep = 2', "3"),
    "entry-steps": ('of = "S"', "-1 3 -1"),
    "row-steps": ('of = "R"', [["3", "3", "3"]]),
    "coordinates": ('basis = "S"', "-0.50 0.50"),
    "products-less-coordinates": ('basis = "S"', "4.5962"),
    "share-inside": ('basis = "A"', "0.90"),
    "change-outside-span": ('of = "W0"\nbasis = "A"', "0.06685"),  # the root of 0.8 / 179
    "shape": ('of = "B A x"', "3"),
    "product-shape": ('shapes = ["3 x 1", "1 x 70000"]', "3 x 70000"),
    "path": ('of = ["B", "A"]', "2, 1, 3"),
    # arithmetic
    "stated": ('number = "1/8"', "0.125"),
    "ratio": ('numerator = 1\ndenominator = "8"', "12.5 %"),
    "relative-rise": ('new = "43.1"\nold = "32.5"', "32.62 %"),
    "relative-fall": ('new = "43.1"\nold = "32.5"', "24.59 %"),
    "stored-for-tasks": ("each = 2\ntasks = 3\nbase = 4", "10"),
    "elo-win-rate": ("rating = 1200\nother = 800", "90.9 %"),  # 10 to 1
    "mean": ("of = [1, 2, 6]", "3"),
    "random-subspace-norm": ("norm = 10\nr = 2\nd = 5", "4"),
    "smallest": ('of = "v"', "1"),
    "largest": ('of = "v"', "4"),
    "spread": ('of = "h"', "2"),
    "distinct": ('of = "h"', "2"),
    "growth-exponent": ('of = "w"\nalong = [1, 2, 4]', "2.000"),
    "chance-of-fit": ('of = "pair"\nunit = 1', "25 %"),
    # a LoRA layer
    "scaling": ("alpha = 6\nr = 9\nrank-stabilized = true", "2"),
    "delta-w": ("alpha = 3", "3 6 / 0 0 / -3 -6"),
    "merged": ("", "2 4 / 3 4 / 4 4"),
    "output": ("alpha = 2", "9 7 5"),
    "grad-A": ("alpha = 2", [["-6", "-6"]]),
    "grad-B": ("", [["3"], ["6"], ["12"]]),
    "grad-x": ("", "24 28"),
    "grad-W0": ("", "1 1 / 2 2 / 4 4"),
    "kaiming-std": ("in = 12", "0.1667"),
    "update-norm": ("alpha = 2", "6.325"),
    "jacobian-rank": ("", "4"),  # 1 (2 + 3 - 1)
    "directions-turned": (STEP.replace('"u"', '"u-other"').replace('"t"', '"u"'), ["45.000"]),
    "rank-after-one-step": (STEP.replace('"t"', '"u-other"'), "0"),
    "largest-step": ('of = "v"', "0.50"),
    # laws that hold whatever is drawn
    "columns-apart": ('rows-of-A = "equal"', "0"),
    "moved-from-zero": ("", "0"),
    "w0-gradient-error": ("n = 3", "0"),
    "w0-bytes-changed": ("steps = 3", "0"),
    "fitted-distance": ("r = 1", "1.8708"),  # the root of 1.5^2 + 1 + 0.5^2
    "excess-over-bound": ("r = 2", "0.0000"),
    "largest-rank-of-products": ("r = 4", "4"),
    "task-sum-error": ("tasks = 3", "0"),
    "adapter-formula-error": ("d = 5\nm = 3", "0"),
    # counts
    "layer-trainable": ('method = "adapter"\nin = 6\nout = 6\nm = 2', "32"),
    "parameters-per-task": ("in = 10\nout = 10\nr = 1\ntasks = 4\nshared = true", "45"),
    "full-count": ("in = 3\nout = 5\ncopies = 2", "30"),
    "lora-count": ("in = 3\nout = 5\nr = 2\ncopies = 10", "160"),
    "dora-count": ("in = 3\nout = 5\nr = 2\ncopies = 10", "210"),
    "adapter-count": ("d = 10\nm = 3\ncopies = 2\nnorms = 1", "166"),
    "tasks-count": ("in = 10\nout = 10\nr = 1\ntasks = 3", "160"),
    "lora-share": ("in = 10\nout = 10\nr = 1", "20 %"),
    "lora-saving": ("in = 10\nout = 10\nr = 1", "80 %"),
    "lora-account": ("in = 3\nout = 5\nr = 2", "6, 10, 16, -1"),
    "break-even-rank": ("in = 5\nout = 7", "2.917"),
    "rank-set-dimension": ("in = 5\nout = 7\nr = 2", "20"),
    "multiply-adds": ('method = "lora"\npass = "total"\nin = 4\nout = 4\nr = 2\nn = 3', "240"),
    "training-bytes": (
        'method = "lora"\npart = "activations"\nin = 4\nout = 4\nr = 2\nn = 3\nitemsize = 2', "36",
    ),
    "bytes": ('numbers = 1001\ndtype = "nf4"', "500.5"),
    "model-count": ('model = "gpt2"', "124,439,808"),
    "model-bytes": ('model = "gpt2"\nbits = 16\nshare = "1/2"', "124,439,808"),
    "model-matrices": ('model = "gpt2"\ntargets = ["c_attn"]', "12"),
    "square-share": ('model = "gpt2"', "8.33 %"),  # 1 of 3 + 1 + 4 + 4
    "model-trainable": (GPT2, "294,912"),
    "model-total": (GPT2, "124,734,720"),
    "model-share": (GPT2, "0.2364 %"),
    "model-times-fewer": (GPT2, "422"),
    "model-trainable-bytes": (GPT2, "1,179,648"),
    "model-training-bytes": (
        'model = "gpt2"\ndtype = "bf16"\nmoments = "fp32"\nr = 8\ntargets = ["c_attn"]',
        "252,418,560",  # 2 x (124,439,808 + 294,912) + (2 + 8) x 294,912
    ),
    "adam-bytes": ('numbers = 10\ndtype = "float16"\nmoments = "float32"', "120"),
    # NF4
    "nf4-level": ("code = 8", "0.07958029955625534"),
    "nf4-levels-with-sign": ('signs = ["zero", "positive"]', "9"),
    "nf4-offset": ("", "0.9677083"),
    "normal-quantile": ('probability = "0.975"', "1.959964"),
    "entropy-bits": ('of = "h"', "1.5"),
    "constant-bits": ("second-block = 256", "0.127"),
    "double-quantization-saving": ("", "0.373"),
}  # fmt: skip


def values_of(name, *cases, more=""):
    """Return a quantity's values in a file that gives it these keys, in turn; None for an error."""
    text = HEAD + more
    for i, keys in enumerate(cases):
        text += f'[derived.v{i}]\nquantity = "{name}"\n{keys}\n'
    named = parse(text + claim_text("rank", 'of = "S"', "2"), compute=False).values
    found = []
    for i in range(len(cases)):
        try:
            found.append(np.asarray(named[f"v{i}"]()).astype(float))
        except LoraRefError:
            found.append(None)
    return found


def value_of(name, keys):
    (value,) = values_of(name, keys)
    assert value is not None
    return value


@over({name: (name, *case) for name, case in BY_HAND.items()})
def test_a_quantity_has_its_value_by_hand_and_no_other(case):
    name, keys, printed = case
    right, wrong = (claim_text(name, keys, printed, id=id) for id in ("right", "wrong"))
    at = max(found.start() for found in re.finditer(r"\d", wrong))
    wrong = f"{wrong[:at]}{(int(wrong[at]) + 1) % 10}{wrong[at + 1 :]}"
    found = judged(HEAD + right + wrong)
    assert found["right"].verdict == "confirmed"
    assert found["wrong"].verdict in ("slip", "shape")


METHODS = {
    'method = "bitfit"': "102,144",  # 12 (2304 + 768 + 3072 + 768 + 2 768) + 768
    'method = "top"\nlayers = 1': "7,087,872",
    'method = "prefix"\ntokens = 2': "36,864",  # 2 x 2 x 12 x 768
    'method = "prefix-embed"\nprefix = 1\ninfix = 2': "2,304",
    'method = "prefix-layer"\nprefix = 1\ninfix = 0': "9,216",
    'method = "p-tuning"\ntokens = 1\nhidden = 2': "4,616",  # 768 + 3 768 + 2 3 + 768 2 + 2 + 768
    'method = "dora"\nr = 1\ntargets = ["c_attn"]': "64,512",  # 12 (768 + 2304 + 2304)
    'method = "lora+magnitudes"\nr = 1\ntargets = ["c_attn"]\nmagnitudes = ["c_attn"]': "64,512",
    'method = "lora+bitfit"\nr = 1\ntargets = ["c_attn"]': "139,008",
    'method = "lora-fa"\nr = 1\ntargets = ["c_attn"]': "27,648",  # 12 x 2304
    'method = "mica"\nr = 1\ntargets = ["c_attn"]': "9,216",  # 12 x 768
    'method = "ia3"\ntargets = ["c_attn", "mlp.c_fc"]\nfeedforward = ["mlp.c_fc"]': "36,864",
    'method = "lokr"\nr = 1\nfactor = 2\ntargets = ["c_attn"]': "18,480",  # 12 (4 + 1152 + 384)
    'method = "none"\nsaved = ["wpe"]': "786,432",
    'r = 1\ntargets = ["c_attn"]\nsaved = ["wpe"]': "823,296",  # 36,864 + 1024 x 768
}


@over({keys: (keys, count) for keys, count in METHODS.items()})
def test_a_method_trains_what_a_count_by_hand_says(case):
    text = claim_text("model-trainable", f'model = "gpt2"\n{case[0]}', case[1])
    assert judged(MATRICES + text)["it"].verdict == "confirmed"


# ---------------- quantities of what is drawn, recomputed without lora_ref


def drawn(seed=0, r=2):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in ((5, 7), (r, 7), (5, r), (6, 7))]


def target():
    return np.random.default_rng(1).standard_normal((6, 5))


def trained(W0, A, B, x, scale, steps, lr, T=None):
    """Return A and B after some steps of SGD, the gradients written out."""
    T = target() if T is None else T
    for _ in range(steps):
        g = (x @ (W0 + scale * B @ A).T - T) / len(x)
        A, B = A - lr * scale * B.T @ g.T @ x, B - lr * scale * g.T @ x @ A.T
    return A, B


def norms(*arrays):
    return [np.linalg.norm(array) for array in arrays]


def output_change():
    W0, A, _, x = drawn(r=3)
    A, B = trained(W0, A, np.full((5, 3), 0.5), x, 2.0, 2, 0.01)
    gap, base = norms(2 * x @ A.T @ B.T, x @ W0.T)
    return gap / base


def first_gradient():
    W0, A, _, x = drawn()
    B = np.full((5, 2), 0.25)
    g = (x @ (W0 + 2 * B @ A).T - target()) / 6
    return np.linalg.norm(2 * B.T @ g.T @ x)


def first_gradient_norm():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((16, 64)), rng.standard_normal((16, 48))
    A = np.random.default_rng(4).standard_normal((4, 64))
    return np.linalg.norm(3 / sqrt(4) * g.T @ x @ A.T)


def columns_apart():
    W0, A, B, x = drawn()
    _, B = trained(W0, A, 0 * B, x, 1.0, 2, 0.05)
    return abs(B[:, 1] - B[:, 0]).max() / abs(B).max()


def update_norms():
    W0, A, _, x = drawn()
    found = [trained(W0, A, np.full((5, 2), 0.5), x, 2.0, steps, 0.01) for steps in range(3)]
    return [2 * np.linalg.norm(B @ A) for A, B in found]


def w0_gradient():
    x = np.vstack([drawn()[3], drawn()[3][:2]])
    return np.linalg.norm(np.random.default_rng(1).standard_normal((8, 5)).T @ x)


def w0_bytes_changed():
    W0 = drawn()[0]
    after = W0 * 0.75 * 0.75
    return sum(a != b for a, b in zip(W0.tobytes(), after.tobytes(), strict=True))


def output_gap():
    W0, A, B, x = drawn()
    one, other = (x @ (W0 + scale * B @ A).T for scale in (8 / 4, 3 / 2))
    gap, whole = norms(one - other, other)
    return gap / whole


def task_sum_apart():
    W0, *_, x = drawn()
    updates = [4 / (t + 2) * B @ A for t in (0, 1) for _, A, B, _ in [drawn(t + 1, t + 2)]]
    y = x @ (W0 + sum(updates)).T
    alone = [x @ (W0 + update).T for update in updates]
    return min(np.linalg.norm(y - one) / np.linalg.norm(one) for one in alone)


def outputs_moved():
    W0, _, _, x = drawn()
    bound = 1 / sqrt(7)
    A = np.random.default_rng(1).uniform(-bound, bound, (2, 7))
    T = np.random.default_rng(2).standard_normal((6, 5))
    A, B = trained(W0, A, np.zeros((5, 2)), x, 2.0, 5, 0.2, T)
    moved, before = norms(2 * x @ A.T @ B.T, x @ W0.T)
    return moved / before


def areas():
    levels = nf4_levels().astype(float) * NormalDist().inv_cdf(NF4_OFFSET)
    below = [(1 + erf(edge / sqrt(2))) / 2 for edge in (levels[1:] + levels[:-1]) / 2]
    return np.diff([0, *below, 1])


def points_lost():
    def mean(shift, method):
        found = [record["source_on"] for record in committed()
                 if (record["shift"], record["method"]) == (shift, method)]  # fmt: skip
        return 100 * np.mean(found)

    shifts = dict.fromkeys(record["shift"] for record in committed())
    return [mean(shift, "untouched") - mean(shift, "lora-4") for shift in shifts]


RECOMPUTED = {
    "output-change": ('steps = 2\nalpha = 6\nr = 3\nentries-of-B = "1/2"', output_change),
    "first-gradient": ('of = "A"\nentries-of-B = "1/4"', first_gradient),
    "first-gradient-norm": ("r = 4\nalpha = 3\nrank-stabilized = true", first_gradient_norm),
    "columns-apart": ('rows-of-A = "random"\nsteps = 2', columns_apart),
    "update-norms": ('lr = "0.01"\nsteps = 2\nentries-of-B = "0.5"', update_norms),
    "w0-gradient": ("n = 8", w0_gradient),
    "w0-bytes-changed": ('steps = 2\ndecay = "1/4"', w0_bytes_changed),
    "output-gap": ("alpha = 8\nr = 4\nbeside-alpha = 3", output_gap),
    "task-sum-apart": ("tasks = 2", task_sum_apart),
    "task-switch-error": (
        'tasks = 2\nretrained = "0.5"', lambda: abs(0.5 * drawn()[3].sum(axis=1)).max(),
    ),
    "outputs-moved": ('method = "lora"\nadapter = "on"\nlr = "0.2"', outputs_moved),
    "nf4-areas": ("", areas),
    "source-points-lost": ('method = "lora-4"', points_lost),
}  # fmt: skip


@over({name: (name, *case) for name, case in RECOMPUTED.items()})
def test_a_quantity_of_what_is_drawn_is_recomputed_without_a_layer(case):
    name, keys, recompute = case
    np.testing.assert_allclose(value_of(name, keys), recompute(), rtol=1e-9)


def test_orthonormal_rows_are_orthonormal_and_span_the_same():
    Q, R = value_of("orthonormal-rows", 'of = "R"'), np.array([[1, 2, 3], [4, 5, 6.0]])
    np.testing.assert_allclose(Q @ Q.T, np.eye(2), atol=1e-10)
    np.testing.assert_allclose(R @ Q.T @ Q, R, atol=1e-9)


def test_outputs_of_a_frozen_base_do_not_move_with_the_adapter_off_and_do_with_it_on():
    for method in ("lora", "adapter"):
        off, on = (value_of("outputs-moved", f'method = "{method}"\nadapter = "{adapter}"')
                   for adapter in ("off", "on"))  # fmt: skip
        assert off == 0 < on


def test_a_rank_of_four_fits_a_target_of_rank_four_and_nothing_comes_below_the_bound():
    assert value_of("fitted-distance", "r = 4\nsteps = 150") < 1e-6
    assert value_of("excess-over-bound", "r = 3\nsteps = 5") > 0.01


def test_the_error_of_nf4_is_that_of_the_nearest_level_and_alpha_does_not_change_it():
    W0 = np.random.default_rng(0).standard_normal((64, 64))
    largest = abs(W0).max(axis=1, keepdims=True)  # a row is a block
    levels = nf4_levels().astype(float)
    nearest = levels[abs(W0[..., None] / largest[..., None] - levels).argmin(axis=-1)] * largest
    gap, whole = norms(nearest - W0, W0)
    found = [value_of("quantization-error", f"alpha = {alpha}") for alpha in (1, 16)]
    assert found[0] == found[1] == pytest.approx(gap / whole, rel=0.02)  # the constants are rounded


def test_the_usage_of_nf4_is_what_a_simulation_counts():
    blocks = np.random.default_rng(0).standard_normal((4000, 64))
    scaled = blocks / abs(blocks).max(axis=1, keepdims=True)
    levels = nf4_levels().astype(float)
    codes = np.digitize(scaled, (levels[1:] + levels[:-1]) / 2)
    counted = np.bincount(codes.ravel(), minlength=16) / codes.size
    np.testing.assert_allclose(value_of("nf4-usage", ""), counted, atol=2e-3)


def test_a_finding_is_that_of_the_study():
    for claim, finding in judge_claims(committed()).items():
        j = judged(MATRICES + f'[[claim]]\nid = "it"\ntext = "s"\nquantity = "study-finding"\n'
                   f'claim = "{claim}"\n')["it"]  # fmt: skip
        assert (j.verdict, j.finding, j.recomputed) == ("measured", finding.finding, finding.text)


def test_every_quantity_has_a_value_by_hand_or_recomputed():
    by_law = {"orthonormal-rows", "quantization-error", "nf4-usage", "study-finding"}
    assert {*BY_HAND, *RECOMPUTED, *by_law} == set(QUANTITIES)


# ---------------- every key matters

SIZES = "in = 6\nout = 6"
GPT2_AND = 'model = "gpt2"\n'
LORA = GPT2_AND + 'r = 1\ntargets = ["c_attn"]'
LAYER = 'A = "A2"\nB = "B2"'

CHANGED = {  # an optional key, the others that it needs, and two values; None where it is left out
    "output-change": ("steps = 1", {"alpha": (None, 1), "r": (2, 3), "entries-of-B": (None, 1)}),
    "first-gradient": ('of = "A"', {"entries-of-B": (None, 1)}),
    "first-gradient-norm": ("r = 4", {"rank-stabilized": (None, "true"), "alpha": (None, 1)}),
    "columns-apart": ('rows-of-A = "random"', {"steps": (None, 1)}),
    "update-norms": ("lr = 1\nsteps = 1", {"entries-of-B": (None, 1)}),
    "w0-gradient": ("", {"n": (None, 3)}),
    "w0-bytes-changed": ("steps = 1", {"decay": (None, '"1/2"')}),
    "fitted-distance": ("r = 2", {"steps": (None, 3)}),
    "excess-over-bound": ("r = 2", {"steps": (None, 3)}),
    "output-gap": ("alpha = 4\nr = 2", {"beside-alpha": (None, 3), "beside-r": (None, 1)}),
    "quantization-error": ("alpha = 1", {"size": (None, 32)}),
    "task-switch-error": ("tasks = 2", {"retrained": (None, 1)}),
    "parameters-per-task": (f"{SIZES}\nr = 1\ntasks = 2", {"shared": (None, "true")}),
    "outputs-moved": ('method = "lora"\nadapter = "on"', {"lr": (None, '"0.2"')}),
    "stored-for-tasks": ("each = 1\ntasks = 2", {"base": (None, 3)}),
    "full-count": (SIZES, {"copies": (None, 2)}),
    "lora-count": (f"{SIZES}\nr = 1", {"copies": (None, 2)}),
    "dora-count": (f"{SIZES}\nr = 1", {"copies": (None, 2)}),
    "adapter-count": ("d = 4\nm = 2", {"copies": (None, 2), "norms": (None, 2)}),
    "multiply-adds": (f'method = "lora"\npass = "forward"\n{SIZES}', {"r": (1, 2)}),
    "training-bytes": (
        f'method = "full"\n{SIZES}',
        {"part": (None, '"weights"'), "n": (None, 2), "itemsize": (None, 2),
         "optimizer": (None, '"sgd"')},
    ),
    "scaling": ("alpha = 4\nr = 4", {"rank-stabilized": (None, "true")}),
    **{name: (f"{LAYER}\nalpha = 1", {"rank-stabilized": (None, "true"), "alpha": (1, 5)})
       for name in ("delta-w", "merged", "output", "grad-A", "grad-B", "grad-x")},
    "entry": ('of = "S"\nrow = 1', {"column": (1, 2)}),
    "truncation-error": ('of = "T"\nr = 1', {"norm": ('"frobenius"', '"spectral"')}),
    "model-bytes": ('model = "gpt2"\nbits = 8', {"share": (None, '"1/2"')}),
    "nf4-usage": ("", {"block": (None, 32)}),
    "constant-bits": ("", {"block": (None, 32), "second-block": (None, 8)}),
    "double-quantization-saving": ("", {"block": (None, 32), "second-block": (None, 8)}),
}  # fmt: skip

IN_TRAINING = 'model = "gpt2"\ndtype = "bf16"\nmoments = "fp32"\nr = 8\ntargets = ["c_attn"]'
MORE = (  # where the keys of one method are not those of another
    ("output-change", "steps = 1\nr = 1", {"alpha": (1, 2)}),
    ("outputs-moved", 'method = "adapter"\nadapter = "off"', {"retrained": (None, 1)}),
    ("layer-trainable", f'method = "lora"\n{SIZES}', {"r": (1, 2)}),
    ("layer-trainable", f'method = "adapter"\n{SIZES}', {"m": (1, 2)}),
    ("multiply-adds", f'method = "full"\npass = "total"\n{SIZES}', {"n": (None, 2)}),
    ("training-bytes", f'method = "lora"\n{SIZES}', {"r": (1, 2)}),
    ("model-trainable", GPT2_AND + 'targets = ["c_attn"]', {"r": (1, 2)}),
    ("model-trainable", GPT2_AND + "r = 1", {"targets": ('["c_attn"]', '["c_fc"]')}),
    ("model-trainable", LORA, {"method": (None, '"dora"'), "saved": (None, '["wpe"]')}),
    ("model-trainable", LORA + '\nsaved = ["wpe"]', {"rules": (None, '["saved-twice-trained"]')}),
    ("model-trainable", GPT2_AND + 'method = "prefix"', {"tokens": (1, 2)}),
    ("model-trainable", GPT2_AND + 'method = "p-tuning"\ntokens = 1', {"hidden": (1, 2)}),
    ("model-trainable", GPT2_AND + 'method = "prefix-embed"', {"prefix": (1, 2)}),
    ("model-trainable", GPT2_AND + 'method = "prefix-layer"\nprefix = 1', {"infix": (None, 2)}),
    ("model-trainable", GPT2_AND + 'method = "top"', {"layers": (1, 2)}),
    ("model-trainable", LORA + '\nmethod = "lokr"', {"factor": (None, 2)}),
    ("model-trainable", GPT2_AND + 'method = "ia3"\ntargets = ["c_fc"]',
     {"feedforward": (None, '["c_fc"]')}),
    ("model-trainable", LORA + '\nmethod = "lora+magnitudes"',
     {"magnitudes": ('["c_attn"]', '["c_fc"]')}),
    ("model-training-bytes", IN_TRAINING, {
        "r": ("8", "16"), "targets": ('["c_attn"]', '["c_fc"]'), "master": (None, '"fp32"'),
    }),
)  # fmt: skip

UNMOVED = {
    ("moved-from-zero", "steps"): "nothing moves from A = B = 0, however long",
    ("w0-gradient-error", "n"): "the gradient is right for any number of rows",
    ("largest-rank-of-products", "draws"): "random products have full rank, all of them",
    ("layer-trainable", "alpha"): "alpha scales B A and has no parameters",
}
UNMOVED_AT = {
    "largest-rank-of-products": "r = 2\n",
    "layer-trainable": f'method = "lora"\n{SIZES}\nr = 2\n',
}
TALLIES = ("model-total", "model-share", "model-times-fewer", "model-trainable-bytes")

CASES = {
    f"{name}: {key} {base}": (name, base, key, values)
    for name, base, keys in (*((n, *case) for n, case in CHANGED.items()), *MORE)
    for key, values in keys.items()
}


@over(CASES)
def test_another_value_of_an_optional_key_is_another_result(case):
    name, base, key, values = case
    bare = re.sub(rf"(?m)^{re.escape(key)} = .*\n?", "", base)
    found = values_of(name, *(bare + ("" if v is None else f"\n{key} = {v}") for v in values))
    assert not any(value is None for value in found)
    assert not np.array_equal(*found)


@over({f"{name}: {key}": (name, key) for name, key in UNMOVED})
def test_a_key_that_changes_nothing_is_one_that_a_law_leaves_out(case):
    name, key = case
    base = UNMOVED_AT.get(name, "")
    one, other = values_of(name, f"{base}{key} = 1", f"{base}{key} = 7")
    assert one is not None
    assert np.array_equal(one, other)


def test_every_optional_key_has_such_a_case():
    of_a_tally = {QUANTITIES[name].keys for name in (*TALLIES, "model-trainable")}
    assert len(of_a_tally) == 1
    optional = {
        (q.name, p.key)
        for q in QUANTITIES.values()
        for p in q.parameters
        if not p.required and p.kind.name != "matrix" and q.name not in TALLIES
    }
    assert optional == {(name, key) for name, _, key, _ in CASES.values()} | set(UNMOVED)


IN_PLACE = "".join(
    written(f"{name}-{kind}", array)
    for name, other in OTHERS.items()
    for kind, array in (("other", other), ("zero", np.zeros_like(other)))
    if f"{name}-{kind}" != "u-other"
)
ONLY_A_SHAPE = {("grad-A", "A"), ("grad-B", "B"), ("path", "x")}
"""Inputs whose entries do not matter, only whether they fit."""

DEFAULTS = {
    f"{q.name}: {p.key}": (q.name, p.key)
    for q in QUANTITIES.values()
    for p in q.parameters
    if p.kind.name == "matrix" and not p.required
}


@over(DEFAULTS)
def test_another_matrix_in_place_of_the_one_of_that_name_is_another_result(case):
    name, key = case
    keys = BY_HAND[name][0] if name != "sum-of-terms" else "k = 1"
    used = dict(re.findall(r'(?m)^(\w+) = "([^"]*)"', keys)).get(key, key)
    named = used.removesuffix("-other")
    bare = re.sub(rf"(?m)^{key} = .*\n?", "", keys)
    others = {named, f"{named}-other", f"{named}-zero"} - {used}
    before, *results = values_of(
        name, keys, *(f'{bare}\n{key} = "{other}"' for other in others), more=IN_PLACE
    )
    results = [value for value in results if value is not None]  # None: a direction of length 0
    assert results
    same = all(np.array_equal(before, result) for result in results)
    assert same is ((name, key) in ONLY_A_SHAPE)


# ---------------- random lectures


def rounded(array, places):
    """Return an array as printed texts, rounded."""
    return np.array([f"{value:.{places}f}" for value in np.ravel(array)]).reshape(np.shape(array))


@st.composite
def random_lectures(draw):
    """Return the text of a lecture whose numbers NumPy computed, and the ids of its claims."""
    rng = np.random.default_rng(draw(seeds))
    size = st.integers(2, 5)
    out, into, r, places = draw(size), draw(size), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stabilized = draw(st.booleans())
    shapes = {"W0": (out, into), "A": (r, into), "B": (out, r), "x": (3, into), "grad_y": (3, out)}
    given_ = {name: rng.integers(-30, 30, shape) / 10 for name, shape in shapes.items()}
    W0, A, B, x, grad_y = given_.values()
    layer = LoRALinear(W0, A, B, 3.0, rank_stabilized=stabilized)
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    dense = Linear(W0)
    U, s, Vt = np.linalg.svd(W0)
    flag = f"alpha = 3\nrank-stabilized = {str(stabilized).lower()}"
    row, column = int(rng.integers(out)), int(rng.integers(into))
    claims = {
        "entry": (f'of = "B A"\nrow = {row + 1}\ncolumn = {column + 1}', (B @ A)[row, column]),
        "product": ('of = "B A"', B @ A),
        "delta-w": (flag, layer.delta_w),
        "merged": (flag, W0 + layer.delta_w),
        "output": (flag, y),
        "grad-A": (flag, grads["A"]),
        "grad-B": (flag, grads["B"]),
        "grad-x": (flag, grad_x),
        "grad-W0": ("", dense.backward(grad_y, dense.forward(x)[1])[1]["W"]),
        "frobenius-norm": ('of = "W0"', np.linalg.norm(W0)),
        "spectral-norm": ('of = "W0"', s[0]),
        "singular-values": ('of = "W0"', s),
        "truncation-error": ('of = "W0"\nr = 1', np.sqrt((s[1:] ** 2).sum())),
        "best-approximation": ('of = "W0"\nr = 1', s[0] * np.outer(U[:, 0], Vt[0])),
    }
    matrices = "".join(written(name, rounded(array, 1)) for name, array in given_.items())
    text = f'[lecture]\ntitle = "drawn"\n[matrices]\n{matrices}'
    for name, (keys, value) in claims.items():
        text += claim_text(name, keys, rounded(value, places).tolist(), id=name)
    return text, tuple(claims), rng


@given(random_lectures())
@settings(max_examples=10, deadline=None)
def test_a_lecture_rounded_right_is_confirmed_and_one_digit_off_is_a_slip_there_alone(case):
    text, ids, rng = case
    before = judged(text)
    assert {name: j.verdict for name, j in before.items()} == dict.fromkeys(ids, "confirmed")
    chosen = ids[int(rng.integers(len(ids)))]
    start = text.index("printed = ", text.index(f'id = "{chosen}"'))
    places = [at for at in range(start, text.index("\n", start)) if text[at].isdigit()]
    at = places[int(rng.integers(len(places)))]
    wrong = f"{text[:at]}{(int(text[at]) + 5) % 10}{text[at + 1 :]}"
    verdicts = {name: j.verdict for name, j in judged(wrong).items()}
    assert verdicts == {**dict.fromkeys(ids, "confirmed"), chosen: "slip"}


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ('model = "gpt2"\nr = 8', '["c_attn", "c_proj", "c_fc"]'),
        ('model = "peft-mlp"\nr = 8\nsaved = ["seq.4"]', '["seq.0", "seq.2"]'),
    ],
)
def test_all_linear_is_every_linear_map_that_is_not_saved_whole(base, named):
    one, other = values_of(
        "model-trainable", f'{base}\ntargets = "all-linear"', f"{base}\ntargets = {named}"
    )
    assert one is not None
    assert one == other
