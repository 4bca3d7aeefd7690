"""Freed memory goes back to the system, where the C library is glibc; elsewhere nothing is done.

glibc gives every thread a heap of its own, up to eight a core, and Streamlit starts a thread for every run of the page.
What a thread has freed at its heap's end stays with it until it exceeds a threshold, and the first large array freed
raises that threshold to as much as 64 MiB: after some visits sixteen heaps held hundreds of MiB of nothing, out of the
reach of `malloc_trim`, which gives back what lies between blocks in use and the end of the first heap alone.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names and numbers of malloc.h
_MOST_FREE_AT_END = 8 << 20
_LARGEST_IN_HEAP = 32 << 20


def limit_free_heap() -> bool:
    """Let each heap keep at most 8 MiB at its end; True where that was possible.

    From then on glibc adapts neither threshold by itself. Blocks above 32 MiB are mapped one by one, as far as it would
    have gone: less, and every run of the network pays for its large arrays anew.
    """
    libc = _glibc()
    return libc is not None and bool(
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP) and libc.mallopt(_M_TRIM_THRESHOLD, _MOST_FREE_AT_END)
    )


def trim_heap() -> None:
    """Give back what lies free between blocks in use, in every heap."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
