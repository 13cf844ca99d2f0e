"""``lora-ref count --model``: the line, the tables, the JSON, and every wrong use in a sentence."""

import io
import json
import re
from dataclasses import replace

import pytest
from cases import each

from lora_ref import cli, counting

GPT2 = ("--model", "gpt2", "--rank", "8", "--targets", "c_attn")
LINE = "trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364"
VIT = ("--model", "vit-base", "--targets", "query,value", "--head", "classifier:101")


def count(capsys, *arguments, status=0):
    """What the command prints on stdout; it must have that status and say nothing else."""
    assert cli.main(["count", *arguments]) == status
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_first_line_is_the_one_that_peft_prints(capsys):
    assert count(capsys, *GPT2).splitlines()[0] == LINE


def test_json_has_exactly_the_stated_keys(capsys):
    body = json.loads(count(capsys, *GPT2, "--json"))
    assert body == {
        "schema": 1,
        "model": "gpt2",
        "rank": 8,
        "targets": ["c_attn"],
        "trainable": 294_912,
        "total": 124_734_720,
        "share": 294_912 / 124_734_720,
    }


def test_json_of_an_explanation_has_one_key_more(capsys):
    body = json.loads(count(capsys, *VIT, "--rank", "16", "--explain", "86,543,818", "--json"))
    assert [*body][-1] == "explanations"
    assert body["explanations"][0] == {
        "count": "total", "rules": ["saved-twice"], "trainable": 667_493, "total": 86_543_818,
    }  # fmt: skip
    none = json.loads(count(capsys, *GPT2, "--explain", "294913", "--json", status=1))
    assert (none["explanations"], none["other_ranks"]) == ([], [])


@pytest.mark.parametrize("extra", [(), ("--dora",), ("--method", "adalora"), ("--save", "ln_f")])
def test_the_tables_stand_in_columns_and_add_up(capsys, extra):
    head, parts, sizes = count(capsys, *GPT2, *extra).split("\n\n")[1:4]
    assert head.startswith("GPT-2")
    rows = [re.split(r"  +", line.strip()) for line in parts.splitlines()[1:]]
    numbers = {row[0]: int(row[1].replace(",", "")) for row in rows}
    trained = sum(numbers[row[0]] for row in rows if row[-1].startswith("trained"))
    assert trained == numbers["trainable"]
    assert numbers["total"] == counting.get_model("gpt2").total + sum(
        numbers[row[0]] for row in rows if row[-1] in ("trained", "frozen")
    )
    lines = sizes.splitlines()
    assert len({len(line) for line in lines}) == 1, "columns"
    weights, gradients, states, together = (
        int(re.split(r"  +", line.strip())[1].replace(",", "")) for line in lines[3:]
    )
    assert weights + gradients + states == together
    assert weights == 4 * numbers["total"]
    assert states == 2 * gradients == 2 * 4 * numbers["trainable"]


def test_dtype_and_optimiser_set_the_training_memory_and_rules_do_not(capsys):
    page = count(capsys, *GPT2, "--dtype", "bfloat16", "--optimizer", "sgd", "--rule", "base-only")
    assert "all params: 124,439,808" in page.splitlines()[0]
    assert "under base-only" in page
    assert re.search(r"training \(bfloat16, sgd\): weights +249,469,440 ", page)
    assert re.search(r"optimiser states +0 ", page)
    assert "Activations are left out" in page


