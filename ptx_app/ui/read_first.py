""" "Read first": the result of a film is hidden until its reader has given an own reading or asked for the result."""

from collections.abc import Iterable

import streamlit as st

from ptx_app.ui.visit import Case

READ_FIRST = "read_first"
"""Key of the switch."""

CLOSED = "Available once you have read this film or shown its result"


def offer_read_first() -> None:
    """Draw the switch."""
    st.toggle(
        "Read first",
        key=READ_FIRST,
        persist_state="session",
        help="Hides the result of each film until you have said whether there is a pneumothorax, or pressed “Show the "
        "result”.",
    )


def hidden(case: Case) -> bool:
    """Whether the result of this film is hidden. A film without a result has nothing to hide."""
    on = bool(st.session_state.get(READ_FIRST))
    return on and not case.revealed and case.film is not None and case.film.prediction is not None


def shown_name(case: Case) -> str:
    """The file's name, but not that of an example that tells what it shows."""
    return "Example" if case.known and hidden(case) else case.name


def count_hidden(cases: Iterable[Case]) -> int:
    """The number of films whose result is hidden."""
    return sum(hidden(case) for case in cases)


def why_closed(cases: Iterable[Case]) -> str:
    """Why the results of these films together are not to be had yet; "" if they are."""
    count = count_hidden(cases)
    return f"Available once you have read {'1 more film' if count == 1 else f'{count} more films'}" if count else ""
