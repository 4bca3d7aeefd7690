"""Pictures to click: the examples on the empty page, and the strip of films below the film."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from ptx_app.ui.component import component

_mount = component("thumbnails")


Mark = Literal["flagged", "borderline", "clear", "refused", ""]


@dataclass(frozen=True)
class Thumbnail:
    """One picture to click. `picture` is a data URL, or "" where there is none; `mark` colours its edge."""

    id: str
    picture: str
    label: str
    title: str = ""
    mark: Mark = ""
    chosen: bool = False


def thumbnails(
    key: str,
    label: str,
    items: list[Thumbnail],
    size: Literal["small", "large"],
    on_pick: Callable[[], None],
    arrow_keys: bool = False,
) -> str | None:
    """Draw a row of pictures; returns the id of the one just picked, else None.

    Args:
        key: of the widget.
        label: what the row holds, for screen readers.
        items: in order.
        size: of the pictures.
        on_pick: called when one is picked, before the page is drawn again.
        arrow_keys: whether left, right, J and K pick the neighbour of the chosen one, wherever the focus is.
    """
    data = {"label": label, "size": size, "arrowKeys": arrow_keys, "items": [asdict(item) for item in items]}
    picked: str | None = _mount(key=key, data=data, on_pick_change=on_pick).pick
    return picked
