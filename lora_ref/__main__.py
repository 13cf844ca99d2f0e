"""``python -m lora_ref``: the command line, for those whose PATH does not have it."""

import sys

from lora_ref.cli import main

if __name__ == "__main__":
    sys.exit(main())
