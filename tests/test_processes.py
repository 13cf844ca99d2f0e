"""Processes of the study: none is left behind, whatever ends the one that started it."""

import os
import signal
import subprocess
import sys

import pytest

from lora_ref.errors import LoraRefError
from lora_ref.study.parallel import map_unordered, workers

ENDS_ITSELF = """
import os, signal, time
from lora_ref.study.parallel import map_unordered, workers
with workers(2, 2) as pool:
    list(map_unordered(os.write, [(1, b"up ")] * 2, pool))
    os.kill(os.getpid(), signal.{name})
    time.sleep(600)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_no_worker_outlives_a_study_that_is_ended(name):
    if not hasattr(signal, name):
        pytest.skip(f"there is no {name} on this system")
    command = [sys.executable, "-c", ENDS_ITSELF.format(name=name)]
    done = subprocess.run(command, capture_output=True, timeout=60)  # to the end of all who write
    assert done.returncode != 0
    assert done.stdout == b"up up "


def test_a_worker_that_is_killed_is_a_sentence():
    expected = "a process of the study ended before its run, .* expected 2 that stay"
    with pytest.raises(LoraRefError, match=expected), workers(2, 2) as pool:
        list(map_unordered(os._exit, [(7,), (7,)], pool))
