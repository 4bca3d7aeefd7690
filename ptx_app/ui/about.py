"""The quiet links at the end of the page: what it can and cannot do, privacy, the tour of the viewer's keys, light.

The texts open in the browser, over the page: the films of the visit stay as they are, and nothing waits for the server.
"""

from functools import cache

import streamlit as st

from ptx_app.model.manifest import load_manifest
from ptx_app.ui import about_texts, light_page, sign_in
from ptx_app.ui.component import component
from ptx_app.ui.engine import has_archive, on_public_host, settings

_mount = component("about")


def about(*, tour: bool) -> None:
    """Draw the links.

    Args:
        tour: whether the viewer's tour is on the page, so that it can be opened again.

    Raises:
        WeightsError: WEIGHTS_UNKNOWN, if the operator has chosen weights that the manifest does not have.
        SettingsError: SETTING_INVALID.
    """

    def turn() -> None:
        light_page.choose(light=st.session_state["about"].page == "light")

    kept = int(st.get_option("server.disconnectedSessionTTL"))
    texts = {
        "limits": _limits(settings().weights),
        "privacy": about_texts.privacy(
            kept,
            public=on_public_host(),
            signed_in=sign_in.is_on(),
            audited=settings().audit_folder is not None,
            archive=has_archive(),
            answers_saved=settings().feedback_dir is not None,
        ),
    }
    data = {"texts": texts, "tour": tour, "light": light_page.is_light(), "cookie": light_page.COOKIE}
    _mount(key="about", data=data, on_page_change=turn)


@cache
def _limits(weights: str | None) -> str:
    return about_texts.limits(load_manifest().entry(weights))
