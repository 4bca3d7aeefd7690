"""The film on the screen: zoom, pan, invert, and the finding's layers. The page draws films only with this."""

from dataclasses import asdict, dataclass

from ptx_app.ui.component import component

_mount = component("film_view")


@dataclass(frozen=True)
class Layer:
    """A picture stretched over the film: its data URL, and its opacity in [0, 1]."""

    picture: str
    opacity: float


def film_view(key: str, picture: str, alt: str, layers: list[Layer], sides: bool = True) -> None:
    """Draw a film and its layers.

    Args:
        key: identifies the film; zoom and position are kept while it stays the same.
        picture: the film as a data URL.
        alt: what the picture shows, in words.
        layers: drawn over it in this order.
        sides: whether to mark the patient's right and left; only for a film known to be frontal.
    """
    drawn = [asdict(layer) for layer in layers]
    data = {"key": key, "picture": picture, "alt": alt, "layers": drawn, "sides": sides}
    _mount(key="film_view", data=data)
