"""The page of who looks after the app: how it is set up, and whether the audit trail is whole. No film is on it."""

from html import escape

import streamlit as st

from ptx_app import __version__
from ptx_app.errors import PtxError
from ptx_app.ui import sign_in
from ptx_app.ui.engine import settings
from ptx_app.ui.sign_in import Person, Role


def offer_operator_page() -> None:
    """Draw the button that leads there; only for who may go."""
    st.button("Operator’s page", key="operate", type="tertiary", on_click=_go, args=(True,))


def operator_page(who: Person) -> None:
    """Draw it. Raises AuditError or SettingsError where the trail cannot be opened."""
    if Role.OPERATOR not in who.roles:
        return
    wanted = settings()
    trail = wanted.trail()
    facts = {
        "Version": __version__,
        "Weights": wanted.weights or "default",
        "Signed out after": f"{wanted.idle_minutes:g} minutes without use",
        "Audit trail": "kept" if trail else "off",
    }
    with st.container(key="empty"):
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items())
        st.html(f'<h1>Audit and status</h1><table class="tags">{rows}</table>')
        if trail is not None and st.button("Check the audit trail", key="verify"):
            try:
                found = trail.verify()
            except PtxError as error:
                st.html(f'<p role="alert">{escape(error.message)}</p>')
            else:
                said = found.faults or ("The trail is unchanged.", f"Last line: {found.last}")
                lines = "".join(f"<p>{escape(line)}</p>" for line in (f"{found.lines} lines.", *said))
                st.html(f'<div role="{"alert" if found.faults else "status"}" class="trail">{lines}</div>')
        with st.container(horizontal=True, gap="medium"):
            if Role.READER in who.roles:
                st.button("Back to the films", key="read", type="tertiary", on_click=_go, args=(False,))
            sign_in.offer_sign_out(who)


def _go(there: bool) -> None:
    st.session_state["operating"] = there
