"""The film on the screen: zoom, pan, invert, and the finding's layers over it. The one way the page draws a film."""

from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_mount = st.components.v2.component(
    "film_view",
    html=(_HERE / "film_view.html").read_text(encoding="utf-8"),
    css=(_HERE / "film_view.css").read_text(encoding="utf-8"),
    js=(_HERE / "film_view.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Layer:
    """A picture stretched over the film: its data URL, and its opacity in [0, 1]."""

    picture: str
    opacity: float


def film_view(key: str, picture: str, alt: str, layers: list[Layer]) -> None:
    """Draw a film and its layers.

    Args:
        key: of the film; zoom and place are kept while it stays the same.
        picture: the film as a data URL.
        alt: what the picture shows, in words.
        layers: drawn over it in this order.
    """
    data = {"key": key, "picture": picture, "alt": alt, "layers": [asdict(layer) for layer in layers]}
    _mount(key="film_view", data=data)
