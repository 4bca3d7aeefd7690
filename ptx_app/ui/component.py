"""Components of the page, mounted by the module NAME.py: small ones inline, the viewer as a bundled file."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest
from streamlit.components.v2.types import ComponentRenderer

from ptx_app import __version__

_HERE = Path(__file__).parent
_PACKAGE, _ASSETS = "ptx_app", "assets"


def component(name: str) -> ComponentRenderer:
    """Register the component of NAME.html, NAME.css and NAME.js beside this file. Call once, at import."""

    def part(kind: str) -> str | None:
        path = _HERE / f"{name}.{kind}"
        return path.read_text(encoding="utf-8") if path.exists() else None

    return st.components.v2.component(name, html=part("html"), css=part("css"), js=part("js"))


def bundled_component(name: str) -> ComponentRenderer:
    """The component whose script is NAME-HASH.js in the folder `assets`. It is registered when it is first mounted.

    The browser fetches the script once, from an address of its own. Streamlit finds such folders by itself only for
    packages that are installed with their pyproject.toml; this also works from a checkout and from a wheel.
    """

    @cache
    def register() -> ComponentRenderer:
        return st.components.v2.component(f"{_PACKAGE}.{name}", js=f"{name}-*.js")

    def mount(**arguments: Any) -> Any:  # noqa: ANN401  (as Streamlit's own)
        # Each time: Streamlit's test harness starts a new runtime for every page.
        _announce(get_bidi_component_manager(), name)
        return register()(**arguments)

    return mount


def _announce(manager: BidiComponentManager, name: str) -> None:
    if manager.get_component_asset_root(f"{_PACKAGE}.{name}") is None:
        manifest = ComponentManifest(_PACKAGE, __version__, [ComponentConfig(name, _ASSETS)])
        manager.register_from_manifest(manifest, _HERE)
