"""From dropped files and clicked examples to cases, with progress shown where the film will appear."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ptx_app.errors import FilmError, PtxError
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.radiograph import Radiograph
from ptx_app.pipeline import Examination
from ptx_app.ui.engine import engine, read
from ptx_app.ui.session_cleanup import release_upload
from ptx_app.ui.visit import Case, Film, Visit
from ptx_app.unexpected import unexpected

_FULL = FilmError(
    "VISIT_FULL",
    "This visit is full, and no more films fit. Download what you need, clear all films, then drop this one again.",
)


def take_files(visit: Visit, files: Sequence[UploadedFile]) -> None:
    """Read the dropped files that are not cases yet, one after the other."""
    in_round = visit.round
    progress = _Progress(len(files), sum(file.file_id in visit.taken for file in files))
    for file in files:
        with visit.reading:
            if visit.round != in_round or file.file_id in visit.taken:
                continue
            outcome = _outcome(visit, partial(read, file.getvalue(), progress.waiting), progress)
            visit.keep(file.name, outcome, file_id=file.file_id, in_round=in_round)
            release_upload(file)
    if visit.round == in_round:
        visit.new_round()
    st.rerun()


def take_example(visit: Visit, name: str) -> None:
    """Open the example of that name; an unknown name changes nothing."""
    example = next((example for example in EXAMPLES if example.name == name), None)
    if example is None:
        return
    in_round = visit.round
    outcome = _outcome(visit, partial(example.load, read), _Progress(1))
    visit.keep(
        example.title, outcome, file_id=name, in_round=in_round, known=f"{example.known} Film: {example.credit}."
    )
    visit.new_round()
    st.rerun()


def judge(case: Case) -> None:
    """Analyse a film that the check rejected, because the user asks for it."""
    assert case.film is not None  # noqa: S101  (only a film can be rejected)
    progress = _Progress(1)
    shared = engine(progress.fetched)
    progress.say("Analysing the film")
    turn = partial(shared.fair_queue.turn, progress.waiting)
    judged = shared.detector.judge(Examination(case.film.radiograph(), case.film.rejections), turn=turn)
    case.film = replace(case.film, prediction=judged.prediction, lungs=judged.lungs)
    st.rerun()


class _Progress:
    """A progress bar with a sentence, for one batch of films."""

    def __init__(self, films: int, done: int = 0) -> None:
        self._films, self._done = films, done
        with st.container(key="progress"):
            self._bar = st.progress(0.0, "Reading")

    def say(self, text: str) -> None:
        which = f" (film {self._done + 1} of {self._films})" if self._films > 1 else ""
        self._bar.progress(self._done / self._films, text + which)

    def waiting(self, place: int) -> None:
        self.say(f"Waiting: {place} {'film' if place == 1 else 'films'} ahead of yours")

    def fetched(self, got: int, total: int) -> None:
        self._bar.progress(min(got / max(total, 1), 1.0), "Downloading the model's weights (first start only)")

    def next_film(self) -> None:
        self._done += 1


def _outcome(visit: Visit, load: Callable[[], Radiograph], progress: _Progress) -> Film | PtxError:
    try:
        if visit.full:
            return _FULL
        progress.say("Reading")
        radiograph = load()
        progress.say("Loading the model")
        shared = engine(progress.fetched)
        progress.say("Analysing the film")
        turn = partial(shared.fair_queue.turn, progress.waiting)
        return Film.of(shared.detector.examine(radiograph, turn=turn))
    except PtxError as error:
        return error
    except Exception as error:  # a bug here or in a decoder
        return unexpected(error)
    finally:
        progress.next_film()
