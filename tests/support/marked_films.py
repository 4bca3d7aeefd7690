"""Films with a marker wherever a file can identify the patient, to be searched for in everything the app outputs."""

import base64
import io
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import pydicom
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support.films import dicom_of, simulated_film

MARK = b"ZQ_XJ7"
"""Start of every text marker; it does not occur in the film itself."""

FILE_MARK = "ZQ_XJ7FILENAME"

# Elements that decide the kind of film. `marked_dicom` has no markers in these; `misnamed_dicom` has.
_TOLD_BY = {
    "SOPClassUID", "Modality", "BodyPartExamined", "ViewPosition", "PatientPosition", "PatientOrientation",
    "ConversionType", "BurnedInAnnotation", "PresentationIntentType", "PhotometricInterpretation", "VOILUTFunction",
    "PresentationLUTShape", "SpecificCharacterSet",
}  # fmt: skip
_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
# Dates, times, identifiers and numbers cannot contain the text marker. They get values that no real film has.
_SHAPED = {"DA": "18110713", "TM": "131313.771377", "DT": "18110713131313.771377", "AS": "177Y"}
_UID = "2.25.771377"
_NUMBERS = {"PatientWeight": "77.1377", "PatientSize": "1.771377"}
_FOUND = re.compile(MARK + rb"|18110713|131313\.7713|2\.25\.771377|77\.1377|1\.771377|(?<![0-9A-Za-z])177Y\b")
_UTF16 = re.compile(MARK.decode().encode("utf-16-le")[:-1])
_DATA_URL = re.compile(rb"data:[a-z]+/[a-z0-9.+-]+;base64,([A-Za-z0-9+/=%]+)")


def markers_in(what: bytes | str) -> list[bytes]:
    """Every marker found, with some context. Also searches UTF-16 text and the contents of data URLs."""
    data = what.encode() if isinstance(what, str) else what
    layers = [_DATA_URL.sub(b"", data), *(base64.b64decode(unquote_to_bytes(url)) for url in _DATA_URL.findall(data))]
    return [
        layer[max(found.start() - 60, 0) : found.end() + 60]
        for layer in layers
        for pattern in (_FOUND, _UTF16)
        for found in pattern.finditer(layer)
    ]


