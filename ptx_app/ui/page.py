"""The page: the film at the left, everything about it at the right, the films of the visit below."""

import time
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from threading import Timer
from weakref import ref

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ptx_app.audit import Event
from ptx_app.errors import AuditError, PtxError
from ptx_app.film.examples import EXAMPLES
from ptx_app.inference.decide import Finding, decide
from ptx_app.inference.measure import SideMeasure, measure
from ptx_app.output.feedback import Answer
from ptx_app.output.record import NOTICE
from ptx_app.output.setting import Setting
from ptx_app.pipeline import Detector
from ptx_app.ui import light_page, messages, panel, sign_in
from ptx_app.ui.about import about
from ptx_app.ui.all_results import all_results
from ptx_app.ui.answers import keep_contour, show_reading, show_reading_first, training_offer
from ptx_app.ui.background import read_on, seconds_between_looks
from ptx_app.ui.downloads import Offer, downloads
from ptx_app.ui.engine import engine, example_thumbnails, has_archive, on_public_host, warm_up
from ptx_app.ui.film_list import film_list
from ptx_app.ui.intake import KEEP_HEADER, drop_key, overrule, take_dropped, take_example
from ptx_app.ui.operator_page import offer_operator_page, operator_page
from ptx_app.ui.read_first import hidden, offer_read_first, why_closed
from ptx_app.ui.session_cleanup import end_session_with_page, release_all_uploads
from ptx_app.ui.sign_in import Person, Role
from ptx_app.ui.thumbnails import Thumbnail, thumbnails
from ptx_app.ui.tour import tour
from ptx_app.ui.viewer import viewer
from ptx_app.ui.visit import UNDO_SECONDS, Case, Film, Visit, end_visit, this_visit

_TITLE = "Pneumothorax on chest films"
_FEW = 4  # films that the list shows in one row
_SOON = 1.0  # s for which the page waits for a film's result before it is drawn without it
_UNSURE = 0.3  # s after a drawing of the page in which a look at its list draws it again; looks are further apart
_STYLE = Path(__file__).with_name("page.css")


def show() -> None:
    """Draw the whole page; app.py calls it at each run."""
    st.set_page_config(page_title=_TITLE, layout="wide", initial_sidebar_state="collapsed")
    light_page.apply_choice()
    st.html(_STYLE)
    try:
        if not sign_in.is_on():
            _show_films(this_visit(), None)
            return
        sign_in.check_settings()
        who = sign_in.person()
        if who is None:
            sign_in.sign_ins().end_idle()  # so that the trail has the reason first
            end_visit("signed out")
            sign_in.show_sign_in()
        else:
            _show_to(who)
    except PtxError as error:
        st.html(_problem(error.message, error.code))


def _show_to(who: Person) -> None:
    """Draw what a person may see."""
    visit = this_visit(who.id)
    if not visit.admitted:
        visit.log.tell(Event.SIGNED_IN, name=who.name, roles=sorted(who.roles))
        sign_in.sign_ins().when_over(who.sign_in, partial(_sign_out, ref(visit)))
        visit.admitted = True
    sign_in.keep_watch(who)
    if not who.roles:
        end_session_with_page(visit)
        sign_in.show_not_allowed(who)
    elif Role.READER not in who.roles or (Role.OPERATOR in who.roles and st.session_state.get("operating")):
        end_session_with_page(visit)
        operator_page(who)
    else:
        _show_films(visit, who)


def _sign_out(which: "ref[Visit]", why: str) -> None:
    """End a visit whose sign-in is over. No page may be there any more to do it."""
    visit = which()
    if visit is not None:
        visit.clear()
        visit.log.signed_out(why)


def _show_films(visit: Visit, who: Person | None) -> None:
    end_session_with_page(visit)
    warm_up()
    take_dropped(visit)
    visit.drawn_at = None
    _show_problem(visit)
    _offer_undo(visit)
    if visit.cases:
        _show_reading(visit, who)
    else:
        _show_empty(visit, who)
    visit.drawn_at = time.monotonic()


def _require_whole(visit: Visit) -> None:
    """Draw the whole page again if it was drawn just now. Call it first in what is drawn by itself.

    If Streamlit is asked for a part while the end of the whole page is on its way, it throws that end away.
    """
    if visit.drawn_at is not None and time.monotonic() - visit.drawn_at < _UNSURE:
        st.rerun()


