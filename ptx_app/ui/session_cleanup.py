"""Films are held in memory only, and no longer than their reader needs them.

Streamlit by itself puts uploads above 1 MB into temporary files while they arrive, keeps every upload until its session
is removed, and removes a session whose page was closed only when another one is closed later on.
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
    """Drop a file that was read from the server's memory."""
    uploads, session = _uploads()
    uploads.remove_file(session, file.file_id)


def release_all_uploads() -> None:
    """Drop every file that this session has uploaded, read or not."""
    uploads, session = _uploads()
    uploads.remove_session_files(session)
    trim_heap()


def end_session_with_page(visit: Visit) -> None:
    """See to it that this session goes once its page is closed; called at each run.

    A page that only lost its connection finds its films again for as long as `server.disconnectedSessionTTL` allows.
    """
    _presence(visit)


_watched: set[str] = set()


def _leave(presence: tuple[str, Visit]) -> None:
    # Called by the server's event loop when the page is disconnected for the first time. A page that comes back is not
    # sure to run again, so it is watched from here on until it stays away.
    if presence[0] not in _watched:
        _watched.add(presence[0])
        _watch(get_instance(), *presence, away=0)


def _watch(server: Runtime, session: str, visit: Visit, away: int) -> None:
    away = 0 if server.is_active_session(session) else away + 1
    # A second before its time is over, for afterwards Streamlit no longer finds the session, and yet keeps it.
    if away < st.get_option("server.disconnectedSessionTTL") - 1:
        asyncio.get_running_loop().call_later(1, _watch, server, session, visit, away)
        return
    visit.clear()  # now, not when Python next looks for what nobody holds
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
