"""``lora-ref verify``: recompute and judge."""

import argparse
import shutil

from lora_ref.cli.door import FAILED, GOOD, Outcome, as_json, can_print, colour, nearest
from lora_ref.errors import LoraRefError

SAYS = "recompute and judge the article's claims"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    from lora_ref.ledger.claim import VERDICTS

    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="claims to judge; all if none is named"
    )
    parser.add_argument("--verdict", choices=VERDICTS, help="show the claims of one verdict")
    parser.add_argument(
        "--order", choices=("worst", "article"), default="worst", help="of the text report"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON object on stdout")
    forms.add_argument("--markdown", action="store_true", help="the page docs/ledger.md")


def run(options: argparse.Namespace) -> Outcome:
    """Recompute and judge the article's claims."""
    from lora_ref.ledger import CLAIMS, judge, report

    by_id = {claim.id: claim for claim in CLAIMS}
    for unknown in (name for name in options.ids if name not in by_id):
        raise LoraRefError(f"no claim is called {unknown!r}{nearest(unknown, by_id)}")
    judgements = [judge(claim) for claim in CLAIMS if not options.ids or claim.id in options.ids]
    problems = tuple(problem for j in judgements for problem in j.problems)
    if options.verdict:
        judgements = [j for j in judgements if j.verdict == options.verdict]
        if not judgements and not problems:
            raise LoraRefError(f"none of these claims comes out as {options.verdict!r}")
    status = FAILED if problems else GOOD
    if options.json:
        return Outcome(as_json(report.as_dict(judgements)), status, problems)
    if options.markdown:
        return Outcome(report.as_markdown(judgements).rstrip("\n"), status, problems, page=True)
    if options.order == "worst":
        judgements = report.worst_first(judgements)
    width = min(120, shutil.get_terminal_size((100, 24)).columns)
    text = report.as_text(judgements, width=width, chinese=can_print("低秩：“”"), colour=colour())
    return Outcome(text, status, problems)
