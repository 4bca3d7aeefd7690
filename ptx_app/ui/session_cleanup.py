"""Keeps films in memory only, and no longer than needed.

Streamlit itself writes uploads above 1 MB to temporary files while they arrive and keeps every upload until its session
is removed. It removes the session of a closed page only when another page is closed later.
"""

import asyncio

import streamlit as st
from streamlit.runtime import Runtime, get_instance
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ptx_app.ui.heap import trim_heap
from ptx_app.ui.visit import Visit


def release_upload(file: UploadedFile) -> None:
    """Delete a file from the server's memory after it was read."""
    uploads, session = _uploads()
    uploads.remove_file(session, file.file_id)


def release_all_uploads() -> None:
    """Delete every file that this session has uploaded, read or not."""
    uploads, session = _uploads()
    uploads.remove_session_files(session)
    trim_heap()


def end_session_with_page(visit: Visit) -> None:
    """Remove this session once its page is closed. Call at each run.

    A page that only lost its connection finds its films again within `server.disconnectedSessionTTL`.
    """
    _presence(visit)


_watched: set[str] = set()


def _leave(presence: tuple[str, Visit]) -> None:
    # The server's event loop calls this when the page disconnects for the first time. A page that reconnects does not
    # always run again, so it is watched from here on until it stays away.
    if presence[0] not in _watched:
        _watched.add(presence[0])
        _watch(get_instance(), *presence, away=0)


def _watch(server: Runtime, session: str, visit: Visit, away: int) -> None:
    away = 0 if server.is_active_session(session) else away + 1
    # One second before its time is up: after that, Streamlit no longer finds the session but still keeps it.
    if away < st.get_option("server.disconnectedSessionTTL") - 1:
        asyncio.get_running_loop().call_later(1, _watch, server, session, visit, away)
        return
    visit.clear()  # now, not at Python's next garbage collection
    asyncio.get_running_loop().run_in_executor(None, visit.log.ended, "page closed")
    server.close_session(session)
    _watched.discard(session)
    trim_heap()


@st.cache_resource(scope="session", on_release=_leave, show_spinner=False)
def _presence(_visit: Visit) -> tuple[str, Visit]:
    return _uploads()[1], _visit


def _uploads() -> tuple[MemoryUploadedFileManager, str]:
    context = get_script_run_ctx()
    assert context is not None  # noqa: S101  (only the page calls)
    assert isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager)  # noqa: S101  (Streamlit has no other)
    return context.uploaded_file_mgr, context.session_id
