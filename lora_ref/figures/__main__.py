"""Draw the figures of the pages: ``python -m lora_ref.figures DIR``; for maintainers.

Only those of ``docs/study.md``, which are the committed study's, and that of the README. The
others are no part of a page: `lora-ref figures` draws them in seconds, and a repository keeps every
version of a picture forever.
"""

import sys
from pathlib import Path

from lora_ref.errors import LoraRefError
from lora_ref.figures import PAGES, save_figures, save_study
from lora_ref.figures.write import make_folder
from lora_ref.study import committed


def main() -> None:
    """Draw what the pages show into the folder that is named."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m lora_ref.figures DIR")
    folder = Path(sys.argv[1])
    try:
        make_folder(folder)
        save_figures(folder, PAGES, formats=("png",))
        save_study(committed(), folder)
    except LoraRefError as error:
        raise SystemExit(f"lora_ref.figures: {error}") from None


if __name__ == "__main__":
    main()
