"""Your reading: the reader's answer to a result, kept for the visit and, if the operator says so, on the server."""

from collections.abc import Iterator
from functools import partial

import streamlit as st

from ptx_app.audit import Event
from ptx_app.errors import ContourError, PtxError
from ptx_app.inference.decide import Finding, decide, sides_of
from ptx_app.output.feedback import Answer, AnsweredFilm, FeedbackFolder, PackedMask, Reading, training_zip
from ptx_app.output.setting import Setting
from ptx_app.ui import messages, panel
from ptx_app.ui.downloads import Offer
from ptx_app.ui.engine import engine, settings
from ptx_app.ui.visit import Case, Film, Visit

KEYS = {"agree": "G", "disagree": "D", "pneumothorax": "X", "none": "N", "show": "S"}
"""The keys of the buttons that answer or reveal a result. Until a picked film is there they do nothing."""

MOST_MASK_BYTES = 50 << 20
"""Bytes of packed masks in one visit. A contour has some kilobytes; noise of the size of a film has megabytes."""


def show_reading(visit: Visit, case: Case, finding: Finding) -> None:
    """Draw the buttons and what was answered. Callbacks hold no film: Streamlit keeps them for some time."""
    number = case.number
    st.html('<h3 class="part">Your reading</h3>')
    with st.container(horizontal=True, gap="small", key="reading"):
        _button(visit, case, finding, Answer.AGREE, KEYS["agree"], "The verdict is right, and so is the contour")
        missed = "There is no pneumothorax" if finding.flagged else "There is a pneumothorax"
        _button(visit, case, finding, Answer.DISAGREE, KEYS["disagree"], missed)
        st.button(
            "Adjust contour",
            key=f"draw-{number}",
            on_click=partial(_wish, visit, number),
            help="Draw on the film where the pneumothorax is (B), then press Done",
        )
    if case.reading is not None:
        said = messages.reading(case.reading, finding.thresholds)
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.html(f'<p class="small own" role="status">{said}</p>')
            st.button(
                "Take back", key=f"withdraw-{number}", on_click=partial(_withdraw, visit, number), type="tertiary"
            )
    _show_what_becomes_of_it(case)


def show_reading_first(visit: Visit, case: Case) -> None:
    """Ask for the reader's own reading while the result is hidden."""
    number = case.number
    st.html(
        '<div class="verdict first"><h2>Your reading first</h2><p>Is there a pneumothorax on this film? The result '
        "follows your answer.</p></div>"
    )
    with st.container(horizontal=True, gap="small", key="reading"):
        for label, positive, shortcut in (
            ("Pneumothorax", True, KEYS["pneumothorax"]),
            ("No pneumothorax", False, KEYS["none"]),
        ):
            st.button(
                label,
                key=f"first-{'yes' if positive else 'no'}-{number}",
                on_click=partial(_answer_first, visit, number, positive),
                shortcut=shortcut,
            )
    st.button(
        "Show the result",
        key=f"reveal-{number}",
        on_click=partial(_reveal, visit, number),
        shortcut=KEYS["show"],
        help="Without a reading of your own",
        type="tertiary",
    )
    _show_what_becomes_of_it(case)


def _show_what_becomes_of_it(case: Case) -> None:
    if case.trouble is not None:
        st.html(f'<p class="small warning" role="alert">{messages.trouble(case.trouble)}</p>')
    if case.overruled:
        st.html('<p class="small">Not for training: the film check rejects this film.</p>')
    elif settings().feedback_dir is not None:
        st.html('<p class="small">The server keeps your answer with the film’s pixels, without names or header.</p>')


def _button(visit: Visit, case: Case, finding: Finding, answer: Answer, shortcut: str, hint: str) -> None:
    given = case.reading
    answered = (
        given is not None
        and given.answer is answer
        and not given.unseen
        and given.is_of_verdict_at(finding.thresholds)  # of another verdict, at another threshold, nothing was said
    )
    st.button(
        answer.capitalize(),
        key=f"{answer}-{case.number}",
        on_click=partial(_answer, visit, case.number, answer),
        help=hint,
        shortcut=shortcut,
        type="primary" if answered else "secondary",
    )


def _wish(visit: Visit, number: int) -> None:
    for case, _ in _analysed(visit, number):
        case.wishes += 1


