"""The few elements of a DICOM header that the reader needs, and how their values are asked for.

Only elements on the list below are ever parsed: names, identifiers, dates and private elements never leave the bytes.
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
    # which part of the picture is to be shown
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
    "ImagerPixelSpacing",
    "KVP",
    "Exposure",
    "ExposureTime",
]
_OVERLAY_BIT_POSITION = 0x60000102
ELEMENTS: list[Any] = [*(tag_for_keyword(keyword) for keyword in _KEYWORDS), _OVERLAY_BIT_POSITION]
_TEXT_VRS = frozenset({"AS", "CS", "DS", "IS", "LO", "SH", "UI"})


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Values of an element as stripped texts; empty where it is missing or unreadable."""
    try:
        value = dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:  # one damaged value makes pydicom raise for the whole list
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
    """First value of an element as text, or an empty one."""
    return next(iter(texts(dataset, keyword)), "")


def code(dataset: Dataset, keyword: str) -> str:
    """First value of a coded string in upper case, or an empty one."""
    return text(dataset, keyword).upper()


def numbers(dataset: Dataset, keyword: str) -> list[float | None]:
    """Values of an element as finite numbers, each in its place; None where one is no number."""
    return [_finite(t) for t in texts(dataset, keyword)]


def _finite(said: str) -> float | None:
    try:
        value = float(said)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """First value of an element as a finite number."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """First value of an element as a whole number; None beyond 32 bits, as errors repeat it and must stay short."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() and abs(value) <= 2**32 else None
