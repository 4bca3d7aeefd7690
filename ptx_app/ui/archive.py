"""The section "From the archive", and storing results there. Imported only where the operator has set an archive."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from html import escape
from secrets import token_hex

import streamlit as st

from ptx_app.audit import Event, Log
from ptx_app.errors import PtxError
from ptx_app.hospital.dicomweb import STORED, Filters, Instance, Pacs, Stored, Study, Worklist
from ptx_app.hospital.dicomweb_http import error_of
from ptx_app.hospital.pacs_settings import read_pacs_settings
from ptx_app.inference.decide import Finding
from ptx_app.output.setting import Setting
from ptx_app.ui import messages
from ptx_app.ui.engine import operator_values, read, read_source
from ptx_app.ui.intake import take_archived
from ptx_app.ui.visit import FOUND_IN_ARCHIVE, Archived, Case, Film, Visit
from ptx_app.ui.worklist import worklist

_FIRST_DAY = date(1900, 1, 1)  # Streamlit's own is ten years ago, and archives keep films for longer


@dataclass
class _Search:
    """What the reader has searched for in this session, and what came of it.

    Attributes:
        found: the latest worklist.
        serial: its number.
        error: why the latest action failed.
        wanted: a study to open.
        opened: UIDs of the studies that were opened.
    """

    found: Worklist | None = None
    serial: int = 0
    error: PtxError | None = None
    wanted: Study | None = None
    opened: set[str] = field(default_factory=set)


def show_archive(visit: Visit) -> None:
    """Draw the section: filters, worklist, and what failed."""
    search = _search()
    # Two keys, so that it is open on the empty page, and does not push the verdict away once there are films.
    empty = not visit.cases
    with st.expander("From the archive", expanded=empty, key="archive-empty" if empty else "archive-films"):
        try:
            pacs = _pacs()
        except PtxError as error:
            _show_error(error)
            return
        filters = _filters(pacs)
        if filters is not None:
            visit.log.tell(Event.ARCHIVE_SEARCHED)
            _find(pacs, filters, search)
        if search.error is not None:
            _show_error(search.error)
        elif search.found is not None:
            worklist(
                search.found,
                search.serial,
                search.opened,
                partial(setattr, search, "wanted"),
                patients=pacs.settings.patient_id,
            )
        if search.wanted is not None:
            _open(visit, pacs, search)


def forget_search() -> None:
    """Delete what was found."""
    st.session_state.pop(FOUND_IN_ARCHIVE, None)


def offer_storing(case: Case, film: Film, finding: Finding, setting: Setting, log: Log) -> None:
    """Offer to store the results of a film from the archive in its study, and show what the archive said of them.

    `log` is told before anything is stored, and then what the archive said.
    """
    archived = case.archived
    assert archived is not None  # noqa: S101  (only such films have results to store)
    pacs = _pacs()
    if not pacs.settings.store:
        return
    if case.overruled:
        st.html('<p class="small">Results of a film that the film check rejected cannot be stored in the archive.</p>')
        return
    thresholds = {"score_threshold": setting.thresholds.score, "mask_threshold": setting.thresholds.mask_threshold}
    with st.popover("Store in the archive", icon=":material/cloud_upload:"):
        said, tries = st.container(), archived.tries
        # The click says which try it asks for and of what, so the second of two stores no second set. It is kept until
        # that try is made: Streamlit loses a click whose run is cut short by another one.
        ask = partial(setattr, archived, "asked", (tries + 1, setting))
        st.button("Store in the patient’s study", key=f"store-{case.number}", type="primary", on_click=ask)
        if archived.asked is not None:
            # The former run of the page may be storing still: Streamlit starts the next one meanwhile.
            with st.spinner("Storing"), archived.storing:
                if archived.asked == (archived.tries + 1, setting):
                    archived.tries += 1
                    log.tell(Event.STORING_BEGUN, film=case.audit_name, **thresholds)
                    archived.answers, archived.error = _stored(pacs, archived.instance, film, finding, setting)
                    codes = {kind: said.code for kind, said in archived.answers.items()}
                    failed = archived.error and archived.error.code
                    log.tell_after(Event.STORING_ENDED, film=case.audit_name, objects=codes or None, code=failed)
        if archived.tries > tries:
            st.rerun()  # so that the button asks for the next try
        with said:
            if archived.error is not None:
                _show_error(archived.error, "Not stored")
            if archived.answers:
                st.html(_answers(archived.answers))
            st.html(_question(setting, again=bool(archived.answers)))
    if archived.answers:
        there = sum(answer.ok for answer in archived.answers.values())
        st.html(f'<p class="small">{there} of {len(archived.answers)} objects are in the archive.</p>')


def offer_priors(visit: Visit, case: Case) -> None:
    """Offer to open the other chest films of the same patient."""
    archived = case.archived
    assert archived is not None  # noqa: S101  (only such films have an archive to search)
    if not st.button("Open the patient’s other films", key=f"priors-{case.number}", type="tertiary"):
        return
    in_round = visit.round
    visit.log.tell(Event.ARCHIVE_SEARCHED)
    pacs = _pacs()
    with st.spinner("Searching"):
        try:
            studies = pacs.priors(archived.study.uid)
            films = [
                (study, film)
                for study in studies
                for film in pacs.films(study.uid, [series.uid for series in study.series])
            ]
        except PtxError as error:
            _show_error(error, "The patient’s other films")
            return
    if not films:
        st.html('<p class="small" role="status">The archive has no other chest film of this patient.</p>')
        return
    patient = token_hex(8)  # a new one: the archive may have given a film to another patient since the last time
    mine = {archived.study.uid, *(study.uid for study in studies)}
    opened = [each.archived for each in visit.cases if each.archived and each.archived.study.uid in mine]
    for each in opened:
        each.patient = patient
    there = {each.instance for each in opened}
    take_archived(
        visit,
        in_round,
        [
            (
                f"{study.modalities} from the archive",
                partial(_fetch, pacs, film),
                Archived(film, study, patient=patient),
            )
            for study, film in films
            if film not in there
        ],
    )


def caption(archived: Archived) -> str:
    """Which film of the archive it is, in a line."""
    study = archived.study
    said = [f"{study.date} {study.time}".strip(), study.accession_number and f"accession {study.accession_number}"]
    said.append(study.patient_id and f"patient {study.patient_id}")
    return ", ".join(filter(None, said)) or "No date and no accession number"


def _search() -> _Search:
    search: _Search = st.session_state.setdefault(FOUND_IN_ARCHIVE, _Search())
    return search


def _pacs() -> Pacs:
    return Pacs(read_pacs_settings(operator_values()))


def _filters(pacs: Pacs) -> Filters | None:
    """The form; what it says once its button is pressed."""
    with st.form("archive-form", border=False):
        first, last = st.columns(2)
        since = first.date_input("From", date.today(), _FIRST_DAY, key="archive-since", format="YYYY-MM-DD")
        until = last.date_input("To", date.today(), _FIRST_DAY, key="archive-until", format="YYYY-MM-DD")
        number = st.text_input(
            "Accession number", key="archive-number", max_chars=16, help="If set, the days are ignored"
        )
        patient = ""
        if pacs.settings.patient_id:
            patient = st.text_input(
                "Patient ID", key="archive-patient", max_chars=64, help="If set, the days are ignored"
            )
        if not st.form_submit_button("Search"):
            return None
    search = _search()
    search.found, search.error = None, None
    number, patient = number.strip(), patient.strip()
    days = (None, None) if number or patient else (since, until)
    try:
        return Filters(days[0], days[1], number or None, patient or None)
    except PtxError as error:
        search.error = error
        return None


def _find(pacs: Pacs, filters: Filters, search: _Search) -> None:
    with st.spinner("Searching"):
        try:
            search.found = pacs.worklist(filters)
            search.serial += 1
        except PtxError as error:
            search.error = error


def _open(visit: Visit, pacs: Pacs, search: _Search) -> None:
    study, search.wanted = search.wanted, None
    assert study is not None  # noqa: S101  (the caller has looked)
    in_round = visit.round
    with st.spinner("Opening"):
        try:
            films = pacs.films(study.uid, [series.uid for series in study.series])
        except PtxError as error:
            films, search.error = [], error
    if search.error is not None:
        st.rerun()
    search.opened.add(study.uid)
    kinds = {series.uid: series.modality for series in study.series}
    take_archived(
        visit,
        in_round,
        [
            (f"{kinds[film.series]} from the archive", partial(_fetch, pacs, film), Archived(film, study))
            for film in films
        ],
    )


def _fetch(pacs: Pacs, film: Instance, say: Callable[[str], None]) -> bytes:
    """The film's file. Tells how far it is."""

    def tell(received: int, whole: int | None) -> None:
        say(f"receiving, {100 * received // whole} %" if whole else f"receiving, {received / (1 << 20):.0f} MB")

    say("asking the archive")
    data = pacs.fetch(film, tell)
    say("")
    return data


