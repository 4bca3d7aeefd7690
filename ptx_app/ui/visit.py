"""The films of one visit. They live in this browser tab's session only, until it ends or is cleared."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property, partial
from itertools import zip_longest
from threading import Condition, Lock
from typing import TYPE_CHECKING

import streamlit as st

from ptx_app.errors import PtxError
from ptx_app.film.modality import ModalityValues
from ptx_app.film.radiograph import Box, FilmNote, PixelSpacing, Radiograph, View, is_frontal
from ptx_app.film.source import SourceReference
from ptx_app.inference.decide import Thresholds
from ptx_app.inference.lungs import Lungs
from ptx_app.inference.predict import Prediction
from ptx_app.output.feedback import Reading
from ptx_app.output.packed import PackedGreys, PackedMaps, message
from ptx_app.output.pictures import thumbnail
from ptx_app.output.setting import Setting
from ptx_app.pipeline import Examination
from ptx_app.ui.data_url import data_url
from ptx_app.ui.engine import settings
from ptx_app.ui.session_log import SessionLog

if TYPE_CHECKING:
    from ptx_app.hospital.dicomweb import Instance, Stored, Study

FOUND_IN_ARCHIVE = "archive-found"
"""Key of what the reader has searched for in the archive."""

UNDO_SECONDS = 15
"""For how long the film that was removed last can be brought back."""

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
        return cls(
            greys=_packed(radiograph),
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
    def frontal(self) -> bool:
        """Whether the film check has nothing against the view, so that the sides of the patient are known."""
        return is_frontal(self.rejections)

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

    def shows(self, radiograph: Radiograph) -> bool:
        """Whether this is the same picture, pixel by pixel."""
        other = _packed(radiograph)
        return (other.shape, other.levels, other.shades) == (self.greys.shape, self.greys.levels, self.greys.shades)

    @cached_property
    def maps(self) -> PackedMaps:
        """The prediction's maps, packed once and not at each run of the page."""
        return PackedMaps.of(self.prediction)

    def message(self) -> bytes:
        """The film as the viewer takes it."""
        return message(self.shown_as, self.greys, spacing=self.spacing, prediction=self.prediction, maps=self.maps)

    def without_result(self) -> "Film":
        """The same film as it was before it was analysed, for the viewer."""
        return replace(self, prediction=None)


def _packed(radiograph: Radiograph) -> PackedGreys:
    return PackedGreys.of(radiograph.modality or ModalityValues.of_picture(radiograph.pixels))


@dataclass
class Archived:
    """Where in the archive a film is, for films from there.

    Attributes:
        instance: the film's place.
        study: the line of the worklist that it was opened from.
        answers: what the archive said of the film's results when they were stored last, by kind.
        error: why they could not be stored.
        patient: the same for all films that the archive says are of one patient, or "" if it was not asked. Random.
        asked: the try that the reader has asked for last: its number, and the setting that was shown.
        tries: how often its results were to be stored.
        storing: held while they are.
    """

    instance: "Instance"
    study: "Study"
    answers: "dict[str, Stored]" = dataclass_field(default_factory=dict)
    error: PtxError | None = None
    patient: str = ""
    asked: tuple[int, Setting] | None = None
    tries: int = 0
    storing: Lock = dataclass_field(default_factory=Lock, repr=False, compare=False)


class CaseRemovedError(Exception):
    """The case was removed while it was read."""


@dataclass
class Case:
    """One film of the visit: to be read, being read, or read, or the error that stopped it.

    Attributes:
        number: in order of arrival, from 1.
        name: the file's, shown only to the person who dropped it.
        job: reads and analyses the film; None once that is done. It may raise a PtxError.
        known: what is known about an example.
        identity: the same for the same file, opened in the same way; "" if it is not known.
        film, error: the outcome; one of them, once it is done.
        running: whether the job has begun.
        saying: what the job waits for, as a sentence, or "".
        removed: whether the reader has removed the case; its job then stops when it next waits.
        seen: whether it was on the screen after it was done.
        listed: what the list says of side and size, and the thresholds that this is for.
        source: the patient's own header, if the reader has switched that on; for DICOM downloads.
        archived: the film's place in the archive, if it came from there.
        audit_name: the film's name in the audit trail; None if there is no trail, or the film was not yet opened.
        reading: the reader's answer to the result.
        trouble: why the last answer could not be taken or saved.
        revealed: whether the reader has answered, or asked for the result; see `ptx_app.ui.read_first`.
        wishes: how often the reader has asked to draw.
    """

    number: int
    name: str
    job: "Callable[[Case], Film] | None" = None
    known: str = ""
    identity: str = ""
    film: Film | None = None
    error: PtxError | None = None
    running: bool = False
    saying: str = ""
    removed: bool = False
    seen: bool = False
    listed: tuple[Thresholds, str] | None = None
    source: SourceReference | None = dataclass_field(default=None, repr=False)
    archived: Archived | None = None
    audit_name: str | None = None
    reading: Reading | None = None
    trouble: PtxError | None = None
    revealed: bool = False
    wishes: int = 0

    @property
    def done(self) -> bool:
        """Whether there is a film or an error."""
        return self.job is None

    @property
    def overruled(self) -> bool:
        """Whether the film was analysed although the check rejects it."""
        return self.film is not None and bool(self.film.rejections) and self.film.prediction is not None

    def say(self, text: str) -> None:
        """Set `saying`. Raises CaseRemovedError if the case was removed."""
        if self.removed:
            raise CaseRemovedError
        self.saying = text


