"""An archive over DICOMweb: a worklist (QIDO-RS), films (WADO-RS), and results back into their studies (STOW-RS).

dicomweb-client asks and stores. A film is received here, as the client would parse it in this process: that is for the
sandboxed reader.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from ptx_app.errors import FilmError, SettingsError
from ptx_app.film.dicom.parsing import has_mark
from ptx_app.film.dicom.stored_pixels import TRANSFER_SYNTAXES
from ptx_app.film.limits import Limits
from ptx_app.film.source import SourceReference, is_uid
from ptx_app.hospital.dicomweb_http import JSON, OF_THE_SETTING, PacsError, Session, error_of, plain_errors
from ptx_app.hospital.pacs_settings import PacsSettings
from ptx_app.privacy import private_reading

MODALITIES = ("CR", "DX")
MOST_STUDIES = 200
MOST_PRIORS = 10
STORED = {
    "seg": "Segmentation",
    "sc": "Secondary capture",
    "gsps": "Presentation state",
    "sr": "Structured report",
}
"""The kinds of objects that are stored, in this order, and their names."""

_MOST_SERIES, _MOST_FILMS = 1000, 100
_FILM_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
HIGHDICOM_ROOT = "1.2.826.0.1.3680043.10.511.3."
"""Start of the UIDs of what we export. A secondary capture of ours is of modality CR, too, but no film to read."""

_ANSWER_BYTES = 16 << 20
_WRAPPING_BYTES = 1 << 14  # of an answer, around the film
_PIECE = 1 << 18
_TRIES = 2
_AS_STORED = "*"
_META_BYTES, _HEAD_BYTES = 1 << 12, 1 << 16
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_NOT_AUTHORIZED = 0x0124

Progress = Callable[[int, int | None], None]
"""Called with the bytes received, and with all that will come if the archive says how many."""

_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_DATE, _TIME, _ACCESSION, _MODALITY, _PATIENT_ID, _ISSUER, _BODY_PART, _COUNT = (
    "00080020", "00080030", "00080050", "00080060", "00100020", "00100021", "00180015", "00201209",
)  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """What to search for. None for any.

    Raises SettingsError PACS_FILTER for text that an archive would take for a pattern, or that no header has.
    """

    since: date | None = None
    until: date | None = None
    accession_number: str | None = None
    patient_id: str | None = None

    def __post_init__(self) -> None:
        for said, longest in ((self.accession_number, 16), (self.patient_id, 64)):
            if said is not None and not (0 < len(said) <= longest and said.isprintable() and not set(said) & {*"*?\\"}):
                raise SettingsError(
                    "PACS_FILTER",
                    "An accession number has up to 16 characters, a patient ID up to 64, and neither has *, ? or \\.",
                )
        if self.since and self.until and self.since > self.until:
            raise SettingsError("PACS_FILTER", "The first day is after the last. Swap them.")

    def as_attributes(self) -> dict[str, str]:
        """As an archive is asked."""
        days = [day.strftime("%Y%m%d") if day else "" for day in (self.since, self.until)]
        said = {
            "StudyDate": "-".join(days) if any(days) else None,
            "AccessionNumber": self.accession_number,
            "PatientID": self.patient_id,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class Series:
    """A series of films: its UID, its modality, and how many films it has, if the archive says so."""

    uid: str
    modality: str
    films: int | None


@dataclass(frozen=True)
class Study:
    """A line of the worklist. Its texts are the header's: for the reader's eyes only; "" where there is none.

    Attributes:
        uid: study instance UID.
        date: YYYY-MM-DD.
        time: HH:MM.
        accession_number: as in the header.
        patient_id: as in the header, if the operator allows to show it.
        series: its series of films.
    """

    uid: str
    date: str
    time: str
    accession_number: str
    patient_id: str
    series: tuple[Series, ...]

    @property
    def modalities(self) -> str:
        """Such as "CR" or "CR, DX"."""
        return ", ".join(sorted({each.modality for each in self.series}))

    @property
    def films(self) -> int | None:
        """How many films it has, if the archive says so of each series."""
        counts = [each.films for each in self.series if each.films is not None]
        return sum(counts) if len(counts) == len(self.series) else None


@dataclass(frozen=True)
class Worklist:
    """Studies, newest first. `cut`: whether the archive has more that fit the filters."""

    studies: tuple[Study, ...]
    cut: bool


@dataclass(frozen=True)
class Instance:
    """Where a film is in the archive: three UIDs."""

    study: str
    series: str
    uid: str

    def require_source(
        self, read_source: Callable[[bytes], SourceReference | None], data: bytes
    ) -> SourceReference | None:
        """What a film's own header says of patient and study, if it says that it is this film.

        Raises:
            PacsError: PACS_OTHER_FILM.
            FilmError: as `read_source`.
        """
        source = read_source(data)
        named = source and (source.study_instance_uid, source.series_instance_uid, source.sop_instance_uid)
        if named != (self.study, self.series, self.uid):
            raise error_of("PACS_OTHER_FILM")
        return source


@dataclass(frozen=True)
class Stored:
    """What the archive says of an object.

    Attributes:
        code: "OK", "WARNING" (stored, if not as it was sent), or that of a PacsError.
        message: the same as a sentence.
    """

    code: str
    message: str

    @property
    def ok(self) -> bool:
        """Whether the archive has it."""
        return self.code in ("OK", "WARNING")


class Pacs:
    """An archive. Many threads may use it at once; each call has its own connection.

    Every call raises PacsError: PACS_UNREACHABLE, PACS_TLS, PACS_TIMEOUT, PACS_CUT, PACS_NOT_ALLOWED, PACS_ELSEWHERE,
    PACS_BUSY, PACS_FAILED, PACS_REFUSED, PACS_TOO_LARGE or PACS_ANSWER, and those that it names itself.
    """

    def __init__(self, settings: PacsSettings) -> None:
        """Nothing is sent yet."""
        self.settings = settings

    def worklist(self, filters: Filters, most: int = MOST_STUDIES) -> Worklist:
        """The studies that have chest films, newest first, at most so many.

        Raises:
            SettingsError: PACS_PATIENT_ID if the operator does not allow to search by it.
            PacsError: PACS_ADDRESS.
        """
        if filters.patient_id is not None and not self.settings.patient_id:
            raise SettingsError(
                "PACS_PATIENT_ID",
                "Searching by patient ID is off. Set patient_id in the archive's settings to allow it.",
            )
        with self._asking("PACS_ADDRESS") as client:
            rows, cut = self._series(client, filters.as_attributes())
            studies = self._studies(rows)
        return Worklist(tuple(studies[:most]), cut or len(studies) > most)

    def priors(self, study: str, most: int = MOST_PRIORS) -> list[Study]:
        """The patient's other studies that have chest films, oldest first: at most so many, the newest.

        The patient is the one whose ID, and its issuer, the study's header states. Neither is shown or kept.

        Raises:
            PacsError: PACS_GONE, or PACS_NO_PATIENT.
        """
        with self._asking("PACS_GONE") as client:
            own = client.search_for_studies(
                limit=1, fields=["PatientID", "IssuerOfPatientID"], search_filters={"StudyInstanceUID": study}
            )
            patients = [_patient(row) for row in own if _text(row, _STUDY) == study]
            if not patients:
                raise error_of("PACS_GONE")
            (patient,) = patients
            if not patient[0] or set(patient[0]) & {*"*?\\"}:
                raise error_of("PACS_NO_PATIENT")
            rows, _ = self._series(client, {"PatientID": patient[0]}, "PatientID", "IssuerOfPatientID")
            # Archives may compare without case; and another hospital's patient may have the same ID.
            studies = self._studies(row for row in rows if _patient(row) == patient and _text(row, _STUDY) != study)
        return studies[:most][::-1]

    def _series(
        self, client: DICOMwebClient, asked: Mapping[str, str], *more: str
    ) -> tuple[list[Mapping[str, Any]], bool]:
        """All series of chest films that fit, with `more` fields of theirs, and whether there are others."""
        if self.settings.body_part:
            asked = {**asked, "BodyPartExamined": self.settings.body_part}
        fields = ["StudyDate", "StudyTime", "AccessionNumber", "NumberOfSeriesRelatedInstances", *more]
        fields += ["BodyPartExamined"] if self.settings.body_part else []
        fields += ["PatientID"] if self.settings.patient_id and not more else []
        found: list[Mapping[str, Any]] = []
        cut = False
        for modality in MODALITIES:
            answer = client.search_for_series(
                limit=_MOST_SERIES + 1, fields=fields, search_filters={**asked, "Modality": modality}
            )
            cut = cut or len(answer) > _MOST_SERIES
            rows = [row for row in answer if _text(row, _MODALITY) == modality and _fits(row, asked)]
            found += rows[:_MOST_SERIES]
        return found, cut

    def _studies(self, rows: Iterable[Mapping[str, Any]]) -> list[Study]:
        """The studies of these series, newest first; without those whose UIDs are none."""
        series: dict[str, dict[str, Series]] = {}
        heads: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            study, uid = _text(row, _STUDY), _text(row, _SERIES)
            if is_uid(study) and _is_of_films(uid):
                heads.setdefault(study, row)
                series.setdefault(study, {})[uid] = Series(uid, _text(row, _MODALITY), _number(row, _COUNT))
        studies = [
            Study(
                uid=uid,
                date=_day(_text(row, _DATE)),
                time=_minute(_text(row, _TIME)),
                accession_number=_text(row, _ACCESSION),
                patient_id=_text(row, _PATIENT_ID) if self.settings.patient_id else "",
                series=tuple(series[uid].values()),
            )
            for uid, row in heads.items()
        ]
        return sorted(studies, key=lambda study: (study.date, study.time), reverse=True)

    def films(self, study: str, series: Sequence[str] | None = None) -> list[Instance]:
        """The films of a study, in the archive's order.

        Args:
            study: study instance UID.
            series: UIDs of the series to look into; None for those of CR and DX.

        Raises:
            SettingsError: STUDY_UID_INVALID.
            PacsError: PACS_GONE if there is no film.
        """
        if not is_uid(study):
            raise SettingsError("STUDY_UID_INVALID", "This is not a study instance UID: up to 64 digits and dots.")
        with self._asking("PACS_GONE") as client:
            if series is None:
                rows = client.search_for_series(study, limit=_MOST_SERIES)
                series = [_text(row, _SERIES) for row in rows if _text(row, _MODALITY) in MODALITIES]
            there = (
                Instance(study, uid, _text(row, _INSTANCE))
                for uid in series
                if _is_of_films(uid)
                for row in client.search_for_instances(study, uid, limit=_MOST_FILMS)
                if is_uid(_text(row, _INSTANCE)) and _text(row, _CLASS) in (*_FILM_CLASSES, "")
            )
            films = list(islice(there, _MOST_FILMS))  # no series is asked for once these are enough
        if not films:
            raise error_of("PACS_GONE")
        return films

    def fetch(self, film: Instance, progress: Progress = lambda *_: None) -> bytes:
        """The film as a DICOM file, for the sandboxed reader. Tried again if the connection breaks.

        It comes as it is stored, or uncompressed if it is stored in a way that cannot be read.

        Args:
            film: which one.
            progress: called for each piece. What it raises ends the transfer.

        Raises:
            PacsError: PACS_GONE, PACS_NOT_DICOM or PACS_OTHER_FILM.
        """
        data = self._fetch(film, _AS_STORED, progress)
        syntax = _uid_in_meta(data, 0x10)
        if syntax is not None and syntax not in TRANSFER_SYNTAXES:
            data = self._fetch(film, ExplicitVRLittleEndian, progress)
        return data

    def bytes_of(self, film: Instance) -> bytes:
        """As `fetch`, for a run over many films.

        Raises:
            FilmError: this film cannot be had, with the code of `fetch`.
            PacsError: no film can be had; see `OF_THE_SETTING`.
        """
        try:
            return self.fetch(film)
        except PacsError as error:
            if error.code in OF_THE_SETTING:
                raise
            raise FilmError(error.code, error.message) from None

    def _fetch(self, film: Instance, syntax: str, progress: Progress) -> bytes:
        for left in reversed(range(_TRIES)):
            try:
                return self._received(film, syntax, progress)
            except PacsError as error:
                if error.code == "PACS_REFUSED" and syntax == _AS_STORED:  # an archive that knows no wildcard
                    return self._fetch(film, ExplicitVRLittleEndian, progress)
                if error.code != "PACS_CUT" or not left:
                    raise
        raise AssertionError

    def _received(self, film: Instance, syntax: str, progress: Progress) -> bytes:
        most = Limits().file_bytes + _WRAPPING_BYTES
        address = f"{self.settings.address.rstrip('/')}/studies/{film.study}/series/{film.series}/instances/{film.uid}"
        headers = {
            "Accept": f'multipart/related; type="application/dicom"; transfer-syntax={syntax}',
            "Accept-Encoding": "identity",  # films do not get smaller, and the length tells how much is to come
        }
        body = bytearray()
        with (
            private_reading(),
            plain_errors("PACS_GONE"),
            Session(self.settings, most) as session,
            session.get(address, headers=headers, stream=True, timeout=self._timeout) as response,
        ):
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            whole = int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None
            for piece in response.iter_content(_PIECE):
                body += piece
                progress(len(body), whole)
            kind = response.headers.get("Content-Type", "")
        data = bytes(body) if kind.startswith("application/dicom") else _only_part(bytes(body), kind)
        if not has_mark(data):
            raise error_of("PACS_NOT_DICOM")
        if {_uid_in_meta(data, 0x03), _own_uid(data)} - {None} != {film.uid}:
            raise error_of("PACS_OTHER_FILM")
        return data

    def require_storing(self) -> None:
        """Raise SettingsError PACS_STORE_OFF if the operator does not allow to store."""
        if not self.settings.store:
            raise SettingsError(
                "PACS_STORE_OFF", "Storing in the archive is off. Set store in the archive's settings to allow it."
            )

    def store(self, data: bytes, study: str) -> Stored:
        """Store an object of our own making in a study. Returns what the archive says of it, failures included.

        Raises:
            SettingsError: PACS_STORE_OFF if the operator does not allow it.
        """
        self.require_storing()
        try:
            with self._asking("PACS_GONE") as client:
                dataset = dcmread(io.BytesIO(data))
                client.set_chunk_size(len(data) + _WRAPPING_BYTES)  # in one piece, so that it can be sent again
                try:
                    answer: Mapping[str, Any] = client.store_instances([dataset], study).to_json_dict()
                except requests.HTTPError as error:
                    answer = _body_of(error.response)
                    if "00081198" not in answer:
                        raise
                return _said_of(str(dataset.SOPInstanceUID), answer)
        except PacsError as error:
            return Stored(error.code, error.message)

    def store_all(self, objects: Mapping[str, bytes], study: str) -> dict[str, Stored]:
        """Store a film's objects, one after the other: what the archive says of each, by its kind.

        Raises:
            SettingsError: PACS_STORE_OFF.
        """
        return {kind: self.store(objects[kind], study) for kind in STORED if kind in objects}

    @property
    def _timeout(self) -> tuple[float, float]:
        return self.settings.connect_seconds, self.settings.answer_seconds

    @contextmanager
    def _asking(self, absent: str) -> Iterator[DICOMwebClient]:
        """A client, and every error as a PacsError; `absent` as in `plain_errors`."""
        with private_reading(), plain_errors(absent), Session(self.settings, _ANSWER_BYTES) as session:
            client = DICOMwebClient(
                self.settings.address.rstrip("/"), session, headers={"Accept": JSON}, timeout=self._timeout
            )
            client.set_http_retry_params(retry=False)  # the session tries again by itself
            yield client


def _only_part(body: bytes, kind: str) -> bytes:
    """The one part of a multipart body. `kind`: the media type, with the boundary.

    Raises:
        PacsError: PACS_CUT if the body does not end as it should, PACS_ANSWER if it is not one part.
    """
    found = re.search(r'boundary="?([^";,]{1,200})', kind)
    if found is None or not kind.lower().startswith("multipart/related"):
        raise error_of("PACS_NOT_DICOM")
    mark = b"--" + found[1].strip().encode()
    begin = body.find(mark)
    head_end = body.find(b"\r\n\r\n", begin)
    end = body.find(b"\r\n" + mark, head_end)
    if begin < 0 or head_end < 0 or end < 0:
        raise error_of("PACS_CUT")
    if body[end + 2 + len(mark) :][:2] != b"--":
        raise error_of("PACS_ANSWER")
    return body[head_end + 4 : end]


def _uid_in_meta(data: bytes, element: int) -> str | None:
    """A UID of the file's meta information, group 2, without parsing the file; None if it is not there."""
    start = re.escape(bytes((0x02, 0, element, 0)))
    found = re.search(start + rb"UI(..)([0-9.]{1,64})", data[128:_META_BYTES], re.DOTALL)
    return found[2][: int.from_bytes(found[1], "little")].decode() if found else None


