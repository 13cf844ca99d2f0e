"""What the reasons of the literature claim beyond their own number, computed another way."""

import re
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest

from lora_ref.claims import DATA, literature
from lora_ref.claims.expand import expand
from lora_ref.claims.file_errors import FileErrors, Lines
from lora_ref.claims.printed import agreement, read_printed
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.counting import (
    IA3,
    AdaLoRA,
    DoRA,
    LoHa,
    LoKr,
    LoRA,
    Method,
    Prefix,
    PrefixEmbed,
    adapter_params,
    count_parameters,
    explain,
)
from lora_ref.counting.models import get_model
from lora_ref.counting.models.examples import any_model
from lora_ref.counting.targets import Targets
from lora_ref.quantize import NF4_BLOCK, levels_of, quantize
from tests.fixtures.judged import judged

CLAIMS = {claim.id: claim for source in literature() for claim in source.claims}
QV, FOUR = ("query", "value"), ("lora", "loha", "lokr", "adalora")
QKVUD = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")


def printed(id: str) -> str:
    return str(judged()[id].printed)


def value(id: str) -> Any:
    return judged()[id].value.item()


def compute(name: str, **inputs: Any) -> Any:
    return QUANTITIES[name].compute(**inputs)


# ---------------- LoRA Without Regret, and the service of its authors

TABLE = {
    "mlp-256": ("mlp",),
    "attn-256": ("attn",),
    "all-256": ("mlp", "attn"),
    "mlp-128": ("mlp",),
}


@pytest.mark.parametrize("row", TABLE)
def test_the_posts_table_is_what_its_authors_service_counts_with_the_head(row):
    """Both are of one group of authors; the service's numbers were measured."""
    rank = int(row.split("-")[1])
    parts = {
        c: read_printed(printed(f"tinker-llama-3-8b-{c}")).number for c in (*TABLE[row], "unembed")
    }
    said = printed(f"regret-{row}")
    assert agreement(said, rank * sum(parts.values()))
    assert agreement(said, rank * (sum(parts.values()) - parts["unembed"])) is None


def adam_on_a_layer(p: float, q: float, eps_A: float, eps_B: float, steps: int = 50) -> np.ndarray:
    """Train A and B by Adam, A and its rate times p, those of B times q, alpha / (p q)."""
    rng = np.random.default_rng(0)
    A, x, target = p * rng.normal(size=(2, 5)), rng.normal(size=(5, 8)), rng.normal(size=(4, 8))
    params, rates, eps = [A, np.zeros((4, 2))], (0.01 * p, 0.01 * q), (eps_A, eps_B)
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in params]
    for t in range(1, steps + 1):
        (A, B), scaling = params, 1 / (p * q)
        grad_y = scaling * B @ A @ x - target
        for i, g in enumerate((scaling * B.T @ grad_y @ x.T, scaling * grad_y @ x.T @ A.T)):
            m, v = moments[i]
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + eps[i])
            params[i] = params[i] - rates[i] * step
    return params[1] @ params[0] / (p * q)


def test_epsilon_of_a_is_scaled_by_p_and_epsilon_of_b_by_q():
    p, q, eps = 2.0, 8.0, 0.5  # powers of two: what is invariant is so to the bit
    plain = adam_on_a_layer(1, 1, eps, eps)
    np.testing.assert_array_equal(adam_on_a_layer(p, q, eps / p, eps / q), plain)
    np.testing.assert_array_equal(adam_on_a_layer(q, q, eps / q, eps / q), plain)
    theirs = adam_on_a_layer(p, q, eps / q, eps / q)
    assert np.linalg.norm(theirs - plain) > 0.01 * np.linalg.norm(plain)


# ---------------- the LoRA paper


WIDTHS = {
    "lora-gpt2-medium-adapter-l-0.37m": (24, 1024),
    "lora-gpt2-medium-adapter-l-11m": (24, 1024),
    "lora-gpt2-large-adapter-l-0.88m": (36, 1280),
    "lora-gpt2-large-adapter-l-23m": (36, 1280),
}


@pytest.mark.parametrize("id", WIDTHS)
def test_one_width_of_adapter_l_fits_and_without_the_layer_norms_the_next_one(id):
    copies, d = WIDTHS[id]
    m = CLAIMS[id].rule.check.inputs["m"]
    alone = {w: copies * adapter_params(d, w) for w in range(1, 2 * m)}
    fits = [w for w, n in alone.items() if agreement(printed(id), n + 2 * d * copies)]
    assert (fits, [w for w, n in alone.items() if agreement(printed(id), n)]) == ([m], [m + 1])


