"""The films of one visit. They live in this browser tab's session only, until it ends or is cleared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from ptx_app.errors import PtxError
from ptx_app.film.radiograph import Box, FilmNote, View
from ptx_app.inference.predict import Prediction
from ptx_app.output.pictures import film_pictures
from ptx_app.pipeline import Examination
from ptx_app.ui.data_url import data_url

MOST_FILMS = 100
"""Maximum number of films in one visit. Each takes some 2 MB, and a server with 1 GB has more than one visitor."""


@dataclass(frozen=True)
class Film:
    """What is kept of a film after reading: encoded pictures and the network's output, not its pixels.

    `picture` is the film at its own size as an 8-bit grey PNG, `display` and `thumbnail` are data URLs. A film that the
    check rejects has no prediction until the user asks for one; `prepared` is the network's input for that.
    """

    picture: bytes
    display: str
    thumbnail: str
    shape: tuple[int, int]
    view: View
    source_format: str
    tags: Mapping[str, str]
    warnings: tuple[FilmNote, ...]
    rejections: tuple[FilmNote, ...]
    prepared: NDArray[np.float32]
    prediction: Prediction | None
    field: Box | None = None

    @classmethod
    def of(cls, examination: Examination) -> "Film":
        """Encode the pictures that the page needs, and keep the network's output."""
        radiograph = examination.radiograph
        pictures = film_pictures(radiograph.pixels)
        return cls(
            picture=pictures.whole,
            display=data_url(pictures.display, "image/jpeg"),
            thumbnail=data_url(pictures.thumbnail, "image/jpeg"),
            shape=radiograph.shape,
            view=radiograph.view,
            source_format=radiograph.source_format,
            tags=radiograph.tags,
            warnings=radiograph.warnings,
            rejections=examination.rejections,
            prepared=examination.prepared,
            prediction=examination.prediction,
            field=radiograph.field,
        )


@dataclass
class Case:
    """One dropped file: a film, or the error that stopped it from being read.

    `name` is the file's name, shown only to the person who dropped it. `known` says what is known about an example.
    """

    number: int
    name: str
    film: Film | None = None
    error: PtxError | None = None
    known: str = ""

    @property
    def overruled(self) -> bool:
        """Whether the film was analysed although the check rejects it."""
        return self.film is not None and bool(self.film.rejections) and self.film.prediction is not None


@dataclass
class Visit:
    """All cases of the session in order of arrival, and the one on the screen.

    A click while films are read starts a new run of the page before the old one has ended, so two threads may work on
    one visit. `reading` is held while a file is read, `_changing` while cases are added or removed.

    `round` numbers the drop zone: a new round gives an empty one and releases the files of the old one. `taken` holds
    the drop zone's ids of the files already read in this round.
    """

    cases: list[Case] = field(default_factory=list)
    shown: int | None = None
    counter: int = 0
    round: int = 0
    taken: set[str] = field(default_factory=set)
    reading: Lock = field(default_factory=Lock)
    _changing: Lock = field(default_factory=Lock)

    def keep(self, name: str, outcome: Film | PtxError, *, file_id: str, in_round: int, known: str = "") -> None:
        """Append a case, and show it if it is the first of its round. Cases of a past round are dropped."""
        with self._changing:
            if in_round != self.round:
                return
            self.counter += 1
            film, error = (outcome, None) if isinstance(outcome, Film) else (None, outcome)
            self.cases.append(Case(self.counter, name, film, error, known))
            if not self.taken:
                self.shown = self.counter
            self.taken.add(file_id)

    def show(self, number: int) -> None:
        """Put the case of that number on the screen; unknown numbers change nothing."""
        if any(case.number == number for case in self.cases):
            self.shown = number

    def clear(self) -> None:
        """Delete every film at once, including those being read."""
        with self._changing:
            self.cases.clear()
            self.shown = None
            self._next_round()

    def new_round(self) -> None:
        """Empty the drop zone."""
        with self._changing:
            self._next_round()

    def _next_round(self) -> None:
        self.round += 1
        self.taken.clear()

    @property
    def full(self) -> bool:
        """Whether the visit holds the maximum number of films."""
        return sum(case.film is not None for case in self.cases) >= MOST_FILMS

    @property
    def current(self) -> Case | None:
        """The case on the screen."""
        return next((case for case in self.cases if case.number == self.shown), None)


def this_visit() -> Visit:
    """The visit of the current session; a new one if there is none yet."""
    if "visit" not in st.session_state:
        st.session_state["visit"] = Visit()
    visit: Visit = st.session_state["visit"]
    return visit
