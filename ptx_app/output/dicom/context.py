"""What all objects of one film share: the film they refer to, its patient and study, and who made them."""

import hashlib
import uuid
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from highdicom import UID, ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from ptx_app import __version__
from ptx_app.film.radiograph import PixelSpacing, Radiograph, View, is_frontal
from ptx_app.film.source import PatientStudy, SourceReference
from ptx_app.inference.decide import Finding
from ptx_app.output.dicom.codes import PROCESSING_EQUIPMENT
from ptx_app.output.record import NOTICE
from ptx_app.output.setting import Setting

MANUFACTURER = "ptx_app"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UTF_8 = "ISO_IR 192"
_KEYWORDS = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_id": "StudyID",
    "study_description": "StudyDescription",
    "accession_number": "AccessionNumber",
    "referring_physician_name": "ReferringPhysicianName",
}
_OPTIONAL = ("issuer_of_patient_id", "study_description")
# Bump when the de-identified film or its header changes: the same UID must always be the same object.
_FORM_OF_THE_FILM = 1


@dataclass(frozen=True)
class Context:
    """The film and everything needed to make objects of it.

    Attributes:
        radiograph, finding, setting: the film, what was found, and with what.
        source: the film's own header, or None for de-identified objects.
        person: patient and study: the film's own, or a made-up patient of this one film.
        film: data set of the film that the objects refer to, without pixels: UIDs, size, orientation. Its class is
            secondary capture here, as highdicom wants more of the header for some classes; `complete` writes the
            true one.
    """

    radiograph: Radiograph
    finding: Finding
    setting: Setting
    source: SourceReference | None
    person: PatientStudy
    film: Dataset
    made_at: datetime = field(default_factory=datetime.now)

    def maker(self) -> dict[str, Any]:
        """The arguments that every object of highdicom takes: series, instance and equipment."""
        return {
            "series_instance_uid": UID(),
            "sop_instance_uid": UID(),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "contributing_equipment": [self._equipment()],
        }

    def _equipment(self) -> ContributingEquipment:
        return ContributingEquipment(
            manufacturer=MANUFACTURER,
            purpose_of_reference=PROCESSING_EQUIPMENT,
            manufacturer_model_name=self.setting.weights.name,
            software_versions=__version__,
            contribution_datetime=self.made_at,
            contribution_description=f"{NOTICE} {self.setting.line()}",
        )

    def complete(self, made: Dataset, *, shows_the_film: bool = False) -> None:
        """Write patient, study and the film's class into an object, and how it was de-identified.

        highdicom never sees the patient: it logs names that it finds odd.

        Args:
            made: the object.
            shows_the_film: whether its pixels show the film, so that text burned into it is still there.
        """
        made.SpecificCharacterSet = UTF_8
        for name, value in asdict(self.person).items():
            if value or name not in _OPTIONAL:
                setattr(made, _KEYWORDS[name], value or None)
        if self.source:
            _tell_class(made, str(self.film.SOPInstanceUID), self.source.sop_class_uid)
        burned_in = any(warning.code == "BURNED_IN_ANNOTATION" for warning in self.radiograph.warnings)
        if shows_the_film and burned_in:
            made.BurnedInAnnotation = "YES"
        if self.source is None and not shows_the_film:
            made.PatientIdentityRemoved = "YES"
            made.DeidentificationMethod = "ptx_app: new header"


def _tell_class(dataset: Dataset, instance: str, sop_class: str) -> None:
    """Write the class wherever the data set or its sequences refer to the instance."""
    if dataset.get("ReferencedSOPInstanceUID") == instance:
        dataset.ReferencedSOPClassUID = sop_class
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            _tell_class(item, instance, sop_class)


def context_of(radiograph: Radiograph, finding: Finding, setting: Setting, source: SourceReference | None) -> Context:
    """The context for objects that refer to the source, or to a de-identified film if there is none.

    Raises:
        ValueError: source and film differ in size.
    """
    if source and (source.rows, source.columns) != radiograph.shape:
        raise ValueError("source and film differ in size")
    if source:
        film, person = _source_film(source), source.person
    else:
        fingerprint = _fingerprint(radiograph)
        film, person = _pseudonymous_film(radiograph, fingerprint), _nobody(fingerprint)
    film.Rows, film.Columns = radiograph.shape
    film.SamplesPerPixel = 1
    film.SOPClassUID = SECONDARY_CAPTURE
    film.SpecificCharacterSet = UTF_8
    for name, keyword in _KEYWORDS.items():
        if name not in _OPTIONAL:
            setattr(film, keyword, None)
    if spacing := believed(radiograph.spacing):
        film.PixelSpacing = [DSfloat(value, auto_format=True) for value in spacing]
    return Context(radiograph, finding, setting, source, person, film)


def believed(spacing: PixelSpacing | None) -> tuple[float, float] | None:
    """Row and column spacing in mm for a header, or None where it cannot be believed."""
    return (spacing.row_mm, spacing.column_mm) if spacing and spacing.believable else None


def _source_film(source: SourceReference) -> Dataset:
    film = Dataset()
    film.StudyInstanceUID = source.study_instance_uid
    film.SeriesInstanceUID = source.series_instance_uid
    film.SOPInstanceUID = source.sop_instance_uid
    film.Modality = source.modality
    film.PatientOrientation = list(source.orientation) or None
    return film


def _pseudonymous_film(radiograph: Radiograph, fingerprint: str) -> Dataset:
    film = Dataset()
    film.StudyInstanceUID = _uid(fingerprint, "study")
    film.SeriesInstanceUID = _uid(fingerprint, "series")
    film.SOPInstanceUID = _uid(fingerprint, "film")
    film.Modality = modality_of(radiograph)
    # The sides of a finding are those of a frontal film seen from the front.
    film.PatientOrientation = ["L", "F"] if _frontal(radiograph) else None
    return film


def _frontal(radiograph: Radiograph) -> bool:
    return radiograph.view != View.LATERAL and is_frontal(radiograph.rejections)


def modality_of(radiograph: Radiograph) -> str:
    """The film's modality, else RG: a radiograph of whatever kind."""
    said = radiograph.tags.get("Modality", "")
    return said if said in ("CR", "DX") else "RG"


def _nobody(fingerprint: str) -> PatientStudy:
    number = fingerprint[:16]
    return PatientStudy(patient_name=f"Film^{number}", patient_id=f"ptx-{number}")


def _uid(fingerprint: str, part: str) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{fingerprint} {part}').int}"


def _fingerprint(radiograph: Radiograph) -> str:
    """The same for the same picture, whatever its header said: from nothing that the exports do not show."""
    spacing = believed(radiograph.spacing)
    shown = f"{_FORM_OF_THE_FILM} {radiograph.shape} {radiograph.view} {modality_of(radiograph)} {spacing}"
    if not _frontal(radiograph) and radiograph.view != View.LATERAL:
        shown += " not frontal"  # its header says less, so it is another object
    digest = hashlib.sha256(shown.encode())
    digest.update(np.ascontiguousarray(radiograph.pixels).data)
    return digest.hexdigest()