@pytest.mark.parametrize("id", WIDTHS)
def test_some_width_of_adapter_l_fits_a_random_number_as_often_as_the_reason_says(id):
    copies, d = WIDTHS[id]
    unit = read_printed(printed(id)).unit
    members = {round(copies * adapter_params(d, m) / unit) for m in range(1, 400)}
    share = sum(n in members for n in range(1000)) / 1000
    (said,) = re.findall(r"chance of (\d+)%", judged()[id].reason)
    assert share == pytest.approx(int(said) / 100, abs=0.01)


def test_no_width_of_adapter_h_gives_the_number_of_adapter_l():
    id = "lora-gpt2-medium-adapter-h"
    found = {m: 48 * adapter_params(1024, m) for m in range(1, 300)}
    assert not [m for m, n in found.items() if agreement(printed(id), n)]
    number = read_printed(printed(id)).number
    assert min(found, key=lambda m: abs(found[m] - number)) == CLAIMS[id].check.inputs["m"]
    assert printed(id) == printed("lora-gpt2-medium-adapter-l-11m")


def test_all_five_numbers_of_prefix_layer_are_above_the_formula():
    ids = [id for id in CLAIMS if "prefix-layer" in id]
    assert len(ids) == 5
    assert all(value(id) < read_printed(printed(id)).number for id in ids)


def test_the_checkpoint_of_gpt2_medium_fits_the_computed_count_and_not_the_printed_one():
    file, count = "lora-gpt2-medium-checkpoint", "lora-gpt2-medium"
    assert value(file) == 4 * value(count) == 1.5 * 1024**2
    assert agreement(printed(file), 4 * read_printed(printed(count)).number) is None


@pytest.mark.parametrize("model", ["gpt2-medium", "gpt2-large"])
def test_a_thousandth_of_the_model_gives_what_table_3_prints_for_lora(model):
    whole = get_model(model).total
    assert agreement(printed(f"lora-{model}"), Fraction(whole, 1000)) == "rounded"
    assert f"{whole / 1000:,.0f}" in judged()[f"lora-{model}"].reason


def test_bitfit_would_need_twelve_widths_a_block():
    d, blocks = 12288, 96
    assert value("lora-gpt3-bitfit") == 11 * d * blocks + d
    assert agreement(printed("lora-gpt3-bitfit"), 12 * d * blocks) == "rounded"


def test_table_4_spans_a_decade_around_ten_thousand():
    spans = [float(n) for n in judged()["lora-parameters-10000"].value]
    assert [round(n) for n in spans] == [37_142, 4_643]


@pytest.mark.parametrize(("d", "r"), [(96, 6), (64, 16)])
def test_random_subspaces_shrink_a_norm_as_table_7_says(d, r):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((d, d)) * np.geomspace(1, 30, d)  # no isotropy of W is needed
    squares = []
    for _ in range(200):
        U, V = (np.linalg.qr(rng.standard_normal((d, r)))[0] for _ in range(2))
        squares.append(np.linalg.norm(U.T @ W @ V) ** 2)
    predicted = float(compute("random-subspace-norm", norm=Fraction(1), r=r, d=d))
    assert np.sqrt(np.mean(squares)) == pytest.approx(np.linalg.norm(W) * predicted, rel=0.03)


# ---------------- NF4


def test_the_printed_levels_are_the_float32_values_bit_for_bit():
    texts = [float(printed(f"nf4-level-{code}")) for code in range(16)]
    assert np.array_equal(np.array(texts, np.float32), levels_of("nf4"))
    assert np.array_equal(np.array(texts), levels_of("nf4").astype(float))


def test_the_share_of_each_code_is_what_quantising_normal_values_gives():
    values = np.random.default_rng(0).standard_normal((20_000, NF4_BLOCK)).astype(np.float32)
    counted = np.bincount(quantize(values).indices.reshape(-1), minlength=16) / values.size
    expected = compute("nf4-usage", block=NF4_BLOCK).value.astype(float)
    assert expected.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(counted, expected, rtol=0.01)


def test_a_longer_block_uses_the_outer_codes_less():
    short, long = (compute("nf4-usage", block=block).value for block in (64, 4096))
    assert max(long[[0, -1]]) < min(short[[0, -1]])
    assert long[7] > short[7]


def test_the_areas_under_the_normal_curve_add_up_and_differ():
    areas = compute("nf4-areas").value
    assert float(sum(areas)) == pytest.approx(1, abs=1e-10)
    assert min(areas) < Fraction(1, 16) < max(areas)


# ---------------- VeRA and DoRA


