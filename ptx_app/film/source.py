"""What a film's own DICOM header says about patient, study and picture. Read only where the user asks for it.

A `Radiograph` never has any of this. It exists for one purpose: exports that belong to the patient's own study.
"""

import base64
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ptx_app.film.grey import Lut, Window

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_LONGEST_UID = 64
_LONGEST_TEXT = 64
_GROUPS_OF_A_NAME = 3  # alphabetic, ideographic, phonetic


@dataclass(frozen=True)
class PatientStudy:
    """Patient and study as the header says them; "" where it says nothing, or nothing that DICOM allows."""

    patient_name: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    study_description: str = ""
    accession_number: str = ""
    referring_physician_name: str = ""


@dataclass(frozen=True)
class SourceReference:
    """The film in its file: who it belongs to, what refers to it, and how its stored values are to be shown.

    Attributes:
        person: patient and study.
        study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid: valid UIDs.
        modality: CR, DX or RG; "OT" for anything else.
        orientation: patient directions of rows and columns, such as ("L", "F"); empty if not stated.
        rows, columns: of the stored picture, in px.
        slope, intercept: rescale; not used where there is a modality LUT.
        modality_lut, voi: as in `GreyScale`.
        inverted: MONOCHROME1.
    """

    person: PatientStudy
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    orientation: tuple[str, ...]
    rows: int
    columns: int
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    voi: Lut | Window | None = None
    inverted: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a value that does not belong there: the record comes from a process that may lie."""
        uids = (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid, self.sop_class_uid)
        texts = asdict(self.person).values()
        longest = _LONGEST_TEXT * _GROUPS_OF_A_NAME + 2
        if not all(map(is_uid, uids)) or not all(isinstance(said, str) and len(said) <= longest for said in texts):
            raise ValueError("not a source reference")


def is_uid(said: object) -> bool:
    """Whether this is a UID that DICOM allows."""
    return isinstance(said, str) and len(said) <= _LONGEST_UID and _UID.fullmatch(said) is not None


def facts_of(source: SourceReference | None) -> dict[str, Any] | None:
    """The reference as JSON can hold it."""
    if source is None:
        return None
    facts = {name: getattr(source, name) for name in source.__dataclass_fields__}
    return facts | {
        "person": asdict(source.person),
        "modality_lut": _table_facts(source.modality_lut),
        "voi": _table_facts(source.voi),
    }


def source_of(facts: dict[str, Any] | None) -> SourceReference | None:
    """The reference that `facts_of` wrote.

    Raises:
        ValueError, TypeError or KeyError: the facts are not those of a reference.
    """
    if facts is None:
        return None
    lut, voi = _table(facts["modality_lut"]), _table(facts["voi"])
    if isinstance(lut, Window):
        raise TypeError("a window is no modality LUT")
    return SourceReference(
        **facts
        | {
            "person": PatientStudy(**facts["person"]),
            "orientation": tuple(facts["orientation"]),
            "modality_lut": lut,
            "voi": voi,
        }
    )


def _table_facts(table: Lut | Window | None) -> dict[str, Any] | None:
    if table is None:
        return None
    if isinstance(table, Window):
        return asdict(table)
    entries = base64.b64encode(table.entries.astype("<u2").tobytes()).decode()
    return {"first": table.first, "bits": table.bits, "entries": entries, "stated": table.stated}


def _table(facts: dict[str, Any] | None) -> Lut | Window | None:
    if facts is None:
        return None
    if "entries" not in facts:
        return Window(**facts)
    entries = np.frombuffer(base64.b64decode(facts["entries"], validate=True), "<u2")
    return Lut(**facts | {"entries": entries})
