"""A teacher's own claims: a TOML file of matrices and printed numbers, recomputed and judged.

``judge(read("my_lecture.toml"))`` gives the ledger's judgements, `report` writes them down. The
form of the file and its vocabulary are described in `docs/your-lecture.md`.
"""

from lora_ref.ledger.lecture import report
from lora_ref.ledger.lecture.claims import Outside
from lora_ref.ledger.lecture.judge import judge
from lora_ref.ledger.lecture.read import Lecture, parse, read
from lora_ref.ledger.lecture.vocabulary import VOCABULARY

__all__ = ["VOCABULARY", "Lecture", "Outside", "judge", "parse", "read", "report"]