def _answer(visit: Visit, number: int, answer: Answer) -> None:
    for case, film in _analysed(visit, number):
        make = Reading.agree if answer is Answer.AGREE else Reading.disagree
        _keep(visit, case, film, make(*_decided(film)))


def _answer_first(visit: Visit, number: int, positive: bool) -> None:
    for case, film in _analysed(visit, number):
        if not case.revealed:  # a second press comes when the result is there
            _keep(visit, case, film, Reading.first(positive, *_decided(film)))


def _reveal(visit: Visit, number: int) -> None:
    for case, _ in _analysed(visit, number):
        case.revealed = True


def keep_contour(visit: Visit, key: str, sent: object) -> None:
    """Keep what the browser sends as the reader's contour of the film that it knows under this key.

    It may be another film by now than the one on the screen. What is no contour of that film becomes the case's
    `trouble`.
    """
    for case, film in _analysed(visit):
        if film.shown_as == key:
            try:
                mask = PackedMask.received(sent, film.shape)
                _require_room(visit, case, mask)
                assert film.prediction is not None  # noqa: S101  (only analysed films are answered)
                sides = sides_of(mask.mask(), film.prediction)
            except PtxError as error:
                case.trouble = error
            else:
                _keep(visit, case, film, Reading.contour(mask, sides, *_decided(film)))


def _require_room(visit: Visit, case: Case, mask: PackedMask) -> None:
    others = [each.reading.mask for each in visit.cases if each.reading and each.reading.mask and each is not case]
    if len(mask.data) + sum(len(each.data) for each in others) > MOST_MASK_BYTES:
        raise ContourError(
            "CONTOURS_FULL", "No more contours fit into this visit. Download “For training”, then clear all films."
        )


def _analysed(visit: Visit, number: int | None = None) -> Iterator[tuple[Case, Film]]:
    """The analysed films, or the one of a case if it is one."""
    for case in list(visit.cases):
        if case.film and case.film.prediction and number in (None, case.number):
            yield case, case.film


def _decided(film: Film) -> tuple[Finding, Setting]:
    """The result that is on the screen, and with what it was made."""
    detector = engine(lambda *_: None).detector
    point, thresholds = panel.chosen_thresholds(detector.weights)
    assert film.prediction is not None  # noqa: S101  (only analysed films are answered)
    finding = decide(film.prediction, film.shape, thresholds)
    return finding, Setting.of(detector.weights, point, thresholds, detector.network.engine)


def _keep(visit: Visit, case: Case, film: Film, reading: Reading) -> None:
    folder, case.trouble = settings().feedback_dir, None
    try:
        visit.log.tell(Event.FILM_ANSWERED, film=case.audit_name, answer=str(reading.answer))
        case.reading, case.revealed = reading, True
        if folder is not None and not case.overruled:
            FeedbackFolder(folder).save(_answered(film, reading))
    except PtxError as error:
        case.trouble = error


def _withdraw(visit: Visit, number: int) -> None:
    folder = settings().feedback_dir
    for case, film in _analysed(visit, number):
        case.trouble = None
        if case.reading is None:
            continue
        try:
            visit.log.tell(Event.FILM_ANSWERED, film=case.audit_name, answer="taken back")
            if folder is not None and not case.overruled:
                FeedbackFolder(folder).withdraw(_answered(film, case.reading))
            case.reading = None  # at last: what failed can be tried again
        except PtxError as error:
            case.trouble = error


def _answered(film: Film, reading: Reading) -> AnsweredFilm:
    return AnsweredFilm(film.greys.pixels(), film.view, reading)


def training_offer(visit: Visit) -> list[Offer]:
    """The download of all answered films of the visit, if there are any that may be trained on."""
    answered = [
        (film, case.reading) for case, film in _analysed(visit) if case.reading is not None and not case.overruled
    ]
    if not answered:
        return []

    def make() -> bytes:
        return training_zip(_answered(film, reading) for film, reading in answered)

    count = "1 film" if len(answered) == 1 else f"{len(answered)} films"
    hint = f"A zip of {count} that you answered, as ptx train and ptx evaluate read it: pixels, contours, answers"
    return [Offer("For training", hint, "readings.zip", "application/zip", make)]
