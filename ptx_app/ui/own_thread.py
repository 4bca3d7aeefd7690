"""Threads that go on while runs of the page begin and end."""

import threading
from collections.abc import Callable
from copy import copy

from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx


def start(work: Callable[[], None], name: str) -> None:
    """Start a thread that may use what the page has: its settings, and what sessions share.

    With the run's own context, Streamlit would end the thread where it waits for something that sessions share, if the
    run had been ended by a click meanwhile. So it gets a copy, which nobody ends.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    if (context := copy(get_script_run_ctx(suppress_warning=True))) is not None:
        context.yield_check, context.parallel_coordinator = lambda: None, None
        add_script_run_ctx(thread, context)
    thread.start()
