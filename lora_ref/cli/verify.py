"""``lora-ref verify``: recompute and judge the article, the literature, or one's own file."""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lora_ref.cli.outcome import FAILED, GOOD, Outcome, as_json, can_print, use_colour
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

if TYPE_CHECKING:
    from lora_ref import claims

HELP = "recompute and judge the article's claims, the literature's, or your own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="claims to judge; all if none is named"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--literature", action="store_true", help="published numbers of papers and libraries"
    )
    which.add_argument("--file", metavar="FILE.toml", help="a lecture's or a paper's own numbers")
    parser.add_argument("--paper", metavar="P", help="with --literature: those of one source")
    parser.add_argument("--verdict", metavar="V", help="show the claims of one, such as slip")
    parser.add_argument(
        "--fail-on",
        metavar="V,V",
        help="exit with 1 if a claim judged has one of these verdicts, such as slip,false",
    )
    parser.add_argument(
        "--order",
        choices=("worst", "article"),
        default="worst",
        help="of the text; a file keeps its own",
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON object on stdout")
    forms.add_argument("--markdown", action="store_true", help="a page, as in docs/")
    # no choices for verdicts: reading them here would import the claims for every command
    parser.set_defaults(wrong_usage=parser.error)


def run(options: argparse.Namespace) -> Outcome:
    """Recompute and judge."""
    from lora_ref import claims
    from lora_ref.claims import idle_inputs, report

    sources, command = _sources(options)
    known = ", ".join(claims.VERDICTS)
    if options.verdict not in (None, *claims.VERDICTS):
        options.wrong_usage(f"--verdict is {options.verdict!r}, expected one of: {known}")
    unwanted = _names(options.fail_on)
    for unknown in (name for name in unwanted if name not in claims.VERDICTS):
        options.wrong_usage(f"--fail-on has {unknown!r}, expected some of: {known}")
    by_id = {claim.id: claim for source in sources for claim in source.claims}
    for unknown in (name for name in options.ids if name not in by_id):
        raise LoraRefError(f"no claim is called {unknown!r}{nearest(unknown, by_id)}")
    if options.paper is not None:
        sources = [source for source in sources if source.key == options.paper]
    chosen = [
        claim
        for source in sources
        for claim in source.claims
        if not options.ids or claim.id in options.ids
    ]
    if not chosen:
        raise LoraRefError(f"none of the claims named is of the source {options.paper!r}")
    judgements = [claims.judge(claim) for claim in chosen]
    if options.file is not None:
        judgements = [replace(j, varied=idle_inputs.note(j)) for j in judgements]
    problems = tuple(problem for j in judgements for problem in j.problems)
    problems += tuple(
        f"{j.claim.id} is judged {j.verdict}" for j in judgements if j.verdict in unwanted
    )
    if options.verdict:
        judgements = [j for j in judgements if j.verdict == options.verdict]
        if not judgements and not problems:
            raise LoraRefError(f"none of these claims has the verdict {options.verdict!r}")
    status = FAILED if problems else GOOD
    if options.json:
        return Outcome(as_json(report.as_dict(judgements)), status, problems)
    if options.markdown:
        page = report.as_markdown(judgements, sources, command).rstrip("\n")
        return Outcome(page, status, problems, page=True)
    text = report.as_text(
        judgements,
        sources,
        width=min(120, shutil.get_terminal_size((100, 24)).columns),
        grouped=options.order == "worst" and options.file is None,
        chinese=can_print("低秩：“”±"),
        colour=use_colour(),
    )
    return Outcome(text, status, problems)


def _names(text: str | None) -> list[str]:
    """Return the names of a list with commas."""
    return [] if text is None else [name.strip() for name in text.split(",")]


def _sources(options: argparse.Namespace) -> "tuple[Sequence[claims.Source], str]":
    """Return what is to be judged, and the command that writes its page."""
    from lora_ref import claims

    if options.paper is not None and not options.literature:
        raise LoraRefError("--paper chooses among the literature, expected --literature with it")
    if options.file is not None:
        return [claims.read(options.file)], f"lora-ref verify --file {options.file} --markdown"
    if not options.literature:
        return [claims.article()], "lora-ref verify --markdown"
    sources = list(claims.literature())
    known = [source.key for source in sources]
    if options.paper not in (None, *known):
        raise LoraRefError(
            f"no source is called {options.paper!r}, expected one of: {', '.join(known)}"
            f"{nearest(options.paper, known)}"
        )
    return sources, "lora-ref verify --literature --markdown"