def _own_uid(data: bytes) -> str | None:
    """The data set's own SOP instance UID, without parsing the file; None if it is not found, as in a deflated one."""
    found = re.search(rb"\x08\x00\x18\x00(?:UI(..)|(..)\x00\x00)([0-9.]{1,64})", data[128:_HEAD_BYTES], re.DOTALL)
    return found[3][: int.from_bytes(found[1] or found[2], "little")].decode() if found else None


def _is_of_films(series: str) -> bool:
    return is_uid(series) and not series.startswith(HIGHDICOM_ROOT)


def _value(row: Mapping[str, Any], tag: str) -> object:
    values = row.get(tag, {}).get("Value", [])
    return values[0] if values else None


def _text(row: Mapping[str, Any], tag: str) -> str:
    """A text of an answer; "" if there is none, or none that DICOM allows."""
    said = _value(row, tag)
    return said.strip() if isinstance(said, str) and len(said) <= 64 and said.isprintable() else ""


def _patient(row: Mapping[str, Any]) -> tuple[str, str]:
    """The patient's ID and its issuer."""
    return _text(row, _PATIENT_ID), _text(row, _ISSUER)


def _fits(row: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    """Whether a row states nothing other than what was asked for. Only the archive knows what a row leaves out."""
    first, _, last = asked.get("StudyDate", "-").partition("-")
    day = _text(row, _DATE)
    if _day(day) and not first <= day <= (last or day):
        return False
    for name, tag in (("PatientID", _PATIENT_ID), ("AccessionNumber", _ACCESSION), ("BodyPartExamined", _BODY_PART)):
        said, wanted = _text(row, tag), asked.get(name, "").strip()
        if name != "PatientID":  # as many archives search; patients' IDs may differ in nothing else
            said, wanted = said.casefold(), wanted.casefold()
        if said and wanted and said != wanted:
            return False
    return True


def _number(row: Mapping[str, Any], tag: str) -> int | None:
    said = _value(row, tag)
    return said if isinstance(said, int) else None


def _day(said: str) -> str:
    return f"{said[:4]}-{said[4:6]}-{said[6:]}" if re.fullmatch(r"[0-9]{8}", said) else ""


def _minute(said: str) -> str:
    return f"{said[:2]}:{said[2:4]}" if re.match(r"[0-9]{4}", said) else ""


_REFERENCED, _FAILED, _WARNING, _REASON, _REFERENCED_UID = "00081199", "00081198", "00081196", "00081197", "00081155"


def _body_of(response: requests.Response) -> Mapping[str, Any]:
    """What is in the body of a failure, if that can be told."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _said_of(uid: str, answer: Mapping[str, Any]) -> Stored:
    """What an archive's answer says of an object."""

    def item(sequence: str) -> Mapping[str, Any] | None:
        items = answer.get(sequence, {}).get("Value", [])
        return next((each for each in items if _text(each, _REFERENCED_UID) == uid), None)

    if (failed := item(_FAILED)) is not None:
        reason = _number(failed, _REASON) or 0
        if reason in _OUT_OF_RESOURCES:
            raise error_of("PACS_FULL")
        if reason == _NOT_AUTHORIZED:
            raise error_of("PACS_NOT_ALLOWED")
        return Stored("PACS_REFUSED", f"The archive refused it: reason {reason:04X}.")
    if (stored := item(_REFERENCED)) is None:
        raise error_of("PACS_ANSWER")
    warning = _number(stored, _WARNING)
    return Stored("WARNING", f"Stored, with warning {warning:04X}.") if warning else Stored("OK", "Stored.")
