"""The peak memory of a process is its own, not that of its parent."""

import subprocess
import sys

import numpy as np

from ptx_app.peak_memory import peak_memory


def test_the_peak_is_the_processs_own():
    block = np.ones(2**26)  # half a GiB
    here = peak_memory()
    assert here > block.nbytes
    command = "from ptx_app.peak_memory import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert 2**20 < int(done.stdout) < 2**28