def test_the_gpt3_rows_count_the_shared_matrices_and_the_roberta_rows_do_not():
    for r in (16, 256):
        assert judged()[f"vera-gpt3-175b-{r}-vera"].verdict == "by-rule"
        for model in ("roberta-base", "roberta-large"):
            inputs = {"model": model, "r": r, "targets": ("query", "key"), "method": "vera"}
            shared = compute("model-trainable", **inputs, rules=("vera-shared",))
            assert agreement(printed(f"vera-{model}-{r}-vera"), shared) is None


def test_every_size_of_tables_1_and_13_is_four_bytes_for_each_number_of_its_row():
    for id, j in judged().items():
        if id.startswith("vera-") and id.endswith("-bytes"):
            row = CLAIMS[id.removesuffix("-bytes")]
            shared = row.rule.check.value().item() if row.rule else row.check.value().item()
            assert j.value.item() == 4 * shared, id


def test_the_one_size_that_slips_mixes_both_kinds_of_units():
    size = value("vera-gpt3-175b-256-lora-bytes")
    assert size == 16 * 288 * 2**20
    assert agreement("4.6 G", Fraction(size, 2**20) * 10**6) == "rounded"
    assert agreement("4.6 G", Fraction(size, 2**30) * 10**9) is None


def test_the_own_bytes_of_the_contradicted_row_are_what_its_formula_gives():
    assert CLAIMS["vera-roberta-large-16-vera"].conflict.printed == f"{195 * 1024 // 4:,}"


def test_what_is_said_about_the_two_slips_of_dora_is_so():
    without = count_parameters(get_model("llama-3-8b"), LoRA(16, QKVUD)).share
    assert agreement(printed("dora-3-8b-half"), without) is not None
    assert agreement(printed("dora-rank-16-lora"), Fraction("0.0083") / 2) == "rounded"


def rounded_half_up(value: Fraction, decimals: int) -> Fraction:
    return Fraction(floor(value * 10**decimals + Fraction(1, 2)), 10**decimals)


def test_rounding_twice_gives_the_column_of_lora_and_not_that_of_dora():
    """In table 15; rank 32 stands there as in table 1."""
    model = get_model("llama-7b")

    def twice(method: Method) -> Fraction:
        count = count_parameters(model, method)
        share = 100 * Fraction(count.trainable, count.total)
        return rounded_half_up(rounded_half_up(share, 3), 2) / 100

    lora = {r: printed(f"dora-rank-{r}-lora") for r in (4, 8, 16, 64)}
    lora[32] = printed("dora-7b-lora")
    for r, text in lora.items():
        assert twice(LoRA(r, QKVUD)) == read_printed(text).number, r
    text = printed("dora-rank-4")
    assert twice(DoRA(4, QKVUD)) == rounded_half_up(value("dora-rank-4"), 4)
    assert twice(DoRA(4, QKVUD)) != read_printed(text).number


def test_dora_differs_from_lora_by_one_number_a_row():
    model = get_model("llama-7b")
    dora, lora = (count_parameters(model, method(32, QKVUD)).trainable for method in (DoRA, LoRA))
    assert dora - lora == 32 * (4 * 4096 + 11008)


def test_gemma_has_the_parameters_of_its_report():
    assert any_model("gemma-3-1b").total == 999_885_952


# ---------------- a blog's paragraph on QLoRA


def derived(id: str, name: str) -> Fraction:
    return Fraction(CLAIMS[id].names[name]().item())


@pytest.mark.parametrize("id", ["tips-qlora-memory", "tips-qlora-time"])
def test_what_may_be_printed_so_lies_between_the_ends_that_its_reason_gives(id):
    check = CLAIMS[id].check
    assert check
    new, old = (read_printed(str(check.inputs[key])) for key in ("new", "old"))
    ends = [
        (new.number + sign * new.unit / 2) / (old.number - sign * old.unit / 2) - 1
        for sign in (-1, 1)
    ]
    assert sorted(ends) == sorted([derived(id, "least"), derived(id, "most")])
    said = read_printed(printed(id))
    reached = ends[0] - said.unit / 2 <= said.number <= ends[1] + said.unit / 2
    assert reached == (id == "tips-qlora-memory")


def test_the_printed_time_is_that_of_fp4_cut_and_the_hours_are_those_of_nf4():
    time = "tips-qlora-time"
    assert agreement(printed(time), derived(time, "fp4")) == "truncated"
    assert agreement(printed(time), derived(time, "nf4")) is None
    assert derived(time, "least") <= derived(time, "nf4") <= derived(time, "most")
    assert agreement("2.79", Fraction("10059.53") / 3600) == "rounded"
    assert agreement("1.85", Fraction("6685.75") / 3600) == "truncated"


# ---------------- PEFT


