"""Reads the header elements that tie an export to its film: patient, study, UIDs. Only where the user asks for it."""

import re
from datetime import datetime

from pydicom.charset import convert_encodings
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ptx_app.errors import FilmError
from ptx_app.film.dicom.form import stored_form
from ptx_app.film.dicom.header import ELEMENTS, code, text, texts
from ptx_app.film.dicom.parsing import damaged, parse
from ptx_app.film.dicom.presentation import grey_scale
from ptx_app.film.limits import Limits
from ptx_app.film.source import PatientStudy, SourceReference, is_uid

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
# Keyword of each text, and the most characters that its value representation allows.
_TEXTS = {
    "issuer_of_patient_id": ("IssuerOfPatientID", 64),
    "study_id": ("StudyID", 16),
    "study_description": ("StudyDescription", 64),
    "accession_number": ("AccessionNumber", 16),
}
_NAMES = {"patient_name": "PatientName", "referring_physician_name": "ReferringPhysicianName"}
_ID_CHARACTERS, _GROUP_CHARACTERS, _GROUPS = 64, 64, 3
_READ = [
    *_UIDS, *_NAMES.values(), *(keyword for keyword, _ in _TEXTS.values()), "SpecificCharacterSet", "PatientID",
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
]  # fmt: skip
_ELEMENTS = [*ELEMENTS, *(tag_for_keyword(keyword) for keyword in _READ)]
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_DIRECTION = re.compile("[APRLHF]{1,3}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")


def read_dicom_source(data: bytes, limits: Limits) -> SourceReference:
    """The reference to the film in a DICOM file. Its pixels are not decoded.

    A value that DICOM does not allow is left empty; a name that is too long is cut.

    Raises:
        FilmError: SOURCE_UNIDENTIFIED, SOURCE_PATIENT_ID or SOURCE_COLOUR, or as `read_dicom`.
    """
    try:
        return _read(data, limits)
    except (FilmError, MemoryError):
        raise
    except Exception:  # pydicom can raise any error on a damaged file; RecursionError is one of them
        raise damaged() from None


def _read(data: bytes, limits: Limits) -> SourceReference:
    dataset = parse(data, limits, _ELEMENTS).dataset
    implicit, little = dataset.original_encoding
    dataset.set_original_encoding(implicit, little, convert_encodings(_character_sets(dataset)))
    for keyword in _UIDS:
        if not is_uid(text(dataset, keyword)):
            raise FilmError(
                "SOURCE_UNIDENTIFIED",
                f"This film's header has no valid {keyword}, so nothing can refer to it. Export it de-identified.",
            )
    form, _ = stored_form(dataset, limits)
    if form.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise FilmError(
            "SOURCE_COLOUR",
            "This film is stored in colour, which the exports cannot refer to. Export it de-identified.",
        )
    scale, _ = grey_scale(dataset, form)
    stated_class, modality = text(dataset, "SOPClassUID"), code(dataset, "Modality")
    return SourceReference(
        person=_person(dataset),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        sop_class_uid=stated_class if is_uid(stated_class) else _CLASSES.get(modality, _CLASSES["CR"]),
        modality=modality if modality in ("CR", "DX", "RG") else "OT",
        orientation=_orientation(dataset),
        rows=form.rows,
        columns=form.columns,
        slope=scale.slope,
        intercept=scale.intercept,
        modality_lut=scale.modality_lut,
        voi=scale.voi,
        inverted=scale.inverted,
    )


# For a header without a class.
_CLASSES = {"CR": "1.2.840.10008.5.1.4.1.1.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}


def _orientation(dataset: Dataset) -> tuple[str, ...]:
    said = tuple(word.upper() for word in texts(dataset, "PatientOrientation"))
    return said if len(said) == 2 and all(map(_DIRECTION.fullmatch, said)) else ()


def _character_sets(dataset: Dataset) -> list[str]:
    return texts(dataset, "SpecificCharacterSet") or [""]


def _person(dataset: Dataset) -> PatientStudy:
    patient_id = _clean(text(dataset, "PatientID"))
    if len(patient_id) > _ID_CHARACTERS:
        raise FilmError(
            "SOURCE_PATIENT_ID",
            f"This film's patient ID is longer than the {_ID_CHARACTERS} characters that DICOM allows, and a shorter "
            "one would be another patient's. Export it de-identified.",
        )
    plain = {name: _fitting(text(dataset, keyword), most) for name, (keyword, most) in _TEXTS.items()}
    names = {name: _person_name(dataset, keyword) for name, keyword in _NAMES.items()}
    sex, time = code(dataset, "PatientSex"), text(dataset, "StudyTime")
    return PatientStudy(
        patient_id=patient_id,
        patient_birth_date=_date(text(dataset, "PatientBirthDate")),
        patient_sex=sex if sex in ("M", "F", "O") else "",
        study_date=_date(text(dataset, "StudyDate")),
        study_time=time if _TIME.fullmatch(time) else "",
        **plain,
        **names,
    )


def _clean(said: str) -> str:
    return _UNPRINTABLE.sub("", said).strip()


def _fitting(said: str, most: int) -> str:
    """The text, or "" if it is longer than DICOM allows: half an identifier is another identifier."""
    cleaned = _clean(said)
    return cleaned if len(cleaned) <= most else ""


def _person_name(dataset: Dataset, keyword: str) -> str:
    """The first name of an element, with its component groups; a group that is too long is cut."""
    value = dataset.get(keyword)
    said = str(next(iter(value), "") if isinstance(value, MultiValue) else value or "")
    groups = [_components(_clean(group)) for group in said.split("=")[:_GROUPS]]
    return "=".join(groups).rstrip("=")


def _components(group: str) -> str:
    return "^".join(group.split("^")[:5])[:_GROUP_CHARACTERS].strip()


def _date(said: str) -> str:
    try:
        datetime.strptime(said, "%Y%m%d")
    except ValueError:
        return ""
    return said if len(said) == 8 else ""
