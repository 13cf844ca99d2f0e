"""Write the pages that are generated from the package: ``python docs/build.py``, or ``make docs``.

A page of which only a part is generated keeps the rest; the part stands between two marks.
"""

import re
from collections.abc import Callable
from pathlib import Path

from lora_ref.claims import article, judge, literature, report
from lora_ref.claims.quantities import page as vocabulary

HERE = Path(__file__).parent


def of_article() -> str:
    """Return the claims of the article with their verdicts."""
    judgements = [judge(claim) for claim in article().claims]
    return report.as_markdown(judgements, [article()], "lora-ref verify --markdown")


def of_literature() -> str:
    """Return the published numbers of all other sources with their verdicts."""
    judgements = [judge(claim) for source in literature() for claim in source.claims]
    command = "lora-ref verify --literature --markdown"
    return report.as_markdown(judgements, literature(), command)


def of_vocabulary() -> str:
    """Return the page on adding a source, with the vocabulary as it is now."""
    text = (HERE / "add-a-source.md").read_text(encoding="utf-8")
    tables = f"<!-- vocabulary -->\n\n{vocabulary.as_markdown()}\n<!-- end of vocabulary -->"
    return re.sub(
        r"<!-- vocabulary -->.*<!-- end of vocabulary -->", lambda _: tables, text, flags=re.DOTALL
    )


PAGES: dict[str, Callable[[], str]] = {
    "article.md": of_article,
    "literature.md": of_literature,
    "add-a-source.md": of_vocabulary,
}
"""Every page that is written here, and what it is to hold."""

if __name__ == "__main__":
    for name, text in PAGES.items():
        (HERE / name).write_text(text(), encoding="utf-8", newline="\n")
