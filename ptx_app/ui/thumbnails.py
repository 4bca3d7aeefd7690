"""Pictures to click: the examples on the empty page."""

from dataclasses import asdict, dataclass

from ptx_app.ui.component import component

_mount = component("thumbnails")


@dataclass(frozen=True)
class Thumbnail:
    """One picture to click. `picture` is a data URL."""

    id: str
    picture: str
    label: str
    title: str


def thumbnails(key: str, label: str, items: list[Thumbnail]) -> str | None:
    """Draw a row of pictures; returns the id of the one just picked, else None.

    Args:
        key: of the widget.
        label: what the row holds, for screen readers.
        items: in order.
    """
    data = {"label": label, "items": [asdict(item) for item in items]}
    picked: str | None = _mount(key=key, data=data, on_pick_change=lambda: None).pick
    return picked
