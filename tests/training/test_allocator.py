"""ptx train starts itself over with an allocator that keeps freed memory: once, and only where nothing is set."""

import os
import subprocess
import sys

import pytest

from ptx_app.model.manifest import ROOT
from ptx_app.training.allocator import environment

ASKS_TWICE = """
import sys
sys.argv = ["ptx", "weights", "list", "--json"]
from ptx_app.training.allocator import start_over
start_over(["weights", "list"])
print("not started over")
"""


def test_jemalloc_is_preferred_and_glibc_is_told_to_keep_memory_without_it():
    assert environment({}, "libjemalloc.so.2")["LD_PRELOAD"] == "libjemalloc.so.2"
    assert "trim_threshold" in environment({}, None)["GLIBC_TUNABLES"]


@pytest.mark.parametrize("jemalloc", ["libjemalloc.so.2", None])
def test_a_process_is_started_over_once(jemalloc):
    assert environment(environment({}, jemalloc), jemalloc) == {}


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GLIBC_TUNABLES"])
def test_the_users_own_allocator_is_left_alone(name):
    assert environment({name: "mine"}, "libjemalloc.so.2") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's allocator is known")
def test_the_command_runs_in_the_process_that_was_started_over():
    clean = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", ASKS_TWICE], cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    assert "ptx-b3" in done.stdout
    assert "not started over" not in done.stdout
