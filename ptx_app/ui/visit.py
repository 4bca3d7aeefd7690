"""The films of one visit. They live in this browser tab's session only, until it ends or is cleared."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from threading import Lock

import streamlit as st

from ptx_app.errors import PtxError
from ptx_app.film.modality import ModalityValues
from ptx_app.film.radiograph import Box, FilmNote, PixelSpacing, Radiograph, View
from ptx_app.inference.lungs import Lungs
from ptx_app.inference.predict import Prediction
from ptx_app.output.packed import PackedGreys, message
from ptx_app.output.pictures import thumbnail
from ptx_app.pipeline import Examination
from ptx_app.ui.data_url import data_url

MOST_FILMS = 100
MOST_BYTES = 200 << 20
"""Limits of one visit: films, and bytes of packed films. A server with 1 GB has more than one visitor."""


@dataclass(frozen=True)
class Film:
    """What is kept of a film after reading: its packed greys and the network's output, not its pixels.

    `key` is random, so that a browser never takes one film for another. `thumbnail` is a data URL. A film that the
    check rejects has no prediction until the user asks for one.
    """

    greys: PackedGreys
    thumbnail: str
    view: View
    source_format: str
    tags: Mapping[str, str]
    warnings: tuple[FilmNote, ...]
    rejections: tuple[FilmNote, ...]
    prediction: Prediction | None
    lungs: Lungs | None = None
    field: Box | None = None
    spacing: PixelSpacing | None = None
    key: str = dataclass_field(default_factory=partial(secrets.token_hex, 8))

    @classmethod
    def of(cls, examination: Examination) -> "Film":
        """Pack the film, and keep the network's output."""
        radiograph = examination.radiograph
        modality = radiograph.modality or ModalityValues.of_picture(radiograph.pixels)
        return cls(
            greys=PackedGreys.of(modality),
            thumbnail=data_url(thumbnail(radiograph.pixels), "image/jpeg"),
            view=radiograph.view,
            source_format=radiograph.source_format,
            tags=radiograph.tags,
            warnings=radiograph.warnings,
            rejections=examination.rejections,
            prediction=examination.prediction,
            lungs=examination.lungs,
            field=radiograph.field,
            spacing=radiograph.spacing,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.greys.shape

    @property
    def shown_as(self) -> str:
        """The key under which the browser knows the film, with or without its probabilities."""
        return f"{self.key}-analysed" if self.prediction else self.key

    def radiograph(self) -> Radiograph:
        """The film as it was read, made again from what is kept."""
        return Radiograph(
            self.greys.pixels(),
            self.view,
            self.spacing,
            self.tags,
            self.source_format,
            self.warnings,
            self.rejections,
            self.field,
        )

    def message(self) -> bytes:
        """The film as the viewer takes it."""
        return message(self.shown_as, self.greys, spacing=self.spacing, prediction=self.prediction)


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

    cases: list[Case] = dataclass_field(default_factory=list)
    shown: int | None = None
    counter: int = 0
    round: int = 0
    taken: set[str] = dataclass_field(default_factory=set)
    reading: Lock = dataclass_field(default_factory=Lock)
    _changing: Lock = dataclass_field(default_factory=Lock)

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

    def remove(self, number: int) -> None:
        """Delete the case of that number, and show the one after it, else the one before it."""
        with self._changing:
            place = next((place for place, case in enumerate(self.cases) if case.number == number), None)
            if place is None:
                return
            del self.cases[place]
            if self.shown == number:
                self.shown = self.cases[min(place, len(self.cases) - 1)].number if self.cases else None

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
        """Whether the visit holds as much as it may."""
        films = [case.film for case in self.cases if case.film is not None]
        return len(films) >= MOST_FILMS or sum(len(film.greys.levels) for film in films) >= MOST_BYTES

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
