"""`docs/questions.md`: every cell is run, and prints what the page says that it prints."""

import ast
import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from cases import each

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "questions.md").read_text(encoding="utf-8")
NUMBERS = range(1, 31)
LONGEST, WIDEST = 14, 100  # lines of a cell, characters of a line

# owner, repository, kind and number on GitHub: where each question was asked
THREADS = {
    1: (
        "microsoft/LoRA/issues/172",
        "microsoft/LoRA/issues/148",
        "microsoft/LoRA/issues/16",
    ),
    2: (
        "microsoft/LoRA/issues/98",
        "microsoft/LoRA/issues/114",
        "microsoft/LoRA/issues/121",
        "microsoft/LoRA/issues/142",
        "huggingface/peft/issues/1060",
        "microsoft/LoRA/pull/14",
    ),
    3: (
        "microsoft/LoRA/issues/59",
        "Guitaricet/relora/issues/18",
        "Lightning-AI/litgpt/issues/1229",
    ),
    4: (
        "microsoft/LoRA/issues/101",
        "bitsandbytes-foundation/bitsandbytes/issues/762",
        "ml-explore/mlx-examples/issues/982",
        "rasbt/LLMs-from-scratch/issues/821",
        "rasbt/LLMs-from-scratch/issues/1079",
        "Blaizzy/mlx-vlm/issues/841",
        "HandsOnLLM/Hands-On-Large-Language-Models/issues/59",
    ),
    5: (
        "huggingface/peft/issues/983",
        "MohammadrezaBanaei/LoRA-XS/issues/1",
        "jingyaogong/minimind/issues/787",
    ),
    6: (
        "huggingface/peft/issues/315",
        "microsoft/LoRA/issues/61",
    ),
    7: (
        "microsoft/LoRA/issues/34",
        "microsoft/LoRA/issues/61",
        "Lightning-AI/lit-llama/pull/185",
    ),
    8: (
        "huggingface/peft/issues/1388",
        "huggingface/peft/issues/1904",
        "huggingface/peft/issues/1836",
        "huggingface/peft/issues/2502",
        "meta-pytorch/torchtune/issues/1101",
    ),
    9: (
        "huggingface/peft/issues/1043",
        "huggingface/peft/issues/1080",
        "huggingface/peft/issues/2105",
        "huggingface/peft/issues/2321",
        "artidoro/qlora/issues/28",
        "unslothai/unsloth-zoo/pull/810",
    ),
    10: (
        "huggingface/peft/issues/1155",
        "huggingface/peft/issues/643",
        "huggingface/peft/issues/3761",
        "huggingface/peft/pull/2918",
        "huggingface/peft/pull/3111",
    ),
    11: (
        "microsoft/LoRA/issues/24",
        "microsoft/LoRA/issues/95",
        "huggingface/peft/issues/664",
        "huggingface/peft/issues/1469",
        "huggingface/peft/issues/1514",
    ),
    12: (
        "huggingface/peft/issues/1020",
        "huggingface/peft/pull/733",
        "artidoro/qlora/issues/260",
        "ymcui/Chinese-LLaMA-Alpaca/issues/466",
    ),
    13: (
        "bitsandbytes-foundation/bitsandbytes/issues/440",
        "bitsandbytes-foundation/bitsandbytes/issues/938",
        "bitsandbytes-foundation/bitsandbytes/issues/968",
        "bitsandbytes-foundation/bitsandbytes/issues/1772",
        "artidoro/qlora/issues/94",
        "artidoro/qlora/issues/299",
    ),
    14: (
        "NVIDIA/TensorRT-LLM/issues/1668",
        "vllm-project/vllm/pull/6909",
    ),
    15: (
        "huggingface/peft/issues/312",
        "huggingface/peft/issues/825",
        "huggingface/peft/pull/2939",
        "arcee-ai/mergekit/pull/240",
    ),
    16: (
        "huggingface/peft/issues/2907",
        "huggingface/trl/issues/2428",
        "smallcloudai/refact/issues/311",
    ),
    17: (
        "axolotl-ai-cloud/axolotl/issues/3652",
        "hiyouga/LlamaFactory/issues/2156",
    ),
    18: (
        "NVlabs/DoRA/issues/11",
        "nbasyl/DoRA/issues/1",
        "huggingface/peft/issues/2348",
        "catid/dora/issues/4",
    ),
    19: (
        "paiml/aprender/pull/2170",
        "ooples/AiDotNet/pull/256",
        "huggingface/peft/pull/2153",
    ),
    20: (
        "microsoft/LoRA/issues/109",
        "Lightning-AI/lit-llama/issues/429",
        "Lightning-AI/lit-llama/pull/277",
    ),
    21: (
        "thinking-machines-lab/tinker-feedback/issues/67",
        "sillsdev/silnlp/issues/394",
        "baichuan-inc/Baichuan2/issues/336",
        "QwenLM/Qwen3-VL/issues/127",
        "hiyouga/LlamaFactory/issues/4225",
    ),
    22: (
        "huggingface/peft/issues/515",
        "huggingface/peft/issues/1389",
        "unslothai/unsloth/issues/2142",
        "turboderp-org/exllamav2/issues/169",
        "vllm-project/vllm/pull/39278",
    ),
    23: (
        "huggingface/peft/issues/2873",
        "huggingface/peft/issues/2264",
        "huggingface/peft/issues/837",
        "huggingface/peft/issues/262",
        "modelscope/ms-swift/issues/4006",
    ),
    24: (
        "huggingface/peft/issues/1750",
        "huggingface/peft/issues/1298",
        "huggingface/peft/issues/2864",
        "hiyouga/LlamaFactory/issues/6446",
    ),
    25: (
        "microsoft/LoRA/issues/76",
        "microsoft/LoRA/pull/155",
        "microsoft/LoRA/issues/142",
    ),
    26: (
        "huggingface/peft/pull/3007",
        "NovaSky-AI/SkyRL/pull/664",
        "NVIDIA-NeMo/Automodel/pull/1300",
        "NVIDIA-NeMo/Megatron-Bridge/issues/2964",
    ),
    27: (
        "huggingface/peft/issues/1142",
        "microsoft/LoRA/issues/120",
        "lm-sys/FastChat/issues/581",
        "huggingface/transformers/issues/26221",
        "locuslab/open-unlearning/issues/178",
        "kongds/E5-V/issues/19",
    ),
    28: (
        "KohakuBlueleaf/LyCORIS/issues/29",
        "KohakuBlueleaf/LyCORIS/issues/23",
        "huggingface/peft/pull/956",
        "huggingface/peft/issues/2469",
    ),
    29: (
        "huggingface/peft/pull/2845",
        "lm-sys/FastChat/issues/1558",
        "BeileiCui/SurgicalDINO/issues/7",
        "meta-pytorch/torchtune/issues/1935",
    ),
    30: (
        "huggingface/peft/issues/940",
        "huggingface/peft/issues/1161",
        "huggingface/peft/issues/2295",
        "huggingface/peft/pull/2313",
    ),
}


