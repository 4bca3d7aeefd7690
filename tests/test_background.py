"""The threads that read films: how often a page looks for what they have done, and that a click does not end them."""

import threading
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx

from ptx_app.ui import own_thread
from ptx_app.ui.background import seconds_between_looks


@pytest.mark.parametrize(("readers", "seconds"), [(0, 0.5), (2, 0.5), (4, 1.0), (10, 2.5), (40, 3.0)])
def test_pages_look_less_often_the_more_visits_are_at_work(readers, seconds, monkeypatch):
    threads = [threading.Thread(name=name) for name in ["MainThread", *["film-reader"] * readers]]
    monkeypatch.setattr(threading, "enumerate", lambda: threads)
    assert seconds_between_looks() == seconds


def test_a_thread_that_waits_for_what_sessions_share_goes_on_when_the_run_of_the_page_is_ended(monkeypatch):
    """Streamlit ends whoever waits for a cached function and has the context of a run that is to end."""
    working, go_on, done = threading.Event(), threading.Event(), []

    @st.cache_resource(show_spinner=False)
    def shared() -> str:
        working.set()
        go_on.wait(20)
        return "engine"

    def end() -> None:
        raise StopException

    run = SimpleNamespace(session_id="visit", yield_check=end, parallel_coordinator=SimpleNamespace(should_stop=bool))
    monkeypatch.setattr(own_thread, "get_script_run_ctx", lambda **_: run)
    first = threading.Thread(target=shared)
    first.start()
    assert working.wait(20)
    waiting = threading.Event()

    def read() -> None:
        assert get_script_run_ctx().session_id == "visit"
        waiting.set()
        done.append(shared())

    own_thread.start(read, "the reader of this test")
    assert waiting.wait(20)
    reader = next(thread for thread in threading.enumerate() if thread.name == "the reader of this test")
    reader.join(0.3)  # it looks for an end every tenth of a second
    go_on.set()
    reader.join(20)
    assert done == ["engine"]
    assert run.yield_check is end, "the run itself can be ended as before"
