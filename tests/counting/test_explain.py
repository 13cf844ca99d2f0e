"""The counting rules, and the search for those that give a printed number."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.counting import (
    RULES,
    AdaLoRA,
    BitFit,
    Full,
    LoHa,
    LoKr,
    LoRA,
    Model,
    Module,
    VeRA,
    closest,
    count_parameters,
    explain,
    get_model,
)
from lora_ref.counting.rules import get_rule
from lora_ref.errors import LoraRefError

MODEL = Model(
    "toy",
    "",
    "",
    (
        Module("wte", "embedding", (101, 8)),
        Module("h.*.q", "linear", (11, 8), 0, 3),
        Module("h.*.up", "linear", (17, 11), 17, 3),
        Module("lm_head", "linear", (101, 8), 0, tied_to="wte"),
        Module("score", "linear", (7, 8), 7),
    ),
    width=8,
    blocks=3,
)
PLAIN = ("q", "up")
BY_RULE = {  # what each adds to the trainable count and to the total, with score saved
    "saved-twice": (0, 63),
    "saved-twice-trained": (63, 63),
    "saved-not-counted": (-63, -63),
    "packed-4bit": (0, -3 * (88 // 2 + 187 // 2)),
    "tied-twice": (0, 808),
    "injected-biases": (0, 33),
    "base-only": (0, -2 * 3 * (19 + 28)),
    "vera-shared": (0, 0),
    "head-too": (2 * (101 + 8), 2 * (101 + 8)),
    "leftover:loha": (0, 2 * 2 * 3 * (19 + 28)),
    "leftover:dora:5": (0, 3 * (5 * (19 + 28) + 28)),
}
FURTHER = ["leftover:dora:5"]


def with_rules(*rules, method=None):
    return count_parameters(MODEL, method or LoRA(2, PLAIN), modules_to_save=["score"], rules=rules)


@pytest.mark.parametrize("name", BY_RULE)
def test_a_rule_changes_the_counts_by_what_it_says(name):
    plain, counted = with_rules(), with_rules(name)
    change = counted.trainable - plain.trainable, counted.total - plain.total
    assert change == BY_RULE[name]
    assert counted.rules == (name,)


def test_every_rule_has_one_sentence_and_a_test():
    assert set(RULES) == {name.partition(":")[0] for name in BY_RULE}
    assert all(says.endswith(".") and says[0].isupper() for says in RULES.values())


def test_rules_add_up_in_any_order():
    names = ["saved-twice", "packed-4bit", "tied-twice", "leftover:loha", "leftover:dora:5"]
    forwards, backwards = with_rules(*names), with_rules(*names[::-1])
    assert (forwards.trainable, forwards.total) == (backwards.trainable, backwards.total)
    assert forwards.total - with_rules().total == sum(BY_RULE[name][1] for name in names)


def test_the_shared_pair_of_vera_counts_once_where_it_is_asked_for():
    pair = 2 * (11 + 17)
    plain = with_rules(method=VeRA(2, PLAIN))
    ruled = with_rules("vera-shared", method=VeRA(2, PLAIN))
    assert (ruled.trainable, ruled.total) == (plain.trainable + pair, plain.total + pair)


def test_4_bit_packing_leaves_out_the_head_and_what_is_saved():
    packed = with_rules().total - with_rules("packed-4bit").total
    untied = Model("m", "", "", (*MODEL.modules[:3], Module("lm_head", "linear", (101, 8))), 8, 3)
    unsaved = (
        count_parameters(MODEL, LoRA(2, PLAIN)).total
        - count_parameters(MODEL, LoRA(2, PLAIN), rules=["packed-4bit"]).total
    )
    alone = (
        count_parameters(untied, LoRA(2, PLAIN)).total
        - count_parameters(untied, LoRA(2, PLAIN), rules=["packed-4bit"]).total
    )
    assert unsaved - packed == 56 // 2, "score, unless it is trained whole"
    assert alone == packed, "the head is never packed"


@pytest.mark.parametrize("size", [0, 1, 2, 3])
@given(data=st.data())
def test_what_some_rules_print_is_explained_by_no_more_rules_than_were_applied(size, data):
    names = [name for name in BY_RULE if name != "vera-shared"]  # changes nothing of LoRA
    fitting = [
        chosen
        for chosen in combinations(names, size)
        if not any(
            get_rule(a, LoRA(2, PLAIN)).contradicts(get_rule(b, LoRA(2, PLAIN)))
            for a, b in combinations(chosen, 2)
        )
    ]
    chosen = data.draw(st.sampled_from(fitting))
    counted = with_rules(*chosen)
    for count in ("trainable", "total"):
        printed = getattr(counted, count)
        found = [
            e
            for e in explain(
                printed, MODEL, LoRA(2, PLAIN), modules_to_save=["score"], extra_rules=FURTHER
            )
            if e.count == count
        ]
        assert found, (count, chosen)
        assert len(found[0].rules) <= size
        for each in found:
            again = with_rules(*each.rules)
            assert (again.trainable, again.total) == (each.trainable, each.total)
            assert each.value == printed
            fewer = (set(e.rules) for e in found if e is not each)
            assert not any(rules < set(each.rules) for rules in fewer)


def test_the_plain_count_needs_no_rule():
    (only, *_) = explain(with_rules().total, MODEL, LoRA(2, PLAIN), modules_to_save=["score"])
    assert (only.count, only.rules) == ("total", ())


def test_rules_that_cancel_each_other_are_not_offered_where_fewer_will_do():
    modules = (
        Module("wte", "embedding", (7, 4)),
        Module("w", "linear", (6, 8)),
        Module("lm_head", "linear", (7, 4), tied_to="wte"),
    )
    model, method = Model("m", "", "", modules, 8, 1), LoRA(2, ["w"])
    cancel = count_parameters(model, method, rules=["tied-twice", "base-only"])
    assert cancel.total == count_parameters(model, method).total
    found = explain(cancel.total, model, method)
    assert [(each.count, each.rules) for each in found] == [("total", ())]


def test_none_found_is_an_answer_and_the_nearest_is_told():
    plain = count_parameters(MODEL, Full())
    assert explain(plain.total + 1, MODEL, Full()) == ()
    close = closest(plain.total + 1, MODEL, Full())
    assert (close.value, close.rules) == (plain.total, ())
    printed = with_rules("saved-twice").total - 1
    close = closest(printed, MODEL, LoRA(2, PLAIN), modules_to_save=["score"])
    assert (close.value, close.rules) == (printed + 1, ("saved-twice",))


@pytest.mark.parametrize(
    ("model", "head", "method", "printed", "count", "rules"),
    [
        ("peft-mlp", None, LoRA(8, ["seq.0", "seq.2"]), 56_164, "trainable", "saved-twice-trained"),
        ("peft-mlp", None, LoRA(8, ["seq.0", "seq.2"]), 4_100_164, "total", "saved-twice"),
        ("vit-base", 101, LoRA(16, ["query", "value"]), 86_543_818, "total", "saved-twice"),
        ("vit-base", 101, LoRA(16, ["query", "value"]), 86_466_149, "total", ""),
        ("bert-base", 2, LoRA(16, ["query", "value"]), 592_900, "trainable", "saved-twice-trained"),
        ("t5-base", None, LoRA(8, ["q", "v"]), 223_843_584, "total", "injected-biases"),
        ("llama-7b", None, LoRA(8, ["q_proj", "v_proj"]), 3_504_607_232, "total", "packed-4bit"),
        ("vit-base", 101, LoHa(16, ["query", "value"]), 87_133_642, "total", "saved-twice"),
        (
            "vit-base", 101, LoKr(16, ["query", "value"]), 87_172_042, "total",
            "saved-twice leftover:loha",
        ),
        (
            "vit-base", 101, AdaLoRA(12, ["query", "value"]), 87_614_722, "total",
            "saved-twice leftover:loha:16 leftover:lokr:16",
        ),
        (
            "gpt3-175b", None, VeRA(1, ["c_attn.q", "c_attn.v"]), 2_384_064, "trainable",
            "vera-shared",
        ),
    ],
)  # fmt: skip
def test_printed_numbers_are_explained(model, head, method, printed, count, rules):
    model, saved = get_model(model), []
    if head is not None:
        model, saved = model.plus([Module("head", "linear", (head, model.width), head)]), ["head"]
    elif model.name == "peft-mlp":
        saved = ["seq.4"]
    further = [name for name in rules.split() if name.count(":") == 2]
    found = explain(printed, model, method, modules_to_save=saved, extra_rules=further)
    assert (found[0].count, found[0].rules) == (count, tuple(rules.split()))
    assert {len(e.rules) for e in found} == {len(rules.split())}, "no longer one is offered"


def test_contradictions_and_unknown_rules_are_refused_in_a_sentence():
    for rules, sentence in (
        (["saved-twice", "saved-twice-trained"], "saved-twice and saved-twice-trained contradict"),
        (["base-only", "leftover:loha"], "base-only and leftover:loha contradict each other"),
        (["saved-twise"], "no counting rule is called 'saved-twise'; the nearest: saved-twice"),
        (["leftover"], "does not say what is left over, expected leftover:METHOD"),
        (["leftover:full"], "with one of: lora, dora"),
        (["leftover:loha:x"], "'leftover:loha:x' does not say"),
        (["leftover:loha:" + "9" * 5000], "does not say"),
        (["leftover:loha:0"], "r is 0"),
        ("tied-twice", "rules is 'tied-twice', expected a list"),
    ):
        with pytest.raises(LoraRefError, match=sentence):
            count_parameters(MODEL, LoRA(2, PLAIN), rules=rules)
    with pytest.raises(LoraRefError, match="full has no rank"):
        count_parameters(MODEL, Full(), rules=["leftover:loha"])
    with pytest.raises(LoraRefError, match="printed is 0"):
        explain(0, MODEL, Full())
    everything = Model("one", "", "", (Module("w", "linear", (2, 2)),), 2, 1)
    with pytest.raises(LoraRefError, match="under saved-not-counted nothing of one is counted"):
        count_parameters(everything, BitFit(), modules_to_save=["w"], rules=["saved-not-counted"])
