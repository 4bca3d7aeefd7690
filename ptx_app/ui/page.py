"""The page: the film at the left, everything about it at the right, the films of the visit below."""

from html import escape
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from ptx_app.errors import PtxError
from ptx_app.film.examples import EXAMPLES
from ptx_app.inference.decide import Grade, decide, grade
from ptx_app.inference.measure import measure
from ptx_app.output.record import NOTICE
from ptx_app.output.setting import Setting
from ptx_app.ui import messages, panel
from ptx_app.ui.engine import engine, example_thumbnails, on_public_host, warm_up
from ptx_app.ui.intake import judge, take_example, take_files
from ptx_app.ui.session_cleanup import end_session_with_page, release_all_uploads
from ptx_app.ui.thumbnails import Mark, Thumbnail, thumbnails
from ptx_app.ui.viewer import viewer
from ptx_app.ui.visit import Case, Film, Visit, this_visit

_MARKS: dict[Grade, Mark] = {Grade.FLAGGED: "flagged", Grade.BORDERLINE: "borderline", Grade.CLEAR: "clear"}
_STYLE = Path(__file__).with_name("page.css")


def show() -> None:
    """Draw the whole page; app.py calls it at each run."""
    st.set_page_config(page_title="Pneumothorax on chest films", layout="wide", initial_sidebar_state="collapsed")
    st.html(_STYLE)
    visit = this_visit()
    end_session_with_page(visit)
    warm_up()
    try:
        if visit.cases:
            _show_reading(visit)
        else:
            _show_empty(visit)
    except PtxError as error:
        st.html(_problem(error.message, error.code))


def _show_empty(visit: Visit) -> None:
    with st.container(key="empty"):
        st.html("<h1>Is there a pneumothorax on this film, and where?</h1>" + _notice())
        stage = st.container()
        with stage:
            files = _drop_zone(visit)
            st.html('<p class="small centre">No film at hand? Open an example.</p>')
            picked = _pick_example()
    with stage:
        if files:
            take_files(visit, files)
        if picked or "example" in st.query_params:
            take_example(visit, picked or st.query_params.pop("example"))


def _pick_example() -> str | None:
    pictures = example_thumbnails()
    items = [Thumbnail(example.name, pictures[example.name], example.title, example.known) for example in EXAMPLES]
    return thumbnails("examples", "Examples", items, "large", lambda: None)


def _show_reading(visit: Visit) -> None:
    def clear() -> None:
        visit.clear()
        release_all_uploads()

    stage, side = st.columns([2, 1], gap="small")
    progress = stage.container()
    with side, st.container(key="panel"):
        st.html(_notice())
        files = _drop_zone(visit)
        case = visit.current
        if case is not None:
            _show_case(stage, case)
        if case is not None:
            number = case.number
            st.button("Remove this film", key="remove", on_click=lambda: visit.remove(number), type="tertiary")
        with st.popover("Clear all films", type="tertiary", icon=":material/delete:"):
            st.write("This deletes all films and results of this visit. They cannot be brought back.")
            st.button("Delete all", key="clear", on_click=clear, type="primary")
    with stage:
        _show_strip(visit)
    if files:
        with progress:
            take_files(visit, files)


def _show_case(stage: DeltaGenerator, case: Case) -> None:
    panel.show_name(case)
    if case.error is not None:
        with stage:
            st.html(f'<div class="nofilm">{_problem(case.error.message, case.error.code)}</div>')
        return
    film = case.film
    assert film is not None  # noqa: S101  (a case has either)
    if film.prediction is None:
        _show_rejected(stage, case, film)
        return
    detector = engine(lambda *_: None).detector
    verdict = st.container()
    point, thresholds = panel.choose_thresholds(detector.weights)
    finding = decide(film.prediction, film.shape, thresholds)
    with stage:
        viewer(
            film.shown_as,
            film.message(),
            messages.alt_text(finding, film.shape),
            flagged=finding.flagged,
            thresholds=thresholds,
            on_mask_threshold=panel.keep_mask_threshold,
        )
    sizes = measure(finding, film.lungs, film.spacing, film.field)
    with verdict:
        panel.show_verdict(finding, sizes, point, case)
    panel.show_warnings(film.warnings)
    panel.show_header(film)
    setting = Setting.of(detector.weights, point, thresholds, detector.network.engine)
    panel.show_report(film, finding, sizes, setting)
    panel.offer_files(case, film, finding, setting)


def _show_rejected(stage: DeltaGenerator, case: Case, film: Film) -> None:
    with stage:
        viewer(film.shown_as, film.message(), "A picture that was not analysed", sides=False)
    reasons = " ".join(rejection.message for rejection in film.rejections)
    st.html(_problem(reasons, film.rejections[0].code, "Not analysed"))
    asked = st.button("Analyse anyway", key=f"overrule-{case.number}")
    panel.show_header(film)
    if asked:
        with stage:
            judge(case)


def _show_strip(visit: Visit) -> None:
    def pick() -> None:
        visit.show(int(st.session_state["strip"].pick))

    items = []
    for case in visit.cases:
        standing, mark = _standing(case)
        picture = case.film.thumbnail if case.film else ""
        label = f"{case.number} · {standing}"
        items.append(Thumbnail(str(case.number), picture, label, case.name, mark, case is visit.current))
    thumbnails("strip", "Films of this visit", items, "small", pick, arrow_keys=True)


def _standing(case: Case) -> tuple[str, Mark]:
    if case.film is None:
        return "not read", "refused"
    if case.film.prediction is None:
        return "not analysed", "refused"
    threshold = panel.score_threshold(engine(lambda *_: None).weights)
    found = grade(case.film.prediction.score, threshold)
    mark = _MARKS[found]
    return ("overruled", mark) if case.overruled else (found.value, mark)


def _drop_zone(visit: Visit) -> list[UploadedFile]:
    return st.file_uploader(
        "Drop chest films: DICOM, PNG or JPEG",
        accept_multiple_files=True,
        key=f"drop-{visit.round}",
        help="One or more. Files stay in this session's memory until you close the page or clear the films.",
    )


def _notice() -> str:
    public = " Do not upload identifiable films." if on_public_host() else ""
    return f'<p class="notice" role="note">{NOTICE}{public}</p>'


def _problem(message: str, code: str, title: str = "Not read") -> str:
    return (
        f'<div class="problem" role="alert"><h2>{escape(title)}</h2>'
        f"<p>{escape(message)}</p><code>{escape(code)}</code></div>"
    )
