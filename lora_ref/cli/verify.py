"""``lora-ref verify``: recompute and judge the article, the literature, or one's own lecture."""

import argparse
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from lora_ref.cli.door import FAILED, GOOD, Outcome, as_json, can_print, colour
from lora_ref.errors import LoraRefError
from lora_ref.names import nearest

SAYS = "recompute and judge the article's claims, the literature's, or your own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="claims to judge; all if none is named"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--literature", action="store_true", help="published numbers of papers and libraries"
    )
    which.add_argument("--file", metavar="FILE.toml", help="a lecture's own numbers")
    parser.add_argument("--paper", metavar="P", help="with --literature: those of one source")
    parser.add_argument("--verdict", metavar="V", help="show the claims of one, such as slip")
    parser.add_argument(
        "--order",
        choices=("worst", "article"),
        default="worst",
        help="of the text; a file keeps its own",
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON object on stdout")
    forms.add_argument("--markdown", action="store_true", help="a page, as in docs/")
    # asked for here, the verdicts would load the ledgers whatever the command
    parser.set_defaults(wrong_usage=parser.error)


class Ledger(NamedTuple):
    """One of the three: what to judge, and how what came out is written."""

    verdicts: Sequence[str]
    judge: Callable[[], list[Any]]
    as_dict: Callable[[list[Any]], dict[str, Any]]
    as_markdown: Callable[[list[Any]], str]
    as_text: Callable[[list[Any]], str]


def run(options: argparse.Namespace) -> Outcome:
    """Recompute and judge."""
    if options.paper is not None and not options.literature:
        raise LoraRefError("--paper chooses among the literature, expected --literature with it")
    if options.literature:
        ledger = _literature(options)
    else:
        ledger = _lecture(options) if options.file is not None else _document(options)
    if options.verdict not in (None, *ledger.verdicts):
        known = ", ".join(ledger.verdicts)
        options.wrong_usage(f"--verdict is {options.verdict!r}, expected one of: {known}")
    judgements = ledger.judge()
    problems = tuple(problem for j in judgements for problem in j.problems)
    if options.verdict:
        judgements = [j for j in judgements if j.verdict == options.verdict]
        if not judgements and not problems:
            raise LoraRefError(f"none of these claims comes out as {options.verdict!r}")
    status = FAILED if problems else GOOD
    if options.json:
        return Outcome(as_json(ledger.as_dict(judgements)), status, problems)
    if options.markdown:
        return Outcome(ledger.as_markdown(judgements).rstrip("\n"), status, problems, page=True)
    return Outcome(ledger.as_text(judgements), status, problems)


def _document(options: argparse.Namespace) -> Ledger:
    """Return the ledger of the article's claims."""
    from lora_ref.ledger import CLAIMS, judge, report
    from lora_ref.ledger.claim import VERDICTS

    chosen = _chosen(options.ids, CLAIMS)

    def text(judgements: list[Any]) -> str:
        if options.order == "worst":
            judgements = report.worst_first(judgements)
        chinese = can_print("低秩：“”")
        return report.as_text(judgements, width=_width(), chinese=chinese, colour=colour())

    return Ledger(
        VERDICTS,
        lambda: [judge(claim) for claim in chosen],
        report.as_dict,
        report.as_markdown,
        text,
    )


def _literature(options: argparse.Namespace) -> Ledger:
    """Return the ledger of published numbers."""
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

    def text(judgements: list[Any]) -> str:
        if options.order == "worst":
            judgements = report.worst_first(judgements)
        return report.as_text(judgements, width=_width(), colour=colour())

    return Ledger(
        literature.VERDICTS,
        lambda: [literature.judge(figure) for figure in figures],
        report.as_dict,
        report.as_markdown,
        text,
    )


def _lecture(options: argparse.Namespace) -> Ledger:
    """Return the ledger of a teacher's own file, whose order is kept."""
    from lora_ref.ledger import lecture
    from lora_ref.ledger.claim import VERDICTS
    from lora_ref.ledger.lecture import report

    own = lecture.read(options.file)
    chosen = {claim.id for claim in _chosen(options.ids, own.claims)}
    return Ledger(
        VERDICTS,
        lambda: [j for j in lecture.judge(own) if j.claim.id in chosen],
        partial(report.as_dict, own),
        partial(report.as_markdown, own),
        partial(report.as_text, own, width=_width(), colour=colour()),
    )


def _chosen(ids: Sequence[str], among: Iterable[Any]) -> list[Any]:
    """Return what the ids name, all if there is none."""
    by_id = {one.id: one for one in among}
    for unknown in (name for name in ids if name not in by_id):
        raise LoraRefError(f"no claim is called {unknown!r}{nearest(unknown, by_id)}")
    return [one for one in by_id.values() if not ids or one.id in ids]


def _width() -> int:
    return min(120, shutil.get_terminal_size((100, 24)).columns)
