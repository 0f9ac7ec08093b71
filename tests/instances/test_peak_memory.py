"""The memory that a process is said to have held is its own."""

import subprocess
import sys

import numpy as np
import pytest

from maskgap.instances.peak_memory import peak_bytes

ASK = "from maskgap.instances.peak_memory import peak_bytes; print(peak_bytes())"
HELD = 300 << 20


def test_it_has_what_was_held_and_given_back() -> None:
    before = peak_bytes()
    held = np.ones(before + HELD, np.uint8)
    del held
    assert before + HELD <= peak_bytes() < 2 * before + 2 * HELD


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere it is getrusage's")
def test_what_the_parent_held_is_not_counted() -> None:
    held = np.ones(HELD, np.uint8)
    said = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(said.stdout) < held.nbytes
