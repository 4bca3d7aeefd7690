"""From dropped files and clicked examples to cases, saying where the film will appear what is being done."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from traceback import extract_tb

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ptx_app.errors import FilmError, PtxError
from ptx_app.film.check import check
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.radiograph import Radiograph
from ptx_app.inference.predict import predict
from ptx_app.ui.engine import Engine, engine, read
from ptx_app.ui.letting_go import let_go
from ptx_app.ui.visit import MOST_FILMS, Case, Film, Visit

_LOG = logging.getLogger(__name__)
_UNEXPECTED = FilmError(
    "UNEXPECTED",
    "This file could not be read for a reason that was not foreseen. Export the film anew, or try another.",
)
_FULL = FilmError(
    "VISIT_FULL", f"This visit holds {MOST_FILMS} films. Take away what you need, clear them, and drop this one again."
)


def take_files(visit: Visit, files: Sequence[UploadedFile]) -> None:
    """Read the dropped files that are not yet cases, one after the other, and show the first of them."""
    fresh = [file for file in files if file.file_id not in visit.taken]
    progress = _Progress(len(fresh))
    first: int | None = None
    for file in fresh:
        case = _take(visit, file.name, partial(read, file.getvalue()), progress)
        visit.taken.add(file.file_id)
        let_go(file)
        first = first or case.number
    if first is not None:
        visit.show(first)
    visit.new_round()
    st.rerun()


def take_example(visit: Visit, name: str) -> None:
    """Open the example of that name; a name of none changes nothing."""
    example = next((example for example in EXAMPLES if example.name == name), None)
    if example is None:
        return
    case = _take(visit, example.title, partial(example.load, read), _Progress(1), example.known)
    visit.show(case.number)
    st.rerun()


class _Progress:
    """A bar with a sentence, over the films of one batch."""

    def __init__(self, films: int) -> None:
        self._films, self._done = films, 0
        with st.container(key="progress"):
            self._bar = st.progress(0.0, "Reading")

    def say(self, text: str) -> None:
        which = f" (film {self._done + 1} of {self._films})" if self._films > 1 else ""
        self._bar.progress(self._done / self._films, text + which)

    def fetched(self, got: int, total: int) -> None:
        self._bar.progress(min(got / max(total, 1), 1.0), "Fetching the model's weights, this once")

    def next_film(self) -> None:
        self._done += 1


def _take(visit: Visit, name: str, load: Callable[[], Radiograph], progress: _Progress, known: str = "") -> Case:
    try:
        if visit.full:
            raise _FULL
        progress.say("Reading")
        radiograph = load()
        progress.say("Loading the model")
        return visit.add(name, film=_examine(engine(progress.fetched), radiograph, progress), known=known)
    except PtxError as error:
        return visit.add(name, error=error)
    except Exception as error:  # our fault, or a decoder's
        _report(error)
        return visit.add(name, error=_UNEXPECTED)
    finally:
        progress.next_film()


def _report(error: Exception) -> None:
    """Log what kind of error came from where. Its text may quote the header, so it is left out."""
    calls = [f"{Path(call.filename).name}:{call.lineno}" for call in extract_tb(error.__traceback__)]
    _LOG.error("Unexpected %s at %s", type(error).__name__, " > ".join(calls))


def _examine(shared: Engine, radiograph: Radiograph, progress: _Progress) -> Film:
    def waiting(place: int) -> None:
        progress.say(f"Waiting: {place} {'film is' if place == 1 else 'films are'} before yours")

    with shared.turnstile.turn(waiting):
        progress.say("Looking at the film")
        prediction = predict(shared.network, radiograph.pixels, shared.weights)
    return Film.of(radiograph, check(radiograph), prediction)
