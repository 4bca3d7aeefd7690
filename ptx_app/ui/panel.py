"""Beside the film: verdict, score, side and size, thresholds, layers, technical tags, downloads."""

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html import escape
from math import isnan

import streamlit as st

from ptx_app.film.radiograph import FilmNote, View
from ptx_app.inference.decide import Finding, Thresholds
from ptx_app.inference.measure import SideMeasure
from ptx_app.model.manifest import OperatingPoint, Weights
from ptx_app.output.caption import captioned_overlay
from ptx_app.output.pictures import encoded, mask_picture
from ptx_app.output.record import finding_json
from ptx_app.output.setting import Setting
from ptx_app.ui import messages
from ptx_app.ui.downloads import Offer, downloads
from ptx_app.ui.intake import KEEP_HEADER
from ptx_app.ui.read_first import CLOSED, shown_name
from ptx_app.ui.visit import Case, Film

PREVALENCES = (1, 2, 5, 10, 20, 30)
"""In percent."""

_FILES = ("Overlay PNG", "Mask PNG", "Result JSON", "DICOM")


def show_name(case: Case) -> None:
    """Show the file's name, and whether the patient's header is kept. Only the person who dropped the file sees it."""
    name = escape(shown_name(case))
    kept = f'<p class="small">{messages.HEADER_KEPT}</p>' if case.source else ""
    st.html(f'<p class="small name" title="{name}">{case.number} · {name}</p>{kept}')


def show_verdict(finding: Finding, sizes: Sequence[SideMeasure], point: OperatingPoint, case: Case) -> None:
    """Show overruled rejections, the verdict, sides and sizes, and the score as a bar with its threshold."""
    overruled = show_overruled(case)
    said = messages.NOT_MEASURED_ON_SUCH if overruled else messages.stated_rates(point, finding.thresholds)
    score, threshold = 100 * finding.score, 100 * finding.thresholds.score
    kind = finding.grade.name.lower() + ("" if finding.flagged else " below")
    view = case.film.view if case.film else View.UNKNOWN
    said_below = [*map(messages.size, sizes), messages.hint(finding, view)]
    measured = "".join(f'<p class="small">{each}</p>' for each in said_below if each)
    sentence = f"<h2>{messages.verdict(finding)}</h2><p>{messages.where(finding)}</p>{measured}"
    st.html(
        f'<div class="verdict {kind}" role="status">{sentence}</div>'
        f'<div class="score" role="img" aria-label="Score {finding.score:.3f}, threshold {threshold / 100:.3f}">'
        f'<div class="bar"><i class="{kind}" style="width:{score:.1f}%"></i><b style="left:{threshold:.1f}%"></b></div>'
        f"<span>Score {finding.score:.3f} <small>threshold {threshold / 100:.3f}</small></span></div>"
        f'<p class="small">{escape(said)}</p>'
        + (f'<p class="small known">Example: {escape(case.known)}</p>' if case.known else "")
    )


def show_overruled(case: Case) -> tuple[FilmNote, ...]:
    """Show the rejections that the user has overruled, and return them."""
    overruled = case.film.rejections if case.film and case.overruled else ()
    for rejection in overruled:
        st.html(
            f'<p class="small warning">Analysed although the film check rejected it. {escape(rejection.message)}</p>'
        )
    return overruled


def show_worth(finding: Finding, point: OperatingPoint, case: Case) -> None:
    """Show what a flag is worth, at a prevalence that the reader sets; nothing where no figures were measured."""
    if case.overruled or finding.thresholds.score != point.score or not messages.worth_of_a_flag(point, 0.5):
        return
    prevalence = st.select_slider(
        "Films with a pneumothorax, of all films read",
        PREVALENCES,
        value=5,
        format_func=lambda percent: f"{percent} %",
        key="prevalence",
        persist_state="session",
        help="Computed from the rates above. Choose what is usual in your practice.",
    )
    st.html(f'<p class="small">{messages.worth_of_a_flag(point, prevalence / 100)}</p>')


def show_report(case: Case, film: Film, finding: Finding, sizes: Sequence[SideMeasure], setting: Setting) -> None:
    """Offer a text to copy into a report."""
    with st.expander("Report text"):
        said = messages.report_text(finding, sizes, setting, film.view, film.warnings, case.reading)
        st.code(said, language=None, wrap_lines=True)