def _small_film() -> np.ndarray:
    return np.asarray(cv2.resize(simulated_film(), (400, 425), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _marked_elements() -> Iterator[tuple[str, str, str]]:
    """Keyword, VR and value for every element of the standard's dictionary that can contain a marker."""
    for number, (tag, (vr, _, _, _, keyword)) in enumerate(DicomDictionary.items()):
        if not keyword or keyword in _TOLD_BY or tag < 0x0008_0000 or tag >> 16 >= 0x7FE0:
            continue
        if vr in _TEXT:
            yield keyword, vr, f"{MARK.decode()}{number:05}"
        elif vr == "UI":
            yield keyword, vr, f"{_UID}{number:05}"
        elif vr in _SHAPED:
            yield keyword, vr, _SHAPED[vr]
        elif keyword in _NUMBERS:
            yield keyword, vr, _NUMBERS[keyword]


def _mark(dataset: Dataset) -> None:
    for keyword, vr, value in _marked_elements():
        dataset.add_new(keyword, vr, value)
    private = dataset.private_block(0x0009, "ZQ_XJ7 PRIVATE", create=True)
    for offset, (vr, value) in enumerate(
        (("LO", "ZQ_XJ7LO"), ("UT", "ZQ_XJ7UT"), ("OB", b"ZQ_XJ7OB"), ("UN", b"ZQ_XJ7UN"))
    ):
        private.add_new(offset, vr, value)


def _written(dataset: pydicom.FileDataset) -> bytes:
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset, enforce_file_format=False)
    return written.getvalue()


def marked_dicom() -> bytes:
    """A chest film with markers in about 2,000 elements, nested sequences, private elements, overlays and preamble."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(_small_film())))
    _mark(dataset)
    deepest = Dataset()
    _mark(deepest)
    middle = Dataset()
    middle.PersonIdentificationCodeSequence = Sequence([deepest])
    middle.private_block(0x0011, "ZQ_XJ7 NESTED", create=True).add_new(1, "SQ", Sequence([deepest]))
    middle.PatientName = "ZQ_XJ7NESTED^PN"
    dataset.RequestAttributesSequence = Sequence([middle])
    dataset.OtherPatientIDsSequence = Sequence([middle])
    for group in (0x6000, 0x6002):
        for element, vr, value in (
            (0x0010, "US", 8), (0x0011, "US", 64), (0x0022, "LO", "ZQ_XJ7OVERLAY"), (0x0040, "CS", "G"),
            (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0), (0x1500, "LO", "ZQ_XJ7LABEL"),
            (0x3000, "OW", b"ZQ_XJ7OVERLAY   " * 4), (0x4000, "LT", "ZQ_XJ7OVERLAYCOMMENT"),
        ):  # fmt: skip
            dataset.add_new((group, element), vr, value)
    dataset.add_new((0xFFFC, 0xFFFC), "OB", b"ZQ_XJ7TRAILINGPADDING  ")
    dataset.preamble = b"ZQ_XJ7PREAMBLE".ljust(128, b"\0")
    meta = dataset.file_meta
    meta.ImplementationVersionName = "ZQ_XJ7IMPL"
    meta.SourceApplicationEntityTitle = "ZQ_XJ7AE"
    meta.PrivateInformationCreatorUID = _UID
    meta.PrivateInformation = b"ZQ_XJ7META "
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return _written(dataset)


def misnamed_dicom() -> bytes:
    """The marked film with markers in the elements that decide its kind, too. By its header it is not a chest film."""
    dataset = pydicom.dcmread(io.BytesIO(marked_dicom()))
    for keyword in _TOLD_BY - {"SOPClassUID", "PhotometricInterpretation", "SpecificCharacterSet"}:
        setattr(dataset, keyword, "ZQ_XJ7MISNAMED")
    dataset.SOPClassUID = _UID
    return _written(dataset)


def damaged_dicoms() -> list[bytes]:
    """Marked films that are truncated, or have a marker in place of a number or of the photometric interpretation."""
    whole = marked_dicom()
    dataset = pydicom.dcmread(io.BytesIO(whole))
    dataset.PhotometricInterpretation = "ZQ_XJ7PHOTOMETRIC"
    bad_number = whole.replace(b"\x28\0\x50\x10DS\x08\x0032767.5 ", b"\x28\0\x50\x10DS\x08\0ZQ_XJ7CE")
    assert bad_number != whole
    return [whole[: len(whole) // 2], whole[:200] + MARK * 100, bad_number, _written(dataset)]


def marked_png() -> bytes:
    """A film as PNG with a marker in each kind of text chunk and in its EXIF."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Author", "ZQ_XJ7TEXT")
    chunks.add_text("ZQ_XJ7KEY", "ZQ_XJ7COMPRESSED", zip=True)
    chunks.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>ZQ_XJ7XMP</x:xmpmeta>")
    written = io.BytesIO()
    _picture().save(written, "PNG", pnginfo=chunks, exif=_exif())
    return written.getvalue()


def marked_jpeg() -> bytes:
    """A film as JPEG with a marker in its EXIF, its comment and its XMP."""
    written = io.BytesIO()
    _picture().save(written, "JPEG", quality=95, exif=_exif(), comment=b"ZQ_XJ7COMMENT", xmp=b"<x:xmpmeta>ZQ_XJ7XMP")
    return written.getvalue()


def _picture() -> Image.Image:
    return Image.fromarray((_small_film() * 255).astype(np.uint8))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    for tag in (0x010E, 0x013B, 0x8298):  # description, artist, copyright
        exif[tag] = "ZQ_XJ7EXIF"
    return exif