def _stored(
    pacs: Pacs, instance: Instance, film: Film, finding: Finding, setting: Setting
) -> tuple[dict[str, Stored], PtxError | None]:
    """Fetch the film once more for its header, make the objects, and store them. The header is kept nowhere."""
    from ptx_app.output.dicom.objects import dicom_objects  # highdicom takes a second to import

    try:
        data = pacs.fetch(instance)
        source = instance.require_source(read_source, data)
        # The archive may have another picture under the same UIDs by now, such as after a mix-up was corrected.
        if source is None or (source.rows, source.columns) != film.shape or not film.shows(read(data)):
            raise error_of("PACS_OTHER_FILM")
        return pacs.store_all(dicom_objects(film.radiograph(), finding, setting, source), instance.study), None
    except PtxError as error:
        return {}, error


def _question(setting: Setting, *, again: bool) -> str:
    kinds = ", ".join(STORED.values()).lower()
    before = "<p><b>Storing again adds a second set.</b></p>" if again else ""
    return (
        f"<p>This adds four objects to the patient’s study in the archive: {kinds}, as shown now "
        f"{escape(messages.at(setting))}.</p><p>They contain the patient’s own header and are marked as unverified. "
        f"<b>They cannot be removed from here.</b></p>{before}"
    )


def _answers(answers: dict[str, Stored]) -> str:
    lines = "".join(
        f'<li class="{"stored" if said.ok else "refused"}">{STORED[kind]}: {escape(said.message)}</li>'
        for kind, said in answers.items()
    )
    return f'<div class="answers" role="status"><p class="small">The archive says:</p><ul>{lines}</ul></div>'


def _show_error(error: PtxError, title: str = "The archive") -> None:
    st.html(
        f'<div class="problem" role="alert"><h2>{escape(title)}</h2><p>{escape(error.message)}</p>'
        f"<code>{escape(error.code)}</code></div>"
    )
