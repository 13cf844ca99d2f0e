"""What `import lora_ref` adds to `import numpy`, in fresh processes."""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from tests.bench.row import Row, Target

CODE = """
import sys, time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import lora_ref
bare = time.perf_counter()
from lora_ref import LoRALinear
end = time.perf_counter()
print(between - start, bare - between, end - between, int("matplotlib" in sys.modules))
"""

NUMPY, ADDED, LAYER, MATPLOTLIB = (
    "import numpy, ms",
    "import lora_ref beyond numpy, ms",
    "the same and LoRALinear, ms",
    "matplotlib in sys.modules",
)


def once() -> tuple[float, ...]:
    """Return seconds for NumPy, lora_ref beyond it, with a layer; and whether matplotlib came."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return tuple(float(word) for word in done.stdout.split())


def rows() -> Iterator[Row]:
    """Yield the row of the import."""
    once()  # writes the .pyc files
    numpy, added, layer, matplotlib = zip(*(once() for _ in range(15)), strict=True)
    yield Row(
        "import",
        "the median of 15 fresh processes, and whether matplotlib came along",
        {
            NUMPY: 1e3 * median(numpy),
            ADDED: 1e3 * median(added),
            LAYER: 1e3 * median(layer),
            MATPLOTLIB: max(matplotlib),
        },
        (Target(ADDED, "<", 30.0), Target(MATPLOTLIB, "<=", 0.0)),
    )
