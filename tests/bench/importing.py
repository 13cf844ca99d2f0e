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
end = time.perf_counter()
print(between - start, end - between, int("matplotlib" in sys.modules))
"""

NUMPY, ADDED, MATPLOTLIB = (
    "import numpy, ms",
    "import lora_ref beyond numpy, ms",
    "matplotlib in sys.modules",
)


def once() -> tuple[float, ...]:
    """Return seconds for NumPy, seconds more for lora_ref, and whether matplotlib came too."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return tuple(float(word) for word in done.stdout.split())


def rows() -> Iterator[Row]:
    """Yield the row of the import."""
    once()  # writes the .pyc files
    numpy, added, matplotlib = zip(*(once() for _ in range(15)), strict=True)
    yield Row(
        "import",
        "the median of 15 fresh processes, and whether matplotlib came along",
        {NUMPY: 1e3 * median(numpy), ADDED: 1e3 * median(added), MATPLOTLIB: max(matplotlib)},
        (Target(ADDED, "<", 30.0), Target(MATPLOTLIB, "<=", 0.0)),
    )
