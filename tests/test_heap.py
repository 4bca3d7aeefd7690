"""Freed memory goes back to the system if the C library is glibc."""

import platform
import subprocess
import sys

import pytest

from ptx_app.ui import heap

_PRELUDE = """
import threading
from ptx_app.ui.heap import trim_heap, limit_free_heap

def resident_mib():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 >> 20

def in_a_thread(use):
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def printed(code: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", _PRELUDE + code], capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@needs_glibc
def test_a_threads_heap_keeps_little_at_its_end():
    use = """
large = b"x" * (24 << 20)
del large  # from here on glibc would keep up to 48 MiB
before = resident_mib()
in_a_thread(lambda: [b"x" * (1 << 20) for _ in range(40)])
print(resident_mib() - before)
"""
    assert printed("assert limit_free_heap()" + use)[0] <= 10
    if printed(use)[0] < 30:
        pytest.skip("this system takes freed memory back by itself, so nothing shows what the limit changes")


@needs_glibc
def test_free_memory_between_used_blocks_is_returned():
    before, after = printed("""
blocks = []
in_a_thread(lambda: blocks.extend(b"x" * (100 << 10 if number % 2 else 1000) for number in range(800)))
del blocks[1::2]
print(resident_mib())
trim_heap()
print(resident_mib())
""")
    assert before - after > 20


def test_nothing_is_done_without_glibc(monkeypatch):
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    assert not heap.limit_free_heap()
    heap.trim_heap()
