"""The viewer: the film on the screen, its window, zoom, ruler and overlay. Its sources are in the folder `viewer`."""

from collections.abc import Callable, Mapping

import streamlit as st

from ptx_app.inference.decide import Thresholds
from ptx_app.ui.component import bundled_component, component

_mount = bundled_component("viewer")
_send = component("film_data")


def viewer(
    key: str,
    film: bytes,
    alt: str,
    *,
    flagged: bool = False,
    thresholds: Thresholds | None = None,
    sides: bool = True,
    on_mask_threshold: Callable[[float], None] = lambda _: None,
    drawn: str | None = None,
    draw: str = "",
    on_contour: Callable[[str, object], None] = lambda *_: None,
) -> None:
    """Show a film. What the viewer shows of it changes in the browser, without a new run of the page.

    Args:
        key: the key of `film`. Window, zoom and position are kept while it stays the same.
        film: from `ptx_app.output.packed.message`.
        alt: what the picture shows, in words.
        flagged: whether to outline regions.
        thresholds: those of the outline; None if the film was not analysed.
        sides: whether to mark the patient's right and left; only for a film known to be frontal.
        on_mask_threshold: called with the mask threshold when the reader has changed it, before the page is drawn.
        drawn: the reader's own contour, as `PackedMask.text` has it; None if there is none.
        draw: a wish that the reader may draw now; each text is granted once.
        on_contour: called when the reader has drawn a contour, with its film's key and what the browser sends as the
            contour, which is not checked.
    """

    def changed() -> None:
        on_mask_threshold(float(st.session_state["viewer"].mask_threshold))

    def was_drawn() -> None:
        sent = st.session_state["viewer"].contour
        if isinstance(sent, Mapping):
            on_contour(str(sent.get("film")), sent.get("bits"))

    data = {
        "key": key,
        "alt": alt,
        "sides": sides,
        "flagged": flagged,
        "threshold": thresholds.mask_threshold if thresholds else 0.5,
        "smallest": thresholds.smallest_region if thresholds else 0,
        "surest": thresholds.surest_pixel if thresholds else 0,
        "relative": thresholds.smallest_relative if thresholds else 0,
        "drawn": drawn,
        "draw": draw,
    }
    # First of all, so that the former film is gone before anything is said about this one.
    _mount(key="viewer", data=data, on_mask_threshold_change=changed, on_contour_change=was_drawn)
    with st.container(key="film_data"):
        _send(key="film_data_sent", data=film)
