"""From the bytes of a DICOM file to the few header elements that the reader needs.

Only elements on the list below are ever parsed: names, identifiers, dates and private elements never leave the bytes.
"""

import math
import zlib
from io import BytesIO
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ptx_app.errors import FilmError
from ptx_app.film.limits import Limits

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
    "PixelData",
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
    # how the film was taken
    "PixelSpacing",
    "ImagerPixelSpacing",
    "KVP",
    "Exposure",
    "ExposureTime",
]
_OVERLAY_BIT_POSITION = 0x60000102
_ELEMENTS: list[Any] = [*(tag_for_keyword(keyword) for keyword in _KEYWORDS), _OVERLAY_BIT_POSITION]

_MARK_AT = 128
_META_AT = 132


def has_mark(data: bytes) -> bool:
    """Whether the file carries the DICM mark behind a preamble."""
    return data[_MARK_AT:_META_AT] == b"DICM"


def is_bare(data: bytes) -> bool:
    """Whether the file plausibly is DICOM without a preamble: it starts with an element of group 2 or 8."""
    if len(data) < 16 or data[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    big = data[:2] == b"\x00\x08"
    element = int.from_bytes(data[2:4], "big" if big else "little")
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    length = int.from_bytes(data[4:8], "big" if big else "little")
    return element <= 0x0100 and (explicit or length < min(len(data), 1024))


def damaged() -> FilmError:
    """The error for a file that claims to be DICOM and is not."""
    return FilmError("DICOM_BROKEN", "This DICOM file is damaged and cannot be read. Export the film anew.")


def parse(data: bytes, limits: Limits) -> tuple[Dataset, UID]:
    """Parse the listed elements.

    Returns:
        The data set and the transfer syntax of its pixels.

    Raises:
        FilmError: larger than the limits once inflated.
        Exception: whatever pydicom raises on a damaged file; elements raise it when they are asked for, too.
    """
    stream = BytesIO(data)
    if has_mark(data):
        stream.seek(_META_AT)
    elif data[:2] == b"\x00\x08":
        return read_dataset(stream, False, False, specific_tags=_ELEMENTS), ExplicitVRBigEndian
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    syntax = UID(text(meta, "TransferSyntaxUID") or ImplicitVRLittleEndian)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BytesIO(_inflate(data[stream.tell() :], limits.inflated_bytes))
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dataset = read_dataset(stream, implicit, little, specific_tags=_ELEMENTS)
    if "SOPClassUID" not in dataset and "MediaStorageSOPClassUID" in meta:
        dataset.SOPClassUID = UID(text(meta, "MediaStorageSOPClassUID"))
    return dataset, syntax


def _inflate(deflated: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, limit)
    if inflater.unconsumed_tail:
        raise FilmError(
            "TOO_LARGE", f"This DICOM file unpacks to more than {limit >> 20} MB, which no film does. It was not read."
        )
    if not inflater.eof:
        raise FilmError("TRUNCATED", "This file is cut short. Copy or export it again.")
    return inflated


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Values of an element as stripped texts; empty where it is missing or unreadable."""
    try:
        value = dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:  # whatever a damaged value raises, it is as good as missing
        return []
    if value is None or isinstance(value, bytes):
        return []
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return [str(v).strip(" \0") for v in values if v is not None]


def text(dataset: Dataset, keyword: str) -> str:
    """First value of an element as text, or an empty one."""
    return next(iter(texts(dataset, keyword)), "")


def code(dataset: Dataset, keyword: str) -> str:
    """First value of a coded string in upper case, or an empty one."""
    return text(dataset, keyword).upper()


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Values of an element as finite numbers; empty where one of them is none."""
    try:
        values = [float(t) for t in texts(dataset, keyword)]
    except ValueError:
        return []
    return values if all(math.isfinite(v) for v in values) else []


def number(dataset: Dataset, keyword: str) -> float | None:
    """First value of an element as a finite number."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """First value of an element as a whole number; None beyond 32 bits, as errors repeat it and must stay short."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() and abs(value) <= 2**32 else None
