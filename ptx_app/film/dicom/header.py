"""The few DICOM header elements that the reader needs, and access to their values.

Only elements on the list below are parsed. Names, identifiers, dates and private elements are never read.
"""

import math
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

_KEYWORDS = [
    # what it is
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientPosition",
    "PatientOrientation",
    "ConversionType",
    "BurnedInAnnotation",
    "PresentationIntentType",
    # how the pixels are stored
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    # what the stored values mean
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
    # which part of the picture to show
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    # how the film was taken
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "ImagerPixelSpacing",
    "KVP",
    "Exposure",
    "ExposureTime",
]
_OVERLAY_BIT_POSITION = 0x60000102
ELEMENTS: list[Any] = [*(tag_for_keyword(keyword) for keyword in _KEYWORDS), _OVERLAY_BIT_POSITION]
_TEXT_VRS = frozenset({"AS", "CS", "DS", "IS", "LO", "SH", "UI"})


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Values of an element as stripped texts; empty if it is missing or unreadable."""
    try:
        value = dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:  # pydicom raises for the whole list if one value is damaged
        return _raw_texts(dataset, keyword)
    if value is None or isinstance(value, bytes):
        return []
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return [str(v).strip(" \0") for v in values if v is not None]


def _raw_texts(dataset: Dataset, keyword: str) -> list[str]:
    element = dataset.get_item(keyword)
    if not isinstance(element, RawDataElement) or element.value is None:
        return []
    if (element.VR or dictionary_VR(element.tag)) not in _TEXT_VRS:
        return []
    return [part.strip(" \0") for part in element.value.decode("latin-1").split("\\")]


def text(dataset: Dataset, keyword: str) -> str:
    """First value of an element as text, or "" if there is none."""
    return next(iter(texts(dataset, keyword)), "")


def code(dataset: Dataset, keyword: str) -> str:
    """First value of a coded string in upper case, or "" if there is none."""
    return text(dataset, keyword).upper()


def numbers(dataset: Dataset, keyword: str) -> list[float | None]:
    """Values of an element as finite numbers, in order; None for each value that is not a number."""
    return [_finite(t) for t in texts(dataset, keyword)]


def _finite(said: str) -> float | None:
    try:
        value = float(said)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """First value of an element as a finite number, or None."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """First value of an element as a whole number, or None. None beyond 2**32, to keep error messages short."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() and abs(value) <= 2**32 else None
