"""Draw the figures of the pages: ``python -m lora_ref.figures DIR``; for maintainers."""

import sys
from pathlib import Path

from lora_ref.figures import save_study
from lora_ref.study import committed


def main() -> None:
    """Draw the committed study into the folder that is named."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m lora_ref.figures DIR")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_study(committed(), folder)


if __name__ == "__main__":
    main()
