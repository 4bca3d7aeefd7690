"""The technical header values that may be shown: numbers, and words from the standard's lists. Never free text."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ptx_app.film.dicom.form import StoredForm
from ptx_app.film.dicom.header import code, number, numbers
from ptx_app.film.dicom.suitability import FILM_MODALITIES
from ptx_app.film.grey import GreyScale, Lut, Window
from ptx_app.film.radiograph import PixelSpacing, View

# In mm: from the smallest cassette (18 × 24 cm) to the largest detector (43 cm), with room for cropping. Collections of
# downscaled films often kept the original spacing, so that they state chests of 15 to 20 cm.
_SHORT_SIDE_MM, _LONG_SIDE_MM, _LARGEST_MM = 150, 220, 500

_MEASURED_MODALITIES = ("CR", "DX")

_SYNTAXES = {
    "1.2.840.10008.1.2": "uncompressed",
    "1.2.840.10008.1.2.1": "uncompressed",
    "1.2.840.10008.1.2.2": "uncompressed, big endian",
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}


def syntax_in_words(syntax: UID) -> str:
    """The name of the compression."""
    return _SYNTAXES.get(syntax, "unknown compression")


def spacing_of(dataset: Dataset, form: StoredForm) -> PixelSpacing | None:
    """Pixel spacing in mm: PixelSpacing, else ImagerPixelSpacing; None if neither is valid (PS3.3 10.7.1.3).

    It is believed on CR and DX films only: elsewhere, as on secondary captures, nothing says what was measured. It is
    calibrated if the header names the calibration, or if it differs from the detector's own spacing.
    """
    at_detector, stated = _spacing(dataset, "ImagerPixelSpacing"), _spacing(dataset, "PixelSpacing")
    spacing = stated or at_detector
    if spacing is None:
        return None
    row, column = spacing
    sides = row * form.rows, column * form.columns
    chest = min(sides) >= _SHORT_SIDE_MM and _LONG_SIDE_MM <= max(sides) <= _LARGEST_MM
    named = code(dataset, "PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL")
    differs = bool(stated and at_detector and not np.allclose(stated, at_detector, rtol=1e-3))
    measured = code(dataset, "Modality") in _MEASURED_MODALITIES
    believable = chest and measured and 0.9 < row / column < 1.1
    return PixelSpacing(row, column, believable, calibrated=bool(stated) and (named or differs))


def _spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    spacing = [value for value in numbers(dataset, keyword) if value is not None]
    if len(spacing) != 2 or not 0 < min(spacing) <= max(spacing) < 1000:
        return None
    return spacing[0], spacing[1]


def shown_tags(
    dataset: Dataset, syntax: UID, form: StoredForm, scale: GreyScale, view: View, spacing: PixelSpacing | None
) -> dict[str, str]:
    """The values that may be shown, as label and text, in display order."""
    tags = {"Modality": code(dataset, "Modality") if code(dataset, "Modality") in FILM_MODALITIES else "other"}
    if view != View.UNKNOWN:
        tags["View"] = view.value
    tags["Size"] = f"{form.columns} × {form.rows} px"
    tags["Grey levels"] = f"{form.bits_stored} bit{', signed' if form.signed else ''}"
    tags["Photometric interpretation"] = form.photometric
    tags["Compression"] = syntax_in_words(syntax)
    match scale.voi:
        case Window(centre, width, function):
            kind = "" if function == "LINEAR" else f" ({function.lower().replace('_', ' ')})"
            tags["Window"] = f"centre {centre:g}, width {width:g}{kind}"
        case Lut():
            tags["Window"] = "VOI LUT"
        case None:
            pass
    if spacing:
        doubt = "" if spacing.believable else " (stated in the header, but not plausible)"
        tags["Pixel spacing"] = f"{spacing.row_mm:.3g} × {spacing.column_mm:.3g} mm{doubt}"
    _add(tags, dataset, "KVP", "Tube voltage", "kV", 20, 200)
    _add(tags, dataset, "Exposure", "Exposure", "mAs", 0.01, 1000)
    _add(tags, dataset, "ExposureTime", "Exposure time", "ms", 0.01, 10000)
    return tags


def _add(tags: dict[str, str], dataset: Dataset, keyword: str, label: str, unit: str, low: float, high: float) -> None:
    value = number(dataset, keyword)
    if value is not None and low <= value <= high:
        tags[label] = f"{value:g} {unit}"
