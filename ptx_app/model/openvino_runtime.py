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
