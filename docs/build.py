"""Write the pages that are generated from the package: ``python docs/build.py``, or ``make docs``.

A page of which only a part is generated keeps the rest; the part stands between two marks.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import conventions_page
import exercises_page
import summary_page

from lora_ref.claims import EXAMPLES, article, idle_inputs, judge, literature, read, report
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.claims.quantity import Parameter
from lora_ref.exercises import EXERCISES

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


def of_regret() -> str:
    """Return *LoRA Without Regret*, recomputed, with the counts of its authors' own service."""
    keys = ("lora-without-regret", "tinker-cookbook")
    sources = [source for source in literature() if source.key in keys]
    judgements = [judge(claim) for source in sources for claim in source.claims]
    _, _, rest = report.as_markdown(judgements, sources, "python docs/build.py").partition("\n")
    return f"# LoRA Without Regret, recomputed\n{rest}"


def of_vocabulary() -> str:
    """Return the page on adding a source, with its lecture judged and the vocabulary as it is."""
    text = (HERE / "add-a-source.md").read_text(encoding="utf-8")
    lecture = f"```text\n{judged_lecture()}\n```\n"
    parts = {"lecture": lecture, "vocabulary": tables_of_quantities()}
    for name, part in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n\n{part}\n{end}{rest.partition(end)[2]}"
    return text


def judged_lecture() -> str:
    """Return what ``lora-ref verify --file`` shows of the lecture among the files to copy."""
    lecture = read(EXAMPLES / "lecture.toml")
    judgements = [judge(claim) for claim in lecture.claims]
    judgements = [replace(j, varied=idle_inputs.note(j)) for j in judgements]
    return report.as_text(judgements, [lecture], grouped=False)


def of_exercises() -> str:
    """Return the exercises with the wrong answers that each recognises."""
    return exercises_page.as_markdown(tuple(EXERCISES.values()))


def tables_of_quantities() -> str:
    """Return a table of quantities for each topic.

    A key in brackets may be left out; what holds then stands behind it.
    """
    topics: dict[str, list[str]] = {}
    for q in QUANTITIES.values():
        keys = ", ".join(map(_key, q.parameters))
        row = f"| `{q.name}` | {q.meaning} | {keys} | {q.returns.description} |"
        topics.setdefault(q.topic, []).append(row)
    lines = []
    for topic in sorted(topics):
        lines += [f"### {topic}", "", "| quantity | what it is | keys | printed is |"]
        lines += ["|---|---|---|---|", *topics[topic], ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _key(parameter: Parameter) -> str:
    text = f"`{parameter.key}`"
    if parameter.kind.name in ("terms", "values"):
        text += " (a list)"
    if parameter.words:
        text += f" ({', '.join(parameter.words)})"
    if parameter.required:
        return text
    default = "" if parameter.default is None else f" = {parameter.default}".replace("F", "f")
    return f"[{text}]" if parameter.kind.name == "matrix" else f"[{text}{default}]"


PAGES: dict[str, Callable[[], str]] = {
    "article.md": of_article,
    "literature.md": of_literature,
    "lora-without-regret.md": of_regret,
    "add-a-source.md": of_vocabulary,
    "exercises.md": of_exercises,
    "summary.md": summary_page.as_markdown,
    "conventions.md": conventions_page.as_markdown,
}
"""Every page that is written here, and what it is to hold."""

if __name__ == "__main__":
    for name, text in PAGES.items():
        (HERE / name).write_text(text(), encoding="utf-8", newline="\n")