@each(
    ("arguments", "trainable"),
    [
        ((*GPT2, "--dora"), 294_912 + 12 * 2304),
        ((*GPT2, "--method", "dora"), 294_912 + 12 * 2304),
        ((*GPT2, "--method", "vera"), 12 * (2304 + 8)),
        ((*GPT2, "--method", "loha"), 2 * 294_912),
        ((*GPT2, "--method", "lokr"), 12 * (48 * 24 + 48 * 8 + 8 * 32)),
        ((*GPT2, "--method", "lokr", "--decompose-both"), 12 * 8 * (48 + 24 + 48 + 32)),
        ((*GPT2, "--method", "lokr", "--factor", "8"), 12 * (64 + 8 * (288 + 96))),
        ((*GPT2, "--method", "adalora"), 294_912 + 12 * 8),
        (("--model", "gpt2", "--rank", "8", "--method", "houlsby"), 24 * (16 * 768 + 8 + 768)),
        (("--model", "gpt2", "--rank", "8", "--method", "pfeiffer"), 12 * (16 * 768 + 8 + 768)),
        (("--model", "gpt2", "--rank", "8", "--method", "lin"), 12 * (18 * 768 + 8 + 768)),
        (("--model", "gpt2", "--method", "prefix", "--tokens", "20"), 20 * 24 * 768),
        (("--model", "gpt2", "--method", "prefix-embed", "--tokens", "20"), 20 * 768),
        (("--model", "gpt2", "--method", "prefix-layer", "--tokens", "20"), 20 * 12 * 768),
        (("--model", "gpt2", "--method", "bitfit"), 11 * 12 * 768 + 768),
        (("--model", "gpt2", "--method", "full"), 124_439_808),
        (("--model", "gpt2", "--method", "top", "--blocks", "2"), 2 * (12 * 768**2 + 13 * 768)),
        (
            (
                "--model", "gpt2", "--method", "ia3", "--targets", "c_attn", "mlp.c_proj",
                "--feedforward", "mlp.c_proj",
            ),
            64_512,
        ),
        (("--model", "gpt2", "--rank", "8", "--targets", "c_attn.q,c_attn.v"), 24 * 16 * 768),
        ((*VIT, "--rank", "16"), 667_493),
        ((*GPT2, "--rank", "3000"), 12 * 3000 * 3072),
        (("--model", "gpt2", "--rank", "8"), 294_912),  # c_attn, as PEFT without targets
        ((*GPT2[:4], "--targets", "all-linear"), 12 * 8 * (3072 + 1536 + 2 * 3840)),
        ((*GPT2[:4], "--targets", r".*\.[0-4]\.attn\.c_\w{4,5}"), 5 * 8 * 4608),
        ((*GPT2, "--layers", "0-3,8"), 5 * 8 * 3072),
        ((*GPT2[:4], "--targets", "c_proj", "--exclude", "mlp.c_proj"), 12 * 8 * 1536),
        ((*GPT2[:4], "--targets", "h.3.attn.c_attn"), 8 * 3072),
        ((*GPT2, "--rank-pattern", r"\d1\.attn.c_attn=2"), 8 * 3072 * 11 + 2 * 3072),
        ((*GPT2, "--bias", "lora_only"), 294_912 + 12 * 2304),
        ((*GPT2, "--bias", "all"), 294_912 + 11 * 12 * 768 + 768),
        ((*GPT2, "--tokens", "3"), 294_912 + 3 * 768),
        (
            (
                "--model", "vit-base", "--rank", "8", "--targets", "all-linear",
                "--head", "classifier:10",
            ),
            12 * 8 * (6 * 768 * 2 - 4 * 768 + 2 * 3840) + 7690,
        ),
    ],
)  # fmt: skip
def test_every_method_is_made_from_its_options(capsys, arguments, trainable):
    assert json.loads(count(capsys, *arguments, "--json"))["trainable"] == trainable
    assert f"trainable params: {trainable:,} ||" in count(capsys, *arguments)


def test_the_list_of_models_has_every_model_and_its_total(capsys):
    lines = count(capsys, "--models").splitlines()
    assert len(lines) == len(counting.MODELS) >= 15
    for line, model in zip(lines, counting.MODELS.values(), strict=True):
        assert line.split()[:2] == [model.name, f"{model.total:,}"]
    assert len({line.index(line.split()[2]) for line in lines}) == 1
    listed = json.loads(count(capsys, "--models", "--json"))["models"]
    assert [m["name"] for m in listed] == list(counting.MODELS)


