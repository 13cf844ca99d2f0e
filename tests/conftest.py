"""Settings for every test, and which worker runs which file.

Property tests are not timed, and draw the same examples every time; `make fuzz` draws others, and
more of them.
"""

import gc
import os
from typing import Any

# before NumPy is loaded: the matrices here are small, and threads that wait for each other on a
# busy machine make some tests ten times as slow
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pytest
from hypothesis import settings

# young objects are looked through for circles as ever; looking through all that thousands of tests
# and their reports keep alive, as often as Python does, was a fifteenth of the time
gc.set_threshold(700, 10, 1000)

settings.register_profile("same", deadline=None, max_examples=10, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=200)
settings.load_profile("same")

PICTURES = ("tests/figures/", "tests/notebooks/")
"""One worker runs these: they draw the same figures, and the numbers in them are computed once."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "pictures" if nodeid.startswith(PICTURES) else super()._split_scope(nodeid)

    return Sharing(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_finish() -> None:
    """Keep what was collected out of later searches for circles: it stays to the end."""
    gc.freeze()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20210617)
