"""From dropped files, archives and clicked examples to cases that are read in the background."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ptx_app.audit import Event
from ptx_app.errors import FilmError
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.zip_archive import Member, is_archive, members
from ptx_app.pipeline import Examination
from ptx_app.ui.background import read_on
from ptx_app.ui.engine import SharedDetector, engine, on_public_host, read, read_source
from ptx_app.ui.session_cleanup import release_upload
from ptx_app.ui.session_log import SessionLog
from ptx_app.ui.visit import Archived, Case, CaseRemovedError, Film, Visit

KEEP_HEADER = "keep_header"
"""Key of the switch that keeps the patient's own header of dropped films, for DICOM downloads."""

OnWait = Callable[[int], None]
Job = Callable[[Case], Film]
Fetch = Callable[[Callable[[str], None]], bytes]
"""Gets a film's file from elsewhere, and says meanwhile how far it is."""


def drop_key(visit: Visit, *, folder: bool) -> str:
    """Key of the zone for dropped files, or for a dropped folder."""
    return f"drop-{visit.round}-{'folder' if folder else 'files'}"


def take_dropped(visit: Visit) -> None:
    """Make a case of each dropped file and of each file in a dropped archive, and begin to read them.

    A film that is there already is not taken again. Called before the page is drawn, for what is in either zone: the
    reader may have changed to the other one at the same moment.
    """
    in_round, zones = visit.round, [drop_key(visit, folder=folder) for folder in (False, True)]
    files = [file for zone in zones for file in st.session_state.get(zone, []) if isinstance(file, UploadedFile)]
    if not files:
        return
    header = bool(st.session_state.get(KEEP_HEADER)) and not on_public_host()
    jobs = [job for file in files for job in _jobs(visit, file.name, file.getvalue(), header=header)]
    visit.take(in_round, [(name, job) for name, job, _ in jobs], identities=[identity for *_, identity in jobs])
    for file in files:
        release_upload(file)
    read_on(visit)


def take_example(visit: Visit, name: str) -> None:
    """Open the example of that name; an unknown name changes nothing."""
    example = next((example for example in EXAMPLES if example.name == name), None)
    if example is None:
        return
    job = _film_job(visit.log, "example", example.data)
    known, identity = f"{example.known} Film: {example.credit}.", _identity(example.data())
    visit.take(visit.round, [(example.title, job)], known=known, identities=[identity])
    read_on(visit)
    st.rerun()


def take_archived(visit: Visit, in_round: int, films: Sequence[tuple[str, Fetch, Archived]]) -> None:
    """Make a case of each film of the archive, given as name, what fetches it, and its place, and read them.

    `in_round` is the visit's round when the reader asked. If that is over, nothing is taken: it was asked twice.
    """
    jobs = [(name, _fetched_job(visit.log, fetch)) for name, fetch, _ in films]
    visit.take(in_round, jobs, archived=[place for _, _, place in films])
    read_on(visit)
    st.rerun()


def overrule(visit: Visit, number: int) -> None:
    """Analyse a film that the check rejected, because the reader asks for it."""

    def job(case: Case) -> Film:
        film = case.film
        assert film is not None  # noqa: S101  (only a film can be rejected)
        codes = [rejection.code for rejection in film.rejections]
        visit.log.tell(Event.CHECK_OVERRULED, film=case.audit_name, codes=codes)
        shared = _engine(case)
        turn = partial(shared.fair_queue.turn, _waiting(case))
        judged = shared.detector.judge(Examination(film.radiograph(), film.rejections), turn=turn)
        return replace(film, prediction=judged.prediction, lungs=judged.lungs)

    visit.redo(number, job)
    read_on(visit)


def _jobs(visit: Visit, name: str, data: bytes, *, header: bool) -> list[tuple[str, Job, str]]:
    """Name, job and identity of each film in a file. A packed film's identity is not known until it is unpacked."""
    if not is_archive(data):
        identity = _identity(data, header=header)
        return [(name, _film_job(visit.log, "dropped", lambda: data, header=header), identity)]
    try:
        found = members(data)
    except FilmError as error:
        return [(name, _failing(error), "")]
    return [(member.name, _packed_job(visit, member, header=header), "") for member in found]


def _identity(data: bytes, *, header: bool = False) -> str:
    """The same for the same content, unless the patient's header is kept of one only."""
    return f"{hashlib.sha256(data).hexdigest()}{' with header' if header else ''}"


def _packed_job(visit: Visit, member: Member, *, header: bool) -> Job:
    def job(case: Case) -> Film:
        data = member.data()
        if not visit.claim(case, _identity(data, header=header)):
            raise CaseRemovedError
        return _film_job(visit.log, "zip", lambda: data, header=header)(case)

    return job


def _failing(error: FilmError) -> Job:
    def job(_case: Case) -> Film:
        raise error

    return job


def _film_job(log: SessionLog, how: str, content: Callable[[], bytes], *, header: bool = False) -> Job:
    def job(case: Case) -> Film:
        data = content()
        case.say("")  # not if it was removed meanwhile
        case.audit_name = log.opened(data, how)
        radiograph = read(data, _waiting(case))
        if header:
            with suppress(FilmError):  # of an incomplete header; the page then says what its downloads have
                source = read_source(data)
                case.source = source if source and (source.rows, source.columns) == radiograph.shape else None
        shared = _engine(case)
        return Film.of(shared.detector.examine(radiograph, turn=partial(shared.fair_queue.turn, _waiting(case))))

    return job


def _fetched_job(log: SessionLog, fetch: Fetch) -> Job:
    def job(case: Case) -> Film:
        return _film_job(log, "archive", partial(fetch, case.say))(case)

    return job


def _engine(case: Case) -> SharedDetector:
    shared = engine(lambda *_: case.say("Downloading the model’s weights (first start only)"))
    case.say("")
    return shared


def _waiting(case: Case) -> OnWait:
    return lambda place: case.say(f"{place} {'film' if place == 1 else 'films'} ahead")
