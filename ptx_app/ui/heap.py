"""Returns freed memory to the system if the C library is glibc. Elsewhere it does nothing.

glibc gives every thread its own heap, up to eight per core, and Streamlit starts a thread for every run of the page.
Memory freed at a heap's end stays there until it exceeds a threshold, and the first large array that is freed raises
that threshold to up to 64 MiB. After some visits, sixteen heaps held hundreds of MiB of free memory. `malloc_trim` does
not reach it: it returns free memory between used blocks, and the end of the first heap only.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names and numbers of malloc.h
_MOST_FREE_AT_END = 8 << 20
_LARGEST_IN_HEAP = 32 << 20


def limit_free_heap() -> bool:
    """Let each heap keep at most 8 MiB at its end. Returns whether that was possible.

    glibc then no longer adapts its thresholds. Blocks above 32 MiB are mapped one by one, as glibc's own maximum has
    it. With a lower limit, every run of the network would map its large arrays again.
    """
    libc = _glibc()
    return libc is not None and bool(
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP) and libc.mallopt(_M_TRIM_THRESHOLD, _MOST_FREE_AT_END)
    )


def trim_heap() -> None:
    """Return free memory between used blocks, in every heap."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