class Section(NamedTuple):
    """One question: what stands between two headings, taken apart."""

    title: str
    answer: str
    cell: str
    printed: str
    threads: str


FORM = re.compile(
    r"\n(?P<answer>(?:.+\n)+)"
    r"\n```python\n(?P<cell>(?:.*\n)*?)```\n"
    r"\n```text\n(?P<printed>(?:.*\n)*?)```\n"
    r"\n(?P<threads>Asked in: (?:.+\n)+)\n?"
)
HEAD, *PARTS = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)


def taken_apart(title: str, text: str) -> Section:
    found = FORM.fullmatch(text)
    assert found, f"{title}: expected an answer, a cell, what it prints, and the threads"
    return Section(title, **found.groupdict())


SECTIONS = [taken_apart(*pair) for pair in zip(PARTS[::2], PARTS[1::2], strict=True)]


def number(section: Section) -> int:
    return int(section.title.split(".")[0])


def slug(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(t) for t in re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)}


each_section = each("section", SECTIONS)


def test_all_questions_are_there_in_order():
    assert [number(section) for section in SECTIONS] == list(NUMBERS)
    assert list(THREADS) == list(NUMBERS)


@each_section
def test_a_cell_prints_what_the_page_shows(section):
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(section.cell, section.title, "exec"), {"__name__": "cell"})
    assert out.getvalue() == section.printed
    assert section.printed.strip()


@each_section
def test_a_cell_is_short_and_needs_nothing_but_numpy_and_lora_ref(section):
    lines = section.cell.splitlines()
    assert len(lines) <= LONGEST
    assert max(map(len, lines + section.printed.splitlines())) <= WIDEST
    modules = set()
    for node in ast.walk(ast.parse(section.cell)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).split(".")[0])
    assert modules - sys.stdlib_module_names <= {"numpy", "lora_ref"}


@each_section
def test_nothing_is_printed_that_could_differ_between_machines(section):
    assert not re.search(r"-0\.?0*(?![\d.])|\.\d{8}|\d[eE][+-]?\d\d|nan|inf\b", section.printed)


@each_section
def test_an_answer_is_two_to_five_sentences(section):
    assert 2 <= len(re.findall(r"[.?](?=\s)", section.answer)) <= 5


@each_section
def test_every_number_of_an_answer_is_asked_for_or_computed(section):
    """Names such as GPT-2 and 4-bit hold no number; neither does the section of a paper."""
    prose = re.sub(
        r"`[^`]*`|\]\([^)]*\)|section [\d.]+|[Ee]quation \d|PEFT [\d.]+", " ", section.answer
    )
    stated = re.findall(r"(?<![\w.,-])\d+(?:[.,]\d+)*[MB]?(?![\w-])", prose)
    shown = set(re.findall(r"\d+(?:[.,]\d+)*[MB]?", section.title + section.cell + section.printed))
    assert not {text for text in stated if text not in shown}


@each_section
def test_the_threads_are_those_of_the_table(section):
    links = re.findall(r"\[([^]]+)\]\((https?://[^)]+)\)", section.threads)
    assert [url for _, url in links] == [
        f"https://github.com/{t}" for t in THREADS[number(section)]
    ]
    for text, url in links:
        owner, name, _, count = url.removeprefix("https://github.com/").split("/")
        assert text == f"{owner}/{name}#{count}"


def test_no_other_link_leaves_the_project():
    outside = re.findall(r"https?://[^)\s]+", PAGE)
    assert len(outside) == sum(map(len, THREADS.values()))


def test_links_inside_the_project_lead_to_a_heading():
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        page = (DOCS / path).resolve() if path else DOCS / "questions.md"
        assert page.is_file(), target
        assert not anchor or anchor in anchors(page), target


def test_the_contents_name_every_question_once():
    listed = re.findall(r"^- \[(.+)\]\(#(.+)\)$", HEAD, re.MULTILINE)
    assert sorted(title for title, _ in listed) == sorted(s.title for s in SECTIONS)
    assert all(anchor == slug(title) for title, anchor in listed)
