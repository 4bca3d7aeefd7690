"""The one entry point: a finding in, the DICOM objects out."""

import io

from pydicom.dataset import Dataset

from ptx_app.film.radiograph import Radiograph
from ptx_app.film.source import SourceReference
from ptx_app.inference.decide import Finding
from ptx_app.output.setting import Setting
from ptx_app.privacy import private_reading

KINDS = ("seg", "sc", "sr", "gsps", "film")


def dicom_objects(
    radiograph: Radiograph, finding: Finding, setting: Setting, source: SourceReference | None = None
) -> dict[str, bytes]:
    """The finding as DICOM files; see docs/dicom.md.

    highdicom is imported here, so that nobody who needs no DICOM waits for it.

    Args:
        radiograph: the film.
        finding: what was found; its mask has the film's size.
        setting: with what it was found.
        source: the film's own header, as `read_source` reads it. The objects then belong to the patient's study and
            refer to the film in it. None, as for pictures: the objects are de-identified and refer to a film made here.

    Returns:
        "seg", "sc", "sr" and "gsps"; without a source also "film", which they refer to.

    Raises:
        ValueError: film, finding and source differ in size.
    """
    with private_reading():
        from ptx_app.output.dicom.context import context_of
        from ptx_app.output.dicom.picture import deidentified_film, secondary_capture
        from ptx_app.output.dicom.presentation import presentation_state
        from ptx_app.output.dicom.report import structured_report
        from ptx_app.output.dicom.segmentation import segmentation, segments_of

        context, segments = context_of(radiograph, finding, setting, source), segments_of(finding)
        made = segmentation(context, segments)
        objects = {
            "seg": written(made),
            "sc": written(secondary_capture(context)),
            "sr": written(structured_report(context, segments, made)),
            "gsps": written(presentation_state(context)),
        }
        return objects if source else objects | {"film": written(deidentified_film(context))}


def written(dataset: Dataset) -> bytes:
    """The data set as the bytes of a file."""
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()
