"""The tour of the viewer: its five most useful keys and gestures, in one line below the film, on the first visit."""

from ptx_app.ui.component import component

_mount = component("tour")


def tour() -> None:
    """Draw the tour. The browser remembers until the tab is closed that its reader has closed it."""
    _mount(key="tour")