def choose_thresholds(weights: Weights) -> tuple[OperatingPoint, Thresholds]:
    """Let the user choose operating point and score threshold; with the viewer's mask threshold they stay."""
    points = {point.name: point for point in weights.operating_points}
    state = st.session_state
    state.setdefault("operating_point", weights.default_operating_point)

    def follow_point() -> None:
        chosen = points[state["operating_point"]]
        state["score_threshold"], state["mask_threshold"] = chosen.score, chosen.mask_threshold

    if "mask_threshold" not in state:
        follow_point()
    point, chosen = chosen_thresholds(weights)
    by_hand = chosen != Thresholds.of(point)
    with st.container(key="points-by-hand" if by_hand else "points"):
        st.segmented_control(
            "Operating point, changed by hand" if by_hand else "Operating point",
            list(points),
            format_func=str.capitalize,
            required=True,
            key="operating_point",
            persist_state="session",
            on_change=follow_point,
        )
    st.slider(
        "Score threshold",
        0.0,
        1.0,
        step=0.001,
        format="%.3f",
        key="score_threshold",
        persist_state="session",
        help="A film is flagged if its score is at least this.",
    )
    if by_hand:
        st.button(f"Reset to {point.name}", key="back", on_click=follow_point, type="tertiary", icon=":material/undo:")
    return point, chosen


def chosen_thresholds(weights: Weights) -> tuple[OperatingPoint, Thresholds]:
    """The operating point and thresholds in use: the user's, or the default until the controls have been shown."""
    state = st.session_state
    point = weights.operating_point(state.get("operating_point", weights.default_operating_point))
    score, mask_threshold = (state.get(name, own) for name, own in _own(point).items())
    return point, replace(Thresholds.of(point), score=score, mask_threshold=mask_threshold)


def _own(point: OperatingPoint) -> dict[str, float]:
    return {"score_threshold": point.score, "mask_threshold": point.mask_threshold}


def keep_mask_threshold(threshold: float) -> None:
    """Keep the mask threshold that the reader has chosen in the viewer, in [0, 1]. Ignores what is no number."""
    if isnan(threshold):
        return
    st.session_state["mask_threshold"] = min(max(threshold, 0.0), 1.0)


def show_warnings(warnings: Iterable[FilmNote]) -> None:
    """Show the film's warnings."""
    for warning in warnings:
        st.html(f'<p class="small warning">{escape(warning.message)}</p>')


def show_header(film: Film) -> None:
    """Show the technical tags that are safe to show."""
    with st.expander("About this film"):
        facts = {"File": film.source_format, "Size": f"{film.shape[1]} × {film.shape[0]} px"} | dict(film.tags)
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
        st.html(f'<table class="tags">{rows}</table>')


def show_closed_files() -> None:
    """Show which files there will be once the result is no longer hidden."""
    st.html(f'<p class="small">Files: {CLOSED[0].lower()}{CLOSED[1:]}.</p>')
    offers = [Offer(label, "", label, "", bytes, closed=CLOSED) for label in _FILES]
    downloads("downloads", offers, lambda **_: None, of_film=True)


def offer_files(
    case: Case,
    film: Film,
    finding: Finding,
    sizes: Sequence[SideMeasure],
    setting: Setting,
    tell: Callable[..., None],
) -> None:
    """Offer overlay and mask as PNG at the film's own size, the result as JSON, and DICOM objects.

    `tell` is called before a file is made, as by `downloads`.
    """

    def overlay() -> bytes:
        picture = captioned_overlay(film.greys.grey_picture(), finding, setting, sides=film.frontal)
        return encoded(picture, comment=setting.line())

    def mask() -> bytes:
        return encoded(mask_picture(finding), comment=setting.line())

    def result() -> bytes:
        overruled = film.rejections if case.overruled else ()
        return finding_json(
            finding,
            setting,
            view=film.view,
            source_format=film.source_format,
            sizes=sizes,
            warnings=film.warnings,
            overruled=overruled,
            reading=case.reading,
        ).encode()

    def dicom() -> bytes:
        from ptx_app.output.dicom.objects import dicom_objects  # highdicom takes a second to import

        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for kind, content in dicom_objects(film.radiograph(), finding, setting, case.source).items():
                archive.writestr(f"{stem}_{kind}.dcm", content)
        return target.getvalue()

    if case.source is None and st.session_state.get(KEEP_HEADER):
        st.html(f'<p class="small">{messages.NO_HEADER}</p>')
    if said := messages.whose(case.reading):
        st.html(f'<p class="small">{said}</p>')
    header = "with the patient’s own header" if case.source else "de-identified"
    stem = f"film-{case.number}"
    downloads(
        "downloads",
        [
            Offer(
                _FILES[0],
                "The film with the contour at its own size, and a caption below, PNG",
                f"{stem}-overlay.png",
                "image/png",
                overlay,
            ),
            Offer(_FILES[1], "The mask, 0 or 255, at the film's own size, PNG", f"{stem}-mask.png", "image/png", mask),
            Offer(
                _FILES[2],
                "Score, thresholds, side, size, regions",
                f"{stem}-result.json",
                "application/json",
                result,
            ),
            Offer(
                _FILES[3],
                f"Segmentation, secondary capture, report and presentation state, {header}, in one zip",
                f"{stem}-dicom.zip",
                "application/zip",
                dicom,
                "DICOM with the patient's own header" if case.source else "",
            ),
        ],
        tell,
        of_film=True,
    )