def _offer_account(who: Person | None) -> None:
    """Draw the person's own links; nothing where there is no sign-in."""
    if who is not None:
        with st.container(key="account", horizontal=True, gap="medium"):
            st.html(f'<p class="small">{escape(who.name)}</p>')
            sign_in.offer_sign_out(who)
            if Role.OPERATOR in who.roles:
                offer_operator_page()


def _show_problem(visit: Visit) -> None:
    """Show what went wrong while the page was not being drawn, once."""
    problem, visit.problem = visit.problem, None
    if problem is not None:
        st.html(_problem(problem.message, problem.code, "Not recorded"))


def _offer_undo(visit: Visit) -> None:
    # In a container, so that what follows keeps its place. The fragment looks every second whether time is up.
    with st.container(key="undo"):
        if visit.just_removed() is not None:
            st.fragment(_show_undo, run_every=1.0)(visit)


def _show_undo(visit: Visit) -> None:
    _require_whole(visit)
    case = visit.just_removed()
    if case is None:
        st.rerun()
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.html(f'<p class="small" role="status">Film {case.number} is removed.</p>')
        st.button("Undo", key="undo-remove", on_click=partial(_undo_removal, visit), type="tertiary")


def _undo_removal(visit: Visit) -> None:
    case = visit.just_removed()
    if case is None:
        return
    try:
        visit.log.tell(Event.FILM_OPENED, film=case.audit_name, how="brought back")
    except AuditError as error:
        visit.problem = error
    else:
        visit.bring_back()
        read_on(visit)


def _show_empty(visit: Visit, who: Person | None) -> None:
    with st.container(key="empty"):
        st.html("<h1>Is there a pneumothorax on this film, and where?</h1>" + _notice())
        _drop_zone(visit)
        _show_archive(visit)
        st.html('<p class="small centre">No film at hand? Open an example.</p>')
        picked = _pick_example()
        _offer_account(who)
        about(tour=False)
    if picked or "example" in st.query_params:
        take_example(visit, picked or st.query_params.pop("example"))


def _show_archive(visit: Visit) -> None:
    # In a container, so that what follows keeps its place.
    with st.container(key="archive"):
        if has_archive():
            from ptx_app.ui.archive import show_archive  # nothing of it is imported where no archive is set

            show_archive(visit)


def _pick_example() -> str | None:
    pictures = example_thumbnails()
    items = [Thumbnail(example.name, pictures[example.name], example.title, example.known) for example in EXAMPLES]
    return thumbnails("examples", "Examples", items)


def _show_reading(visit: Visit, who: Person | None) -> None:
    read_on(visit)
    left, side = st.columns([2, 1], gap="small")
    # Streamlit knows a fragment by its place. If that depended on what stands above, a click on the list could be lost.
    stage = left.container()
    with left:
        tour()
    below = left.container(key="many" if len(visit.cases) > _FEW else "few")
    with side, st.container(key="panel"):
        st.html(f'<h1 class="unseen">{_TITLE}</h1>{_notice()}')
        _drop_zone(visit)
        _show_archive(visit)
        _wait(visit)
        # What is drawn now: a film that is done a moment later is found by the list.
        drawn, case = _on_screen(visit), visit.current
        # In containers, so that what follows keeps its place, and an open text stays open.
        with st.container(key="case"):
            if case is not None:
                _show_case(stage, visit, case)
        with st.container():
            if any(case.film and case.film.prediction for case in visit.cases):
                _offer_all(visit)
        with st.container(horizontal=True, gap="medium"):
            _offer_removal(visit)
        _offer_account(who)
        about(tour=True)
    with below:
        st.fragment(_show_list, run_every=seconds_between_looks() if visit.pending else None)(visit, drawn)


def _wait(visit: Visit) -> None:
    """Wait for a new film on the screen, but only once: a click while it is read is answered at once."""
    if visit.awaited == visit.shown:
        visit.wait_for_shown(_SOON)
    visit.awaited = None


def _on_screen(visit: Visit) -> tuple[object, ...]:
    """What the page must be drawn again for, beside the list: another film, its outcome, and the end of all reading.

    Streamlit keeps it for some time, so it holds no film.
    """
    case = visit.current
    return visit.shown, case is not None and case.done, visit.pending == 0


def _show_list(visit: Visit, drawn: tuple[object, ...]) -> None:
    _require_whole(visit)
    if _on_screen(visit) != drawn:
        st.rerun()
    analysed = any(case.film and case.film.prediction for case in visit.cases)
    thresholds = panel.chosen_thresholds(_detector().weights)[1] if analysed else None
    try:
        visit.log.listed(visit.cases, thresholds, hidden)
    except AuditError as error:
        st.html(_problem(error.message, error.code, "Not shown"))
        return
    film_list(visit, thresholds)


