"""The archive's studies as a table, each with a button to open it."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import streamlit as st

from ptx_app.ui.component import component

if TYPE_CHECKING:
    from ptx_app.hospital.dicomweb import Study, Worklist

_mount = component("worklist")


def worklist(
    found: "Worklist", serial: int, opened: Collection[str], on_pick: Callable[["Study"], None], *, patients: bool
) -> None:
    """Draw the table.

    Args:
        found: the studies.
        serial: numbers the search, so that a late click is not taken for one on another search's line.
        opened: UIDs of studies that were opened.
        on_pick: called with the study whose button was pressed.
        patients: whether to show patient IDs.
    """

    def picked() -> None:
        pick = st.session_state["worklist"].pick
        if pick["serial"] == serial:
            on_pick(found.studies[pick["place"]])

    columns = ["Day", "Time", "Accession", *(["Patient ID"] if patients else []), "Kind", "Films"]
    more = "There are more studies. Narrow the search." if found.cut else ""
    note = more if found.studies else "No study matches."
    rows = [{"cells": _cells(study, patients), "opened": study.uid in opened} for study in found.studies]
    _mount(
        key="worklist",
        data={"columns": columns, "rows": rows, "note": note, "serial": serial},
        on_pick_change=picked,
    )


def _cells(study: "Study", patients: bool) -> list[str]:
    films = "" if study.films is None else str(study.films)
    patient = [study.patient_id] if patients else []
    return [study.date, study.time, study.accession_number, *patient, study.modalities, films]