def test_explain_names_the_rule_says_it_and_gives_both_counts(capsys):
    given = ("--model", "peft-mlp", "--rank", "8", "--targets", "seq.0,seq.2", "--save", "seq.4")
    page = count(capsys, *given, "--explain", "56164")
    assert page.startswith("trainable params: 52,162 || all params: 4,096,162")
    assert "56,164 is the trainable count under saved-twice-trained (total 4,100,164)." in page
    said = " ".join(page.split())
    assert f"saved-twice-trained: {counting.RULES['saved-twice-trained']}" in said


def test_explain_says_when_there_is_none_and_how_near_it_is(capsys):
    page = count(capsys, *GPT2, "--explain", "294913", status=1)
    assert "294,913: none found" in page
    assert "Plain counts: trainable 294,912, total 124,734,720." in page
    assert "The nearest is 294,912, 1 less: the trainable count with no rule" in page


def test_explain_says_at_which_other_rank_a_number_comes_out(capsys):
    page = count(capsys, *GPT2, "--explain", "589824", status=1)
    total = 124_439_808 + 589_824
    assert page.endswith(
        f"\n\nAt r = 16 it is the trainable count with no rule (total {total:,}): 589,824.\n"
    )
    page = count(capsys, *GPT2, "--explain", "1.18MB", "--dtype", "bfloat16", status=1)
    assert "At r = 16 it is the trainable count with no rule" in page
    body = json.loads(count(capsys, *GPT2, "--explain", "0.59M", "--json", status=1))
    assert [(one["r"], one["trainable"]) for one in body["other_ranks"]] == [(16, 589_824)]
    page = count(capsys, *GPT2, "--explain", "125.9M", status=1)
    total = "At r = {} it is the total with no rule (trainable {}): {}."
    assert page.splitlines()[-2:] == [
        total.format(39, "1,437,696", "125,877,504"),
        total.format(40, "1,474,560", "125,914,368"),
    ]


def test_explain_reads_a_count_that_is_printed_rounded(capsys):
    page = count(capsys, *GPT2, "--explain", "0.29M")
    assert page.endswith(
        "290,000 is the trainable count with no rule (total 124,734,720): 294,912.\n"
    )
    assert "125,000,000 is the total with no rule" in count(capsys, *GPT2, "--explain", "125 M")
    page = count(capsys, *GPT2, "--explain", "0.28M", status=1)
    assert "280,000: none found, among single rules.\n" in page
    page = count(capsys, *GPT2, "--explain", "126M", status=1)
    assert "At r = 29 it is the total" in page
    assert page.endswith("It comes out at 22 more ranks.\n")


LLAMA = ("--model", "llama-7b", "--rank", "16", "--targets", "q_proj,v_proj")


def test_explain_takes_a_size_and_says_in_which_unit_it_comes_out(capsys):
    said = " ".join(count(capsys, *LLAMA, "--explain", "32.8MB").split())
    assert "32.8MB is the trainable count with no rule" in said
    assert "8,388,608 numbers in float32, 32.768 MB by thousand-kib." in said
    assert f"thousand-kib: {counting.UNITS['thousand-kib'].text}" in said
    said = " ".join(count(capsys, *LLAMA, "--explain", "13.5 GB").split())
    assert said.endswith("6,746,804,224 numbers in bfloat16, 13.494 GB.")
    body = json.loads(count(capsys, *LLAMA, "--explain", "32 MB", "--json"))
    assert body["explanations"] == [
        {"count": "trainable", "rules": ["binary-units"], "trainable": 8_388_608,
         "total": 6_746_804_224, "dtype": "float32", "size": 32.0},
    ]  # fmt: skip


def test_a_size_that_no_unit_gives_is_told_beside_the_plain_ones(capsys):
    page = count(capsys, *LLAMA, "--explain", "14.5GB", status=1)
    assert "14.5GB: none found, among units and single rules." in page
    rows = [line.split() for line in page.splitlines()]
    assert ["total", "bfloat16", "13.494", "12.567", "13.177"] in rows
    assert ["trainable", "float32", "0.034", "0.031", "0.033"] in rows
    page = count(capsys, *LLAMA, "--explain", "13.5GB", "--dtype", "float32", status=1)
    assert "none found" in page
    assert "bfloat16" not in page


