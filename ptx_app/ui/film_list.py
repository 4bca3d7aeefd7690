"""The list of the visit's films: those read, those in work and those waiting, with verdict, side and size."""

from dataclasses import asdict, dataclass
from typing import Literal

from ptx_app.inference.decide import Grade, Side, Thresholds, decide, grade
from ptx_app.inference.measure import measure
from ptx_app.ui import messages
from ptx_app.ui.answers import KEYS
from ptx_app.ui.component import component
from ptx_app.ui.read_first import hidden, shown_name
from ptx_app.ui.visit import Case, Film, Visit

_mount = component("film_list")

Mark = Literal["flagged", "borderline", "clear", "problem", "waiting", "hidden"]
_MARKS: dict[Grade, Mark] = {Grade.FLAGGED: "flagged", Grade.BORDERLINE: "borderline", Grade.CLEAR: "clear"}
# Longer side in px of the picture on which sides and sizes of the list are decided: all films are decided again
# whenever a threshold changes.
_LISTED_PX = 512


@dataclass(frozen=True)
class Entry:
    """One film of the list.

    Attributes:
        id: the case's number.
        title: the file's name, as it may be shown.
        picture: a data URL, or "" where there is none.
        score: image-level probability, or None if the film was not analysed or its result is hidden.
        standing: the verdict, or how far the film is, in a few words.
        where: side and size in a few words, or "".
        mark: kind of standing.
        seen: whether the reader has seen the result.
        chosen: whether it is on the screen.
        below: whether the score is below its threshold.
        reading: the reader's answer, or "".
        differs: whether that answer differs from the model's.
    """

    id: str
    title: str
    picture: str
    score: float | None
    standing: str
    where: str
    mark: Mark
    seen: bool
    chosen: bool
    below: bool = False
    reading: str = ""
    differs: bool = False


def film_list(visit: Visit, thresholds: Thresholds | None) -> None:
    """Draw the list. The browser sorts and filters it; arrows, J and K pick the next film of its order from anywhere.

    Args:
        visit: its cases are listed.
        thresholds: those in use; None while no film is analysed.
    """

    def picked() -> None:
        import streamlit as st

        pick = st.session_state["films"].pick
        if pick and pick["visit"] == visit.name and pick["serial"] > visit.picks:
            visit.picks = pick["serial"]
            visit.show(int(pick["id"]))

    entries = [entry(case, thresholds, chosen=case is visit.current) for case in visit.cases]
    note = messages.again(visit.again)
    data = {
        "films": [asdict(each) for each in entries],
        "visit": visit.name,
        "picks": visit.picks,
        "note": note,
        "answers": [key.lower() for key in KEYS.values()],
    }
    _mount(key="films", data=data, on_pick_change=picked)


def entry(case: Case, thresholds: Thresholds | None, *, chosen: bool) -> Entry:
    """A case as it is listed at these thresholds."""
    film = case.film
    picture = film.thumbnail if film else ""
    number, title = str(case.number), shown_name(case)
    if not case.done:
        standing = case.saying or ("reading" if case.running else "waiting")
        return Entry(number, title, picture, None, standing, "", "waiting", case.seen, chosen)
    if film is None or film.prediction is None or thresholds is None:
        standing = "not read" if film is None else "not analysed"
        return Entry(number, title, picture, None, standing, "", "problem", case.seen, chosen)
    if hidden(case):
        return Entry(number, title, picture, None, "result hidden", "", "hidden", case.seen, chosen)
    score = film.prediction.score
    found = grade(score, thresholds.score)
    standing = f"overruled, {found.value}" if case.overruled else found.value
    where = _where(case, film, thresholds)
    answer = str(case.reading.answer) if case.reading else ""
    differs = case.reading is not None and case.reading.differs
    below = score < thresholds.score
    return Entry(
        number, title, picture, score, standing, where, _MARKS[found], case.seen, chosen, below, answer, differs
    )


def _where(case: Case, film: Film, thresholds: Thresholds) -> str:
    if case.listed is None or case.listed[0] != thresholds:
        case.listed = thresholds, _brief(film, thresholds)
    return case.listed[1]


def _brief(film: Film, thresholds: Thresholds) -> str:
    """Side and size in a few words, decided on a reduced picture; the size is rounded so far that both agree."""
    assert film.prediction is not None  # noqa: S101  (only analysed films are decided)
    scale = min(1.0, _LISTED_PX / max(film.shape))
    shape = round(film.shape[0] * scale), round(film.shape[1] * scale)
    factors = shape[0] / film.shape[0], shape[1] / film.shape[1]
    finding = decide(film.prediction.scaled(*factors), shape, thresholds)
    if not finding.flagged:
        return "just below threshold" if finding.grade is Grade.BORDERLINE else ""
    if not finding.regions:
        return "no outline"
    sizes = measure(finding, film.lungs, None, film.field and film.field.scaled(*factors))
    if not sizes:
        return f"{messages.SIDE_NAMES[Side.UNKNOWN]}, {_about(finding.share)} of film"
    of_hemithorax = [each.hemithorax_share for each in sizes if each.hemithorax_share is not None]
    known = len(of_hemithorax) == len(sizes)
    parts = [_about(share) for share in (of_hemithorax if known else [each.film_share for each in sizes])]
    names = [messages.SIDE_NAMES[each.side] for each in sizes]
    both = ", ".join(f"{name[0]} {part}" for name, part in zip(names, parts, strict=True))
    return f"{both if len(sizes) > 1 else f'{names[0]}, {parts[0]}'} of {'hemithorax' if known else 'film'}"


def _about(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"
