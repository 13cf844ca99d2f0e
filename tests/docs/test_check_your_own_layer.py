"""`docs/check-your-own-layer.md`: its blocks are run, and print what the page shows."""

import doctest
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "check-your-own-layer.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_block_is_run_and_prints_what_is_shown(monkeypatch):
    def show(message, category, *_):
        print(f"{category.__name__}: {message}", file=sys.stdout)  # which doctest reads

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show)
        failures, tried = doctest.testfile(
            str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
        )
    assert failures == 0
    assert tried > 30
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert all(language == "python" and code.startswith(">>> ") for language, code in blocks)


def test_the_page_is_linked_where_the_readme_shows_the_checker():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## The checker\n")[2].partition("\n## ")[0]
    assert "(docs/check-your-own-layer.md)" in section
