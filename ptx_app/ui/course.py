"""One patient's films from the archive side by side, oldest first, with the course of the finding."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from ptx_app.inference.decide import Finding, Side, Thresholds, decide
from ptx_app.inference.measure import SideMeasure, measure
from ptx_app.output.pictures import encoded, overlay_picture, shrunk
from ptx_app.ui import messages
from ptx_app.ui.component import component
from ptx_app.ui.data_url import data_url
from ptx_app.ui.read_first import why_closed
from ptx_app.ui.visit import Archived, Case, Film, Visit

_mount = component("course")

_LONGEST_PX = 1000  # of a picture in the comparison
MOST = 6
"""Films that are compared at once; the newest of more."""


@dataclass(frozen=True)
class _Dated:
    """A film that was analysed, and its place in the archive."""

    case: Case
    film: Film
    archived: Archived

    @property
    def day(self) -> str:
        """Day and time of its study, as far as the header states them."""
        study = self.archived.study
        return f"{study.date} {study.time}".strip() or "No date"


def offer_course(visit: Visit, case: Case, thresholds: Thresholds) -> None:
    """Offer to compare the patient's films, once two of them are read, and show the comparison that was asked for.

    Its pictures are made when it is asked for, and not kept.
    """
    films = _of_the_same_patient(visit, case)
    if len(films) < 2:
        return

    if closed := why_closed(each.case for each in films):
        st.html(f'<p class="small">Comparison: {closed[0].lower()}{closed[1:]}.</p>')
        return

    def remember() -> None:
        st.session_state["course-wanted"] = st.session_state["course"].want

    data: dict[str, object] = {"label": f"Compare the patient’s {len(films)} films"}
    if serial := st.session_state.pop("course-wanted", None):
        visit.log.compared((each.case for each in films), thresholds)
        findings = [_decided(each.film, thresholds) for each in films]
        sizes = [_measured(each.film, finding) for each, finding in zip(films, findings, strict=True)]
        shown = zip(films, findings, sizes, strict=True)
        data |= {
            "serial": serial,
            "sides": course(sizes),
            "films": [_shown(each, finding, of, current=each.case is case) for each, finding, of in shown],
        }
    _mount(key="course", data=data, on_want_change=remember)


def course(sizes: Sequence[Sequence[SideMeasure]]) -> list[str]:
    """A line for each side that has a finding on any of the films, from the oldest film to the newest.

    >>> course([[], [SideMeasure(Side.LEFT, 0.02, 0.12)]])
    ['Left: none → 12.0 % of the hemithorax']
    """
    found = {each.side for of in sizes for each in of}
    return [f"{messages.SIDE_NAMES[side]}: {_along(side, sizes)}" for side in Side if side in found]


def _along(side: Side, sizes: Sequence[Sequence[SideMeasure]]) -> str:
    own = [next((each for each in of if each.side is side), None) for of in sizes]
    of_the_lung = all(each is None or each.hemithorax_share is not None for each in own)
    shares = [None if each is None else each.hemithorax_share if of_the_lung else each.film_share for each in own]
    steps = " → ".join("none" if share is None else messages.share(share) for share in shares)
    return f"{steps} of the {'hemithorax' if of_the_lung else 'film'}"


def _of_the_same_patient(visit: Visit, case: Case) -> list[_Dated]:
    """The patient's films that are analysed, oldest first."""
    patient = case.archived.patient if case.archived else ""
    films = [
        _Dated(each, each.film, each.archived)
        for each in visit.cases
        if patient and each.archived and each.archived.patient == patient and each.film and each.film.prediction
    ]
    films.sort(key=lambda each: (each.archived.study.date, each.archived.study.time, each.case.number))
    return films[-MOST:]


def _decided(film: Film, thresholds: Thresholds) -> Finding:
    assert film.prediction is not None  # noqa: S101  (only analysed films are compared)
    return decide(film.prediction, film.shape, thresholds)


def _measured(film: Film, finding: Finding) -> tuple[SideMeasure, ...]:
    return measure(finding, film.lungs, film.spacing, film.field, film.view)


def _shown(dated: _Dated, finding: Finding, sizes: Sequence[SideMeasure], *, current: bool) -> dict[str, object]:
    picture = shrunk(overlay_picture(dated.film.greys.grey_picture(), finding), _LONGEST_PX)
    return {
        "day": dated.day,
        "picture": data_url(encoded(picture, ".jpg"), "image/jpeg"),
        "description": f"{dated.day}. {messages.alt_text(finding, dated.film.shape)}",
        "verdict": f"{messages.verdict(finding)}, score {finding.score:.3f}",
        "mark": "flagged" if finding.flagged else "clear",
        "sizes": [messages.size(each) for each in sizes],
        "current": current,
    }
