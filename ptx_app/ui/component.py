"""A component of the page: NAME.html, NAME.css and NAME.js beside this file, mounted by NAME.py."""

from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE = Path(__file__).parent


def component(name: str) -> ComponentRenderer:
    """Register the component of that name. Call once, at import."""
    html, css, js = ((_HERE / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(name, html=html, css=css, js=js)