def test_no_integer_that_peft_prints_is_left_unexplained():
    ids = [id for id in CLAIMS if id.startswith("peft-") and id.endswith(("-trainable", "-all"))]
    assert len(ids) == 2 * len({id.rpartition("-")[0] for id in ids}) > 40
    found = {(judged()[id].verdict, judged()[id].agreement) for id in ids}
    assert found <= {("confirmed", "exact"), ("by-rule", None)}


def added(method: Method) -> int:
    return sum(part.parameters for part in method.parts(get_model("vit-base")))


def test_the_totals_of_the_documentation_chain_exactly():
    """From LoHa on, a total is the one before it and what is added: the wraps pile up."""
    totals = {m: int(printed(f"peft-vit-{m}-all").replace(",", "")) for m in FOUR}
    base, head = get_model("vit-base").total, 101 * 768 + 101
    methods = LoRA(16, QV), LoHa(16, QV), LoKr(16, QV), AdaLoRA(12, QV)
    lora, loha, lokr, adalora = (added(method) for method in methods)
    assert (loha, lokr, adalora) == (1_179_648, 38_400, 442_656 + 24)
    assert totals["lora"] == base + 2 * head + lora
    assert totals["loha"] == base + 2 * head + loha
    assert totals["lokr"] == totals["loha"] + lokr
    assert totals["adalora"] == totals["lokr"] + adalora


def rules_of(claim: Any) -> list[str]:
    return list(claim.rule.check.inputs.get("rules", ())) if claim.rule else []


def of_peft() -> Iterator[tuple[str, dict[str, Any]]]:
    text = (DATA / "peft.toml").read_text(encoding="utf-8")
    for i, table in enumerate(tomllib.loads(text)["claim"]):
        for one in expand(FileErrors("peft", Lines("")), ("claim", i), table):
            yield one.table["id"].format(**one.table), one.table


METHODS = {"lora": LoRA, "loha": LoHa, "lokr": LoKr}


def test_explaining_a_printed_integer_finds_the_rules_that_the_file_names():
    tried = 0
    for id, table in of_peft():
        rules = rules_of(CLAIMS[id])
        if not rules or not id.endswith(("-trainable", "-all")):
            continue
        kind = table.get("method", "lora")
        method = (
            AdaLoRA(12, QV) if kind == "adalora" else METHODS[kind](table["r"], table["targets"])
        )
        found = explain(
            int(printed(id).replace(",", "")),
            any_model(table["model"]),
            method,
            modules_to_save=table.get("saved", ()),
            extra_rules=[rule for rule in rules if rule.startswith("leftover")],
        )
        count = "trainable" if id.endswith("-trainable") else "total"
        assert any(f.count == count and set(f.rules) == set(rules) for f in found), id
        tried += 1
    assert tried >= 9


@pytest.mark.parametrize(
    "rules", [("leftover:loha:8",), ("leftover:lokr:16",), ("leftover:lora:16",), ()]
)
def test_no_other_leftover_explains_the_documentation(rules):
    for name, method in (("lokr", LoKr(16, QV)), ("adalora", AdaLoRA(12, QV))):
        model = any_model("vit-base with 101 classes")
        counted = count_parameters(
            model, method, modules_to_save=("classifier",), rules=("saved-twice", *rules)
        )
        assert agreement(printed(f"peft-vit-{name}-all"), counted.total) is None


def test_the_rank_of_the_lokr_example_changes_nothing():
    assert len({added(LoKr(r, QV)) for r in (16, 17, 64)}) == 1


def test_the_biases_that_t5_was_given_are_72_vectors():
    claim = CLAIMS["peft-docstring-t5-all"]
    targeted = Targets(("q", "v")).of(get_model("t5-base"))
    assert sum(module.copies for module in targeted) == 72
    assert claim.rule.check.value().item() - claim.check.value().item() == 72 * 768 == 55_296


def test_soft_prompts_leave_nothing_behind_on_their_page():
    """Three examples on one page again, and here each total starts from the bare model."""
    bare = {
        value(f"peft-bloomz-{name}-all") - value(f"peft-bloomz-{name}-trainable")
        for name in ("p-tuning", "prefix", "prompt")
    }
    assert bare == {any_model("bloomz-560m").total}
    model = any_model("bloomz-560m")
    assert count_parameters(model, Prefix(20)).trainable == value("peft-bloomz-prefix-trainable")
    assert count_parameters(model, PrefixEmbed(8)).trainable == value(
        "peft-bloomz-prompt-trainable"
    )


def test_ia3_trains_a_vector_for_each_target():
    model = any_model("mt0-large")
    assert count_parameters(model, IA3(("k", "v", "wi_1"))).trainable == value("peft-ia3-trainable")
