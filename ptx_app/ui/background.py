"""Reads the films of a visit in the background, so that the reader goes on reading meanwhile."""

import threading
from functools import partial

from ptx_app.errors import FilmError, PtxError
from ptx_app.ui import own_thread
from ptx_app.ui.visit import Case, CaseRemovedError, Film, Visit
from ptx_app.unexpected import unexpected

# While one film is in the network, the next one is read, checked and packed.
_READERS = 2
_NAME = "film-reader"
_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.5, 3.0
_FULL = FilmError(
    "VISIT_FULL",
    "This visit is full, and no more films fit. Download what you need, clear all films, then drop this one again.",
)


def read_on(visit: Visit) -> None:
    """Start what reads the films that wait, if it is not at work already."""
    for _ in range(visit.hire(_READERS)):
        own_thread.start(partial(_work, visit), _NAME)


def seconds_between_looks() -> float:
    """How often a page that waits for films is to look at its list: half a second, less often with many visits at work.

    Each look costs the server some ms, and the browser a drawing.
    """
    at_work = sum(thread.name == _NAME for thread in threading.enumerate())
    return min(max(at_work / _READERS, 1) * _LOOK_SECONDS, _LONGEST_LOOK_SECONDS)


def _work(visit: Visit) -> None:
    while (case := visit.begin_next()) is not None:
        outcome = _outcome(visit, case)
        if outcome is None:
            visit.stopped(case)
        else:
            visit.finish(case, outcome)


def _outcome(visit: Visit, case: Case) -> Film | PtxError | None:
    """What becomes of a case; None if it was removed meanwhile."""
    if visit.full(case):
        return _FULL
    assert case.job is not None  # noqa: S101  (it waits)
    try:
        return case.job(case)
    except CaseRemovedError:
        return None
    except PtxError as error:
        return error
    except Exception as error:  # a bug here or in a decoder
        return unexpected(error)