def _detector() -> Detector:
    """The server's detector, which is loaded by the time that a film is analysed."""
    return engine(lambda *_: None).detector


def _offer_removal(visit: Visit) -> None:
    # Films are deleted whether or not the audit trail can be written.
    def clear() -> None:
        films = [case.audit_name for case in visit.cases]
        visit.clear()
        if has_archive():
            from ptx_app.ui.archive import forget_search

            forget_search()
        release_all_uploads()
        _tell_of_deletion(visit, films)

    # By its number: Streamlit keeps a button's call for some time, and with it would keep the film.
    def remove(number: int) -> None:
        films = [case.audit_name for case in visit.cases if case.number == number]
        visit.remove(number)
        # Also where no browser asks any more.
        timer = Timer(UNDO_SECONDS + 0.1, _forget_removed, [ref(visit)])
        timer.daemon = True
        timer.start()
        _tell_of_deletion(visit, films)

    if visit.shown is not None:
        st.button(
            "Remove this film",
            key="remove",
            on_click=partial(remove, visit.shown),
            type="tertiary",
            help=f"You can undo this for {UNDO_SECONDS} seconds",
        )
    with st.popover("Clear all films", type="tertiary", icon=":material/delete:"):
        st.write("This deletes all films and results of this visit. They cannot be recovered.")
        st.button("Delete all", key="clear", on_click=clear, type="primary")


def _forget_removed(which: "ref[Visit]") -> None:
    visit = which()
    if visit is not None:
        visit.just_removed()


def _tell_of_deletion(visit: Visit, films: list[str | None]) -> None:
    try:
        visit.log.tell(Event.FILMS_CLEARED, films=[film for film in films if film])
    except AuditError as error:
        visit.problem = error


def _offer_all(visit: Visit) -> None:
    detector = _detector()
    point, thresholds = panel.chosen_thresholds(detector.weights)
    setting = Setting.of(detector.weights, point, thresholds, detector.network.engine)
    named = not on_public_host()
    hint = "A zip with a table of all films, and overlay, mask and result of each, at the current setting"
    cases = [case for case in visit.cases if case.done]  # others are done while the file is made, but not told
    make = partial(all_results, cases, setting, named=named)
    films = [case.audit_name for case in cases if case.audit_name]
    closed = why_closed(cases)
    if visit.pending:
        st.html('<p class="small">“Download all films” holds those that are read by now.</p>')
    if closed:
        st.html(f'<p class="small">“Download all films”: {closed[0].lower()}{closed[1:]}.</p>')
    offer = Offer("Download all films", hint, "films.zip", "application/zip", make, closed=closed)
    tell = partial(visit.log.tell, Event.FILE_DOWNLOADED, films=films)
    downloads("all", [offer, *training_offer(visit)], tell)


def _show_case(stage: DeltaGenerator, visit: Visit, case: Case) -> None:
    panel.show_name(case)
    if case.archived is not None:
        from ptx_app.ui.archive import caption

        st.html(f'<p class="small archived">{escape(caption(case.archived))}</p>')
    if not case.done:
        with stage:
            st.html('<div class="nofilm" role="status"><p>Reading this film</p></div>')
        return
    case.seen = True
    if case.error is not None:
        visit.log.shown(case, None)
        with stage:
            st.html(f'<div class="nofilm">{_problem(case.error.message, case.error.code)}</div>')
        return
    film = case.film
    assert film is not None  # noqa: S101  (a case has either)
    if film.prediction is None:
        _show_rejected(stage, visit, case, film)
        return
    detector = _detector()
    if hidden(case):
        _show_hidden(stage, visit, case, film)
        return
    # What is done with a film stands below its verdict, and what is the same for all films below that.
    verdict, actions = st.container(), st.container()
    point, thresholds = panel.choose_thresholds(detector.weights)
    visit.log.setting(
        operating_point=point.name, score_threshold=thresholds.score, mask_threshold=thresholds.mask_threshold
    )
    visit.log.shown(case, thresholds)
    finding = decide(film.prediction, film.shape, thresholds)
    with stage:
        viewer(
            film.shown_as,
            film.message(),
            messages.alt_text(finding, film.shape),
            flagged=finding.flagged,
            thresholds=thresholds,
            sides=film.frontal,
            on_mask_threshold=panel.keep_mask_threshold,
            drawn=_drawn(case),
            draw=f"{film.key}-{case.wishes}" if case.wishes else "",
            on_contour=partial(keep_contour, visit),
        )
    sizes = measure(finding, film.lungs, film.spacing, film.field, film.view)
    panel.show_worth(finding, point, case)
    panel.show_header(film)
    with verdict:
        panel.show_verdict(finding, sizes, point, case)
        panel.show_warnings(film.warnings)
    with actions:
        setting = Setting.of(detector.weights, point, thresholds, detector.network.engine)
        _show_actions(visit, case, film, finding, sizes, setting)


