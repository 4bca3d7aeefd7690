"""Buttons that hand a file over to the browser.

The file is made when it is asked for and travels inside the page. Streamlit's own download button would put it under an
address that anyone who knows it can open, and loses it where a run is cut short.
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
    """A file that can be had: the button's label and hint, the file's name and media type, and how it is made."""

    label: str
    hint: str
    file_name: str
    mime: str
    make: Callable[[], bytes]


def downloads(offers: list[Offer]) -> None:
    """Draw a button for each offer, and hand over what was just asked for."""

    def remember() -> None:
        st.session_state["wanted"] = st.session_state["downloads"].want

    wanted = st.session_state.pop("wanted", None)
    data: dict[str, Any] = {"offers": [{"name": o.file_name, "label": o.label, "hint": o.hint} for o in offers]}
    for offer in offers:
        if wanted and wanted["name"] == offer.file_name:
            # The serial number is the browser's own: a page drawn twice hands the file over once.
            data["file"] = wanted | {"url": data_url(offer.make(), offer.mime)}
    _mount(key="downloads", data=data, on_want_change=remember)
