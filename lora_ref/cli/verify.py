"""``lora-ref verify``: recompute and judge the article, the literature, or one's own lecture."""

import argparse
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from lora_ref.cli.door import FAILED, GOOD, Outcome, as_json, can_print, colour
from lora_ref.errors import LoraRefError
from lora_ref.names import nearest

SAYS = "recompute and judge the article's claims, the literature's, or your own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    from lora_ref.ledger import claim
    from lora_ref.ledger.literature import figure

    verdicts = tuple(dict.fromkeys((*claim.VERDICTS, *figure.VERDICTS)))
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="claims to judge; all if none is named"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--literature", action="store_true", help="published numbers of papers and libraries"
    )
    which.add_argument("--file", metavar="FILE.toml", help="a lecture's own numbers")
    parser.add_argument("--paper", metavar="P", help="with --literature: those of one source")
    parser.add_argument("--verdict", choices=verdicts, help="show the claims of one verdict")
    parser.add_argument(
        "--order", choices=("worst", "article"), default="worst", help="of the text report"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON object on stdout")
    forms.add_argument("--markdown", action="store_true", help="a page, as in docs/")


def run(options: argparse.Namespace) -> Outcome:
    """Recompute and judge."""
    if options.paper is not None and not options.literature:
        raise LoraRefError("--paper chooses among the literature, expected --literature with it")
    if options.literature:
        return _literature(options)
    return _lecture(options) if options.file is not None else _document(options)


def _document(options: argparse.Namespace) -> Outcome:
    """Judge the article's claims."""
    from lora_ref.ledger import CLAIMS, judge, report

    chosen = _chosen(options.ids, CLAIMS)
    judgements, status, problems = _judged(options, [judge(claim) for claim in chosen])
    if options.json:
        return Outcome(as_json(report.as_dict(judgements)), status, problems)
    if options.markdown:
        return Outcome(report.as_markdown(judgements).rstrip("\n"), status, problems, page=True)
    if options.order == "worst":
        judgements = report.worst_first(judgements)
    text = report.as_text(
        judgements, width=_width(), chinese=can_print("低秩：“”"), colour=colour()
    )
    return Outcome(text, status, problems)


def _literature(options: argparse.Namespace) -> Outcome:
    """Judge published numbers."""
    from lora_ref.ledger import literature
    from lora_ref.ledger.literature import report

    if options.paper is not None and options.paper not in literature.PAPERS:
        known = literature.PAPERS
        raise LoraRefError(
            f"no source is called {options.paper!r}, expected one of: {', '.join(known)}"
            f"{nearest(options.paper, known)}"
        )
    figures = _chosen(options.ids, literature.FIGURES)
    figures = [f for f in figures if options.paper in (None, f.source.key)]
    if not figures:
        raise LoraRefError(f"none of the numbers named is of the source {options.paper!r}")
    judgements, status, problems = _judged(options, [literature.judge(f) for f in figures])
    if options.json:
        return Outcome(as_json(report.as_dict(judgements)), status, problems)
    if options.markdown:
        return Outcome(report.as_markdown(judgements).rstrip("\n"), status, problems, page=True)
    if options.order == "worst":
        judgements = report.worst_first(judgements)
    return Outcome(report.as_text(judgements, width=_width(), colour=colour()), status, problems)


def _lecture(options: argparse.Namespace) -> Outcome:
    """Judge the numbers of a teacher's own file."""
    from lora_ref.ledger import lecture

    own = lecture.read(options.file)
    every = lecture.judge(own)
    wanted = {claim.id for claim in _chosen(options.ids, [j.claim for j in every])}
    chosen = [j for j in every if j.claim.id in wanted]
    judgements, status, problems = _judged(options, chosen)
    if options.json:
        return Outcome(as_json(lecture.report.as_dict(own, judgements)), status, problems)
    if options.markdown:
        page = lecture.report.as_markdown(own, judgements).rstrip("\n")
        return Outcome(page, status, problems, page=True)
    text = lecture.report.as_text(own, judgements, width=_width(), colour=colour())
    return Outcome(text, status, problems)


def _chosen(ids: Sequence[str], among: Iterable[Any]) -> list[Any]:
    """Return what the ids name, all if there is none."""
    by_id = {one.id: one for one in among}
    for unknown in (name for name in ids if name not in by_id):
        raise LoraRefError(f"no claim is called {unknown!r}{nearest(unknown, by_id)}")
    return [one for one in by_id.values() if not ids or one.id in ids]


def _judged(
    options: argparse.Namespace, judgements: list[Any]
) -> tuple[list[Any], int, tuple[str, ...]]:
    """Return the judgements to show, the exit status, and what is wrong with the ledger itself."""
    problems = tuple(problem for j in judgements for problem in j.problems)
    if options.verdict:
        judgements = [j for j in judgements if j.verdict == options.verdict]
        if not judgements and not problems:
            raise LoraRefError(f"none of these claims comes out as {options.verdict!r}")
    return judgements, FAILED if problems else GOOD, problems


def _width() -> int:
    return min(120, shutil.get_terminal_size((100, 24)).columns)
