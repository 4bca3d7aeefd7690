"""Keeps freed memory: a step on a CPU otherwise spends a third of its time on page faults of large tensors."""

import ctypes.util
import os
import sys
from collections.abc import Mapping, Sequence

_SET = "PTX_MEMORY_KEPT"
_JEMALLOC = "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"
# glibc's own, less quick than jemalloc: no tensor is mapped or given back by itself.
_GLIBC = "glibc.malloc.mmap_threshold=10737418240:glibc.malloc.trim_threshold=10737418240"


def environment(given: Mapping[str, str], jemalloc: str | None) -> dict[str, str]:
    """The variables of a process that keeps freed memory; none if `given` has them, or has an allocator of its own.

    Args:
        given: the present variables.
        jemalloc: the library's name if it is installed, else None.
    """
    if _SET in given or "LD_PRELOAD" in given or "GLIBC_TUNABLES" in given:
        return {}
    chosen = {"LD_PRELOAD": jemalloc, "MALLOC_CONF": _JEMALLOC} if jemalloc else {"GLIBC_TUNABLES": _GLIBC}
    return chosen | {_SET: "1"}


def start_over(words: Sequence[str]) -> None:
    """Start this process over as `ptx WORDS` with an allocator that keeps freed memory. Does nothing the second time.

    OpenVINO, which outlines the lungs, must have ended by then: it does not run under jemalloc.
    """
    if sys.platform != "linux":
        return
    wanted = environment(os.environ, ctypes.util.find_library("jemalloc"))
    if wanted:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "ptx_app", *words], os.environ | wanted)  # noqa: S606
