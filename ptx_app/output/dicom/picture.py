"""Films as Secondary Capture images: the film itself, de-identified, and the film with the contour burned in."""

import numpy as np
from highdicom import UID
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from ptx_app.film.radiograph import grey_picture, is_frontal
from ptx_app.output.caption import captioned_overlay
from ptx_app.output.dicom.context import Context, believed

_LEVELS = 65535
_OF_THIS_EXPORT = (
    "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "DateOfSecondaryCapture",
    "TimeOfSecondaryCapture", "ContributingEquipmentSequence",
)  # fmt: skip


def deidentified_film(context: Context) -> SCImage:
    """The film as it is shown, in 16 bits, with a header of its own. The other objects refer to it.

    It has the same bytes whenever it is made, as it has the same UID.
    """
    pixels = np.asarray(np.clip(context.radiograph.pixels, 0, 1) * _LEVELS + 0.5, dtype=np.uint16)
    film = _image(context, pixels, "MONOCHROME2", 16)
    context.complete(film, shows_the_film=True)
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = UID(context.film.SOPInstanceUID)
    film.SeriesInstanceUID = UID(context.film.SeriesInstanceUID)
    film.SeriesNumber, film.SeriesDescription = 1, f"Film, view {context.radiograph.view}, de-identified"
    film.WindowCenter, film.WindowWidth, film.VOILUTFunction = "32767.5", "65535", "LINEAR_EXACT"
    film.PresentationLUTShape = "IDENTITY"
    for keyword in _OF_THIS_EXPORT:
        film.pop(keyword, None)
    return film


def secondary_capture(context: Context) -> SCImage:
    """The film in 8-bit colour with the contour burned in and a caption below."""
    grey, sides = grey_picture(context.radiograph.pixels), is_frontal(context.radiograph.rejections)
    picture = captioned_overlay(grey, context.finding, context.setting, sides=sides)
    image = _image(context, picture, "RGB", 8)
    source = Dataset()
    source.ReferencedSOPClassUID = context.film.SOPClassUID
    source.ReferencedSOPInstanceUID = context.film.SOPInstanceUID
    image.SourceImageSequence = [source]
    context.complete(image, shows_the_film=True)
    image.SeriesNumber, image.SeriesDescription = 9902, "Pneumothorax, contour burned in"
    image.DerivationDescription = context.setting.line()
    return image


def _image(context: Context, pixels: NDArray[np.uint8] | NDArray[np.uint16], photometric: str, bits: int) -> SCImage:
    image = SCImage(
        pixel_array=pixels,
        photometric_interpretation=photometric,
        bits_allocated=bits,
        coordinate_system="PATIENT",
        study_instance_uid=context.film.StudyInstanceUID,
        series_number=1,
        pixel_spacing=believed(context.radiograph.spacing),
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **context.maker(),
    )
    image.Modality = context.film.Modality
    image.ConversionType = "WSD"
    image.BodyPartExamined = "CHEST"
    image.PatientOrientation = context.film.PatientOrientation
    return image
