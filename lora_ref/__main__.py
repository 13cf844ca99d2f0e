"""``python -m lora_ref``: the command line where ``lora-ref`` is not on the PATH."""

import sys

from lora_ref.cli import main

if __name__ == "__main__":
    sys.exit(main())
