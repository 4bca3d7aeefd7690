"""Pneumothorax on chest films: reading, detection, display, training and evaluation.

The public interface is `from ptx_app import Detector, read_film, load_manifest`. Each is imported on first use:
`import ptx_app` loads almost nothing, and reading a film does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptx_app.film.reading import read_film
    from ptx_app.model.manifest import load_manifest
    from ptx_app.pipeline import Detector

__version__ = "0.3.0.dev0"
__all__ = ["Detector", "load_manifest", "read_film"]

_HOMES = {
    "Detector": "ptx_app.pipeline",
    "load_manifest": "ptx_app.model.manifest",
    "read_film": "ptx_app.film.reading",
}

if not TYPE_CHECKING:  # with this function, a type checker would accept any misspelt name

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
