"""The light page, for bright rooms: all around the film is light. Until its reader chooses that, the page is dark.

Streamlit's own choice of a theme would begin with the system's, and a film in a dark room would have a bright frame.
Here each visit gets one theme only, and the other one when its reader asks for it: Streamlit sends the theme as a run
of the page begins, and a browser that gets another one keeps everything else.
"""

from typing import Any

import streamlit as st
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.NewSession_pb2 import CustomThemeConfig
from streamlit.runtime import get_instance
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner import get_script_run_ctx

COOKIE = "ptx_light"
"""The cookie in which a browser keeps the choice, "1" for light."""

_CHOSEN, _JUST_CHOSEN = "light_page", "light_page_just_chosen"
_begin = AppSession._create_new_session_message
_begun_before: set[str] = set()


def send_one_theme() -> None:
    """Let the server send each visit one theme; doing it again changes nothing."""
    if AppSession._create_new_session_message is _begin_with_one_theme:
        return
    AppSession._create_new_session_message = _begin_with_one_theme  # type: ignore[assignment, method-assign]
    # Where a host runs the entry as a script alone, the first visit's first run has begun already.
    if context := get_script_run_ctx(suppress_warning=True):
        _begun_before.add(context.session_id)


def is_light() -> bool:
    """Whether the page of this visit is light."""
    return bool(st.session_state.get(_CHOSEN, st.context.cookies.get(COOKIE) == "1"))


def choose(*, light: bool) -> None:
    """Keep what the reader has chosen, for this visit."""
    st.session_state[_CHOSEN], st.session_state[_JUST_CHOSEN] = light, True


def apply_choice() -> None:
    """Make the page light or dark. Call first of all in a run of the page."""
    context = get_script_run_ctx()
    begun_before = context is not None and context.session_id in _begun_before
    if begun_before or st.session_state.pop(_JUST_CHOSEN, False):
        _begun_before.clear()  # it holds one at most
        st.rerun()  # as this run began, its theme was not known yet
    st.html(f"<style>:root {{ color-scheme: {'light' if is_light() else 'dark'}; }}</style>")


def _begin_with_one_theme(session: AppSession, *arguments: Any, **named: Any) -> ForwardMsg:  # noqa: ANN401  (as Streamlit's)
    """Streamlit's message that begins a run, with the theme of this visit instead of all."""
    message = _begin(session, *arguments, **named)
    theme = message.new_session.custom_theme
    light = CustomThemeConfig()
    light.CopyFrom(theme.light)
    theme.ClearField("light")
    theme.ClearField("dark")
    if _is_light(session):
        theme.MergeFrom(light)
        theme.base = theme.BaseTheme.LIGHT
    return message


def _is_light(session: AppSession) -> bool:
    """As `is_light`, for the server's event loop."""
    if _CHOSEN in session.session_state:
        return bool(session.session_state[_CHOSEN])
    client = get_instance().get_client(session.id)
    return client is not None and client.client_context is not None and client.client_context.cookies.get(COOKIE) == "1"
