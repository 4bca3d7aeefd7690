"""Parses a DICOM file into the listed elements and the bytes of the pixels, even if the file is cut short."""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ptx_app.errors import FilmError
from ptx_app.film.dicom.header import ELEMENTS, text
from ptx_app.film.limits import Limits

_MARK_AT = 128
_META_AT = 132
_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class Parsed:
    """The parsed parts of a file.

    Attributes:
        dataset: the listed elements that were found.
        syntax: transfer syntax of the pixels.
        pixels: the bytes of the pixel data element, empty if there is none. If `encapsulated`, these are its items,
            the offset table first.
        encapsulated: the pixel data element has an undefined length, as compressed pictures have.
        whole: the file is not cut short, up to the end of the pixel data element.
    """

    dataset: Dataset
    syntax: UID
    pixels: bytes
    encapsulated: bool
    whole: bool


def has_mark(data: bytes) -> bool:
    """Whether the file has the DICM mark after a preamble."""
    return data[_MARK_AT:_META_AT] == b"DICM"


def is_bare(data: bytes) -> bool:
    """Whether the file looks like DICOM without a preamble: it starts with an element of group 2 or 8."""
    if len(data) < 16 or data[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    big = data[:2] == b"\x00\x08"
    element = int.from_bytes(data[2:4], "big" if big else "little")
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    length = int.from_bytes(data[4:8], "big" if big else "little")
    return element <= 0x0100 and (explicit or length < min(len(data), 1024))


def damaged() -> FilmError:
    """The error for a DICOM file that cannot be parsed."""
    return FilmError("DICOM_BROKEN", "This DICOM file is damaged and cannot be read. Export the film again.")


def cut_short() -> FilmError:
    """The error for a file that is cut short within its picture."""
    return FilmError("TRUNCATED", "This file is incomplete. Copy or export the film again.")


def parse(data: bytes, limits: Limits, listed: list[Any] = ELEMENTS) -> Parsed:
    """Parse the listed elements up to and including the pixels. If the file is cut short, the elements found are kept.

    Raises:
        FilmError: larger than the limits once inflated.
        Exception: any error of pydicom on a damaged file. Access to an element later can raise one too.
    """
    if not has_mark(data) and data[:2] == b"\x00\x08":
        return _parse(data, ExplicitVRBigEndian, True, listed)
    stream = BytesIO(data)
    stream.seek(_META_AT if has_mark(data) else 0)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    syntax = UID(text(meta, "TransferSyntaxUID") or ImplicitVRLittleEndian)
    main, whole = data[stream.tell() :], True
    if syntax == DeflatedExplicitVRLittleEndian:
        main, whole = _inflate(main, limits.inflated_bytes)
    parsed = _parse(main, syntax, whole, listed)
    if "SOPClassUID" not in parsed.dataset and "MediaStorageSOPClassUID" in meta:
        parsed.dataset.SOPClassUID = UID(text(meta, "MediaStorageSOPClassUID"))
    return parsed


def _parse(data: bytes, syntax: UID, whole: bool, listed: list[Any]) -> Parsed:
    little = syntax != ExplicitVRBigEndian
    # Some writers state explicit VR and write implicit VR, or the reverse.
    implicit = not all(0x40 < byte < 0x5B for byte in data[4:6])
    stream, elements = BytesIO(data), dict[BaseTag, RawDataElement | DataElement]()
    pixels_at, length = len(data), 0

    def at_pixels(tag: BaseTag, _vr: str | None, stated: int) -> bool:
        nonlocal pixels_at, length
        if tag != _PIXEL_DATA:
            return False
        pixels_at, length = stream.tell(), stated
        return True

    try:
        for element in data_element_generator(
            stream, implicit, little, stop_when=at_pixels, specific_tags=list(listed)
        ):
            elements[element.tag] = element
            whole = whole and not _short(element)
    except (EOFError, OSError, struct.error):  # an element is longer than the rest of the file
        whole = False
    dataset = Dataset(elements)
    dataset.set_original_encoding(implicit, little)
    encapsulated = length == _UNDEFINED
    end = pixels_at + length
    if encapsulated:
        end, ended = _items_end(data, pixels_at)
        whole = whole and ended
    skipped_beyond = stream.tell() > len(data)
    return Parsed(dataset, syntax, data[pixels_at:end], encapsulated, whole and end <= len(data) and not skipped_beyond)


def _short(element: RawDataElement | DataElement) -> bool:
    """Whether the file ended inside this element's value."""
    return isinstance(element, RawDataElement) and 0 < len(element.value or b"") < element.length < _UNDEFINED


def _items_end(data: bytes, at: int) -> tuple[int, bool]:
    """Where the items that start at `at` end, and whether their end marker is there."""
    while data[at : at + 4] == ITEM:
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    return min(at, len(data)), data[at : at + 4] == _SEQUENCE_END


def fragments(pixels: bytes) -> bytes:
    """The joined contents of the items of encapsulated pixels, without the offset table at their start."""
    joined, at = [], 8 + int.from_bytes(pixels[4:8], "little")
    while pixels[at : at + 4] == ITEM:
        end = at + 8 + int.from_bytes(pixels[at + 4 : at + 8], "little")
        joined.append(pixels[at + 8 : end])
        at = end
    return b"".join(joined)


def _inflate(deflated: bytes, limit: int) -> tuple[bytes, bool]:
    """The unpacked bytes, and whether they are complete."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, limit)
    if inflater.unconsumed_tail:
        raise FilmError(
            "TOO_LARGE", f"This DICOM file unpacks to more than {limit >> 20} MB. Export the film as a smaller file."
        )
    return inflated, inflater.eof
