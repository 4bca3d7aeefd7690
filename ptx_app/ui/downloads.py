"""Download buttons.

The file is made on request and travels inside the page. Streamlit's own download button would give it an address that
anyone who knows it can open, and would lose it if a run is cut short.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ptx_app.ui.component import component
from ptx_app.ui.data_url import data_url

_mount = component("downloads")


@dataclass(frozen=True)
class Offer:
    """A file to download: the button's label and hint, the file's name and media type, and a function to make it.

    `told`: what the audit trail calls it; "" for the label. `closed`: why it is not to be had yet; "" if it is.
    """

    label: str
    hint: str
    file_name: str
    mime: str
    make: Callable[[], bytes]
    told: str = ""
    closed: str = ""


def downloads(key: str, offers: list[Offer], tell: Callable[..., None], *, of_film: bool = False) -> None:
    """Draw a button for each offer, and send the file that was just asked for.

    Args:
        key: of the widget.
        offers: in order.
        tell: called with what the file is, as `what`, before a file is made; if it raises, none is.
        of_film: whether they are of the film on the screen, and cannot be asked for once the reader has left it.
    """

    def remember() -> None:
        st.session_state[f"{key}-wanted"] = st.session_state[key].want

    wanted = st.session_state.pop(f"{key}-wanted", None)
    data: dict[str, Any] = {
        "of_film": of_film,
        "offers": [
            {"name": o.file_name, "label": o.label, "hint": o.closed or o.hint, "closed": bool(o.closed)}
            for o in offers
        ],
    }
    for offer in offers:
        if wanted and wanted["name"] == offer.file_name and not offer.closed:
            tell(what=offer.told or offer.label)
            # The browser made the serial number: if the page is drawn twice, it saves the file once.
            data["file"] = wanted | {"url": data_url(offer.make(), offer.mime)}
    try:
        _mount(key=key, data=data, on_want_change=remember)
    except BaseException:  # with which Streamlit cuts a run short: the next one sends the file
        if wanted:
            st.session_state[f"{key}-wanted"] = wanted
        raise
