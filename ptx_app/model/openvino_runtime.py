"""Imports OpenVINO without its converter, which reports its use over the network when it is imported."""

import sys
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def openvino() -> Any:  # noqa: ANN401  (openvino has no types)
    """The module. Importing it takes 0.4 s, so nothing does so before a network is loaded."""
    # With None in its place the import fails, and OpenVINO's own __init__ allows for that.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@lru_cache(maxsize=1)
def core() -> Any:  # noqa: ANN401
    """OpenVINO's Core, one in a process.

    Each one gives the thread that loads its first network a stack for signal handlers, and with two, the end of the
    later one gives back the earlier one's, which may be gone: the next SIGTERM is then a segmentation fault.
    """
    return openvino().Core()