def _show_actions(
    visit: Visit, case: Case, film: Film, finding: Finding, sizes: Sequence[SideMeasure], setting: Setting
) -> None:
    """The reader's answer, the report's text, downloads, and what an archive's film has beside them."""
    show_reading(visit, case, finding)
    tell = partial(visit.log.tell, Event.FILE_DOWNLOADED, film=case.audit_name)
    panel.offer_files(case, film, finding, sizes, setting, tell)
    panel.show_report(case, film, finding, sizes, setting)
    if case.archived is not None:
        from ptx_app.ui.archive import offer_priors, offer_storing
        from ptx_app.ui.course import offer_course

        offer_storing(case, film, finding, setting, visit.log)
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            offer_priors(visit, case)
            offer_course(visit, case, setting.thresholds)


def _show_hidden(stage: DeltaGenerator, visit: Visit, case: Case, film: Film) -> None:
    """Draw a film whose result the reader does not want to see yet. Nothing of it is sent to the browser."""
    visit.log.shown(case, None, hidden=True)
    seen = film.without_result()
    with stage:
        viewer(seen.shown_as, seen.message(), messages.hidden_alt_text(film.shape), sides=film.frontal)
    panel.show_overruled(case)
    show_reading_first(visit, case)
    panel.show_warnings(film.warnings)
    panel.show_header(film)
    panel.show_closed_files()
    if case.archived is not None:
        from ptx_app.ui.archive import offer_priors

        offer_priors(visit, case)


def _drawn(case: Case) -> str | None:
    """The reader's own contour, for the viewer."""
    reading = case.reading
    return reading.mask.text() if reading and reading.mask and reading.answer is Answer.CONTOUR else None


def _show_rejected(stage: DeltaGenerator, visit: Visit, case: Case, film: Film) -> None:
    visit.log.shown(case, None)
    with stage:
        viewer(film.shown_as, film.message(), "A picture that was not analysed", sides=False)
    reasons = " ".join(rejection.message for rejection in film.rejections)
    st.html(_problem(reasons, film.rejections[0].code, "Not analysed"))
    st.button("Analyse anyway", key=f"overrule-{case.number}", on_click=partial(overrule, visit, case.number))
    panel.show_header(film)


def _drop_zone(visit: Visit) -> None:
    wanted = bool(st.session_state.get("folder"))
    visit.folders = visit.folders or wanted
    # Both zones stay once they were there, one of them hidden: an upload ends if its zone goes away.
    for folder in (False, True) if visit.folders else (False,):
        with st.container(key=f"zone-{'folder' if folder else 'files'}"):
            st.file_uploader(
                "Drop a folder of chest films" if folder else "Drop chest films: DICOM, PNG, JPEG, or a zip of them",
                accept_multiple_files="directory" if folder else True,
                key=drop_key(visit, folder=folder),
                help="One or more. Films stay in this session's memory until you close the page or clear them.",
            )
    if visit.folders:
        st.html(f"<style>:has(> .st-key-zone-{'files' if wanted else 'folder'}) {{ display: none; }}</style>")
    with st.container(horizontal=True, gap="medium", key="switches"):
        st.toggle("A whole folder", key="folder", persist_state="session")
        if not on_public_host():
            st.toggle(
                "Keep the patient’s header",
                key=KEEP_HEADER,
                persist_state="session",
                help="For DICOM files that you drop from now on. Their DICOM downloads then have the patient’s own "
                "header and belong to the patient’s study. Without it they are de-identified.",
            )
        offer_read_first()


def _notice() -> str:
    public = " Do not upload identifiable films." if on_public_host() else ""
    return f'<p class="notice" role="note">{NOTICE}{public}</p>'


def _problem(message: str, code: str, title: str = "Not read") -> str:
    return (
        f'<div class="problem" role="alert"><h2>{escape(title)}</h2>'
        f"<p>{escape(message)}</p><code>{escape(code)}</code></div>"
    )