@dataclass(frozen=True)
class Removed:
    """A film that the reader has removed and may still bring back: its place in the list, and until when."""

    case: Case
    place: int
    until: float


@dataclass
class Visit:
    """All cases of the session in order of arrival, and the one on the screen.

    The page's thread and those that read films work on it at once; `_changing` is held while cases change.

    `round` numbers the drop zone: a new round gives an empty one. `readers` counts the threads at work. `who` is the
    person who has signed in, and `admitted` whether the audit trail was told so. `log` tells the audit trail, and
    `problem` is what went wrong since the page was drawn. `name` is random: the browser tells by it that its picks in
    the list are of this visit; `picks` numbers the latest that was heard. `again` has the numbers of the films that
    were opened once more since the reader's last action. `removed` is what was removed last, while it can be brought
    back. `awaited` is the number of a new case on the screen, for which the page may wait. `folders` says whether there
    is a zone for folders. `drawn_at` is when the whole page was drawn; None while it is.
    """

    cases: list[Case] = dataclass_field(default_factory=list)
    shown: int | None = None
    counter: int = 0
    round: int = 0
    readers: int = 0
    who: str | None = None
    admitted: bool = False
    log: SessionLog = dataclass_field(default_factory=SessionLog)
    problem: PtxError | None = None
    name: str = dataclass_field(default_factory=lambda: secrets.token_hex(4))
    picks: int = 0
    again: list[int] = dataclass_field(default_factory=list)
    removed: Removed | None = None
    awaited: int | None = None
    folders: bool = False
    drawn_at: float | None = None
    _changing: Condition = dataclass_field(default_factory=Condition)

    def take(
        self,
        in_round: int,
        jobs: Sequence[tuple[str, Callable[[Case], Film]]],
        known: str = "",
        archived: Sequence[Archived] = (),
        identities: Sequence[str] = (),
    ) -> None:
        """Append a case for each name and job, and begin a new round. Does nothing in a past round.

        `archived`: the places in the archive, for films from there. `identities`: as far as they are known; a film that
        is there already is not appended.
        The first of them is put on the screen if there is no other case.
        """
        with self._changing:
            if in_round != self.round:
                return
            self.again, self.removed = [], None
            for (name, job), place, identity in zip_longest(jobs, archived, identities):
                if (twin := self._twin(identity or "")) is not None:
                    self.again.append(twin.number)
                    continue
                self.counter += 1
                self.cases.append(Case(self.counter, name, job, known, identity or "", archived=place))
            if self.shown is None and self.cases:
                self.shown = self.awaited = self.cases[0].number
            self.round += 1

    def claim(self, case: Case, identity: str) -> bool:
        """Whether a case, whose identity is known by now, is no film that is there already. If it is, it is deleted."""
        with self._changing:
            twin = self._twin(identity)
            if twin is None or twin is case:
                case.identity = identity
                return True
            if case in self.cases:  # else the reader has removed it meanwhile
                self.cases.remove(case)
                self.again.append(twin.number)
                if self.shown == case.number:
                    self.shown = twin.number
            case.removed = True
            return False

    def _twin(self, identity: str) -> Case | None:
        """The case of that identity. One that could not be read is none: its file may be tried again."""
        return next((each for each in self.cases if identity and each.identity == identity and not each.error), None)

    def hire(self, most: int) -> int:
        """How many threads to start so that up to `most` work on what waits. They count as started."""
        with self._changing:
            more = max(0, min(most, sum(not case.done for case in self.cases)) - self.readers)
            self.readers += more
            return more

    def begin_next(self) -> Case | None:
        """The case to read next: the one on the screen, else the first. None, and the thread no longer counts, if there
        is none.
        """
        with self._changing:
            waiting = [case for case in self.cases if not case.done and not case.running]
            if not waiting:
                self.readers -= 1
                return None
            case = next((case for case in waiting if case.number == self.shown), waiting[0])
            case.running = True
            return case

    def finish(self, case: Case, outcome: Film | PtxError) -> None:
        """Keep the outcome of a case."""
        with self._changing:
            case.film, case.error = (outcome, None) if isinstance(outcome, Film) else (case.film, outcome)
            case.job, case.running, case.saying = None, False, ""
            self._changing.notify_all()

    def wait_for_shown(self, seconds: float) -> None:
        """Wait until the case on the screen is done or removed, but no longer than this."""
        with self._changing:
            self._changing.wait_for(lambda: self.current is None or self.current.done, seconds)

    def redo(self, number: int, job: Callable[[Case], Film]) -> None:
        """Let a case that is done be read by another job."""
        with self._changing:
            for case in self.cases:
                if case.number == number and case.done:
                    case.job, self.awaited = job, number

    def show(self, number: int) -> None:
        """Put the case of that number on the screen; unknown numbers change nothing."""
        if any(case.number == number for case in self.cases):
            self.shown = number
            self.again = []

    def remove(self, number: int) -> None:
        """Take the case of that number away, and show the one after it, else the one before it.

        It is deleted after `UNDO_SECONDS`, or with the next drop or removal. Until then `bring_back` undoes this.
        """
        with self._changing:
            place = next((place for place, case in enumerate(self.cases) if case.number == number), None)
            if place is None:
                return
            case = self.cases.pop(place)
            case.removed = True
            self.removed, self.again = Removed(case, place, time.monotonic() + UNDO_SECONDS), []
            if self.shown == number:
                self.shown = self.cases[min(place, len(self.cases) - 1)].number if self.cases else None
            self._changing.notify_all()

    def just_removed(self) -> Case | None:
        """The case that was removed last, while it can be brought back. After that it is deleted."""
        with self._changing:
            if self.removed is not None and time.monotonic() >= self.removed.until:
                self.removed = None
            return self.removed.case if self.removed else None

    def bring_back(self) -> Case | None:
        """Put the case that was removed last back to its place and on the screen. None if it is deleted by now.

        If it was not read to the end, it waits to be read again.
        """
        case = self.just_removed()
        with self._changing:
            if case is None or self.removed is None:
                return None
            case.removed = False
            self.cases.insert(min(self.removed.place, len(self.cases)), case)
            self.shown, self.removed = case.number, None
            return case

    def stopped(self, case: Case) -> None:
        """A case is no longer read, because it was removed. If it was brought back meanwhile, it waits again."""
        with self._changing:
            case.running, case.saying = False, ""

    def clear(self) -> None:
        """Delete every film at once, including those being read, and one that was just removed."""
        with self._changing:
            for case in self.cases:
                case.removed = True
            self.cases.clear()
            self.shown = None
            self.again, self.removed = [], None
            self.round += 1
            self._changing.notify_all()

    @property
    def pending(self) -> int:
        """Number of cases that are not done."""
        return sum(not case.done for case in self.cases)

    def full(self, case: Case) -> bool:
        """Whether the visit holds as much as it may, with what is read beside this case and came before it."""
        films = [each.film for each in self.cases if each.film is not None and each is not case]
        before = sum(each.running and each.number < case.number for each in self.cases)
        return len(films) + before >= MOST_FILMS or sum(len(film.greys.levels) for film in films) >= MOST_BYTES

    @property
    def current(self) -> Case | None:
        """The case on the screen."""
        return next((case for case in self.cases if case.number == self.shown), None)


def this_visit(who: str | None = None) -> Visit:
    """The visit of the current session; a new one if there is none yet, or it is another person's.

    Args:
        who: the person who has signed in; None where there is no sign-in.

    Raises:
        SettingsError: if the operator's settings cannot be used.
    """
    visit: Visit | None = st.session_state.get("visit")
    if visit is not None and visit.who != who:
        end_visit("another person signed in")
        visit = None
    if visit is None:
        visit = st.session_state["visit"] = Visit(who=who, log=SessionLog(settings().trail(), who))
    return visit


def end_visit(why: str) -> None:
    """Delete the visit of the current session with all its films and what was found in the archive, if there is one."""
    st.session_state.pop(FOUND_IN_ARCHIVE, None)
    visit: Visit | None = st.session_state.pop("visit", None)
    if visit is not None:
        visit.clear()
        visit.log.ended(why)