def test_explain_tries_the_rules_that_are_given_too(capsys):
    arguments = (*VIT, "--rank", "12", "--method", "adalora", "--explain", "87614722")
    assert "none found" in count(capsys, *arguments, status=1)
    page = count(capsys, *arguments, "--rule", "leftover:loha:16,leftover:lokr:16")
    assert "total under saved-twice and leftover:loha:16 and leftover:lokr:16" in page


def test_a_rule_that_changes_nothing_is_told_on_stderr(capsys):
    assert cli.main(["count", *GPT2, "--rule", "vera-shared", "tied-twice"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("trainable params: 294,912 || all params: 163,332,096")
    assert err == "lora-ref: the rule vera-shared changes nothing here\n"


def test_letters_that_cannot_be_printed_are_spelled_out(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    gpt2 = replace(counting.get_model("gpt2"), title="模型")
    monkeypatch.setattr(counting, "get_model", lambda name: gpt2)
    assert cli.main(["count", *GPT2, "--method", "vera"]) == 0
    page = terminal.buffer.getvalue().decode("ascii")
    assert r"\u6a21\u578b: vera, r = 8" in page


def test_a_model_of_ones_own_is_read_from_a_file(capsys, tmp_path):
    file = tmp_path / "mine.json"
    body = {
        "name": "mine", "title": "a matrix", "width": 8, "blocks": 1,
        "modules": [{"name": "w", "kind": "linear", "shape": [6, 8], "bias": 6}],
    }  # fmt: skip
    file.write_text(json.dumps(body), encoding="utf-8")
    page = count(capsys, "--spec", str(file), "--rank", "2", "--targets", "w")
    assert page.startswith("trainable params: 28 || all params: 82 || ")
    file.write_text("{", encoding="utf-8")
    for path in (file, tmp_path / "nowhere.json"):
        assert cli.main(["count", "--spec", str(path), "--rank", "2", "--targets", "w"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert path.name in err


@each(
    ("arguments", "sentence"),
    [
        (["--model", "gpt-2", *GPT2[2:]], "gpt2"),
        (["--model", "gpt2", "--rank", "8", "--targets", "c_atn"], "'c_atn'; the nearest: c_attn"),
        ([*GPT2, "--method", "lorra"], "no method is called 'lorra'; the nearest: lora"),
        ([*GPT2, "--rule", "saved-twise"], "'saved-twise'; the nearest: saved-twice"),
        ([*GPT2, "--save", "ln_g"], "no module 'ln_g' to save"),
        ([*GPT2, "--dtype", "floot32"], "dtype is 'floot32'"),
        ([*GPT2, "--dtype", "floot32", "--json"], "dtype is 'floot32'"),
        ([*GPT2, "--optimizer", "lion", "--explain", "7"], "optimizer is 'lion'"),
        (["--model", "gpt2", "--rank", "-3", "--targets", "c_attn"], "--rank is -3, expected"),
        (["--model", "gpt2", "--rank", "0", "--targets", "c_attn"], "--rank is 0, expected"),
        (["--model", "gpt2", "--rank", "8.5", "--targets", "c_attn"], "--rank is '8.5', expected"),
        (["--model", "gpt2", "--targets", "c_attn"], "--rank is missing: lora needs --rank and"),
        (["--model", "vit-base", "--rank", "8"], "targets are not named, and PEFT has no default"),
        ([*GPT2, "--layers", "4-2"], "--layers is 2, expected a whole number from 4"),
        ([*GPT2, "--layers", "12"], "gpt2 has no layer 12, expected 0 to 11"),
        ([*GPT2, "--layers", ","], "--layers is ',', expected numbers such as 0-3,8"),
        ([*GPT2, "--rank-pattern", "c_attn"], "--rank-pattern is 'c_attn', expected such as"),
        ([*GPT2, "--rank-pattern", "(=3"], "rank_pattern is '(', no regular expression"),
        ([*GPT2, "--bias", "some"], "bias is 'some', expected one of: none, all, lora_only"),
        ([*GPT2, "--target-parameters", "w"], "gpt2 has no bare parameter 'w'"),
        ([*GPT2, "--tokens", "50258"], "tokens is 50258, expected at most 50257"),
        (["--model", "gpt2", "--method", "bitfit", "--layers", "3"], "bitfit wraps no targets"),
        (
            ["--model", "gpt2", "--rank", "8", "--targets", "c_attn", "all-linear"],
            "--targets has 'all-linear' and more: an expression stands alone",
        ),
        (
            ["--model", "gpt2", "--rank", "8", "--targets", ".*c_attn", "--layers", "3"],
            "layers go with names, and the targets are '.*c_attn'",
        ),
        (
            ["--model", "gpt2", "--rank", "8", "--targets", "[.*"],
            "targets is '[.*', no regular expression",
        ),
        (["--model", "gpt2", "--rank", "8", "--targets", ","], "at least one"),
        (["--model", "gpt2", "--method", "prefix"], "--tokens is missing: prefix needs --tokens"),
        (["--rank", "8"], "--in and --out missing"),
        (["--in", "4", "--out", "4"], "--rank missing"),
        (["--targets", "c_attn", "--rank", "8"], "expected one of --model, --from and --spec"),
        ([*GPT2, "--spec", "x.json"], "expected one of --model, --from and --spec"),
        ([*GPT2, "--in", "4"], "--in is of one matrix and --model of a model"),
        ([*GPT2, "--blocks", "4"], "lora takes no --blocks, expected --rank and --targets"),
        (["--model", "gpt2", "--method", "bitfit", "--rank", "8"], "bitfit takes no --rank"),
        ([*GPT2, "--dora", "--method", "vera"], "--dora and --method vera are two methods"),
        ([*GPT2, "--head", "classifier"], "--head is 'classifier', expected NAME:LABELS"),
        ([*GPT2, "--head", "classifier:0"], "--head is 0, expected"),
        ([*GPT2, "--head", ":7"], "is not a module's name"),
        ([*GPT2, "--head", "lm_head:7"], "overlap"),
        ([*GPT2, "--save", "c_attn"], "both saved and targeted"),
        (["--models", "--model", "gpt2"], "--models lists what is known and takes no --model"),
        ([*GPT2, "--explain", "0"], "--explain is 0, expected"),
        ([*GPT2, "--explain", "many"], "--explain is 'many', expected"),
        ([*GPT2, "--explain", ",MB"], "--explain is 'MB', expected"),
        ([*GPT2, "--explain", "1.2345k"], "--explain is '1.2345k', expected a whole number of"),
        ([*GPT2, "--explain", "5 PB"], "--explain is '5 PB', expected"),
        ([*GPT2, "--explain", "5MB", "--dtype", "float31"], "dtype is 'float31', expected one of"),
        (["--model", "gpt2", "--method", "top", "--blocks", "13"], "blocks is 13, expected"),
        (["--model", "gpt2", "--rank", "9" * 5000, "--targets", "c_attn"], "5,000 characters"),
        ([*GPT2, "--explain", "9" * 5000], "--explain has 5,000 characters, expected"),
        (["--in", "9" * 5000, "--out", "4", "--rank", "2"], "--in has 5,000 characters"),
        ([*GPT2, "--rule", "leftover:loha:" + "9" * 5000], "does not say what is left over"),
    ]
)  # fmt: skip
def test_wrong_use_is_one_sentence_and_exit_2(capsys, arguments, sentence):
    assert cli.main(["count", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.startswith("lora-ref: ")
    assert err.count("\n") == 1
    assert len(err) < 700
