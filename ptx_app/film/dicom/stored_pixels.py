"""From a DICOM data set to the stored pixel values, everything checked before anything is decoded."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.codestream import StreamFacts, broken, check_scans, jpeg2000_facts, jpeg_facts, truncated
from ptx_app.film.dicom.header import code, integer
from ptx_app.film.limits import Limits

_JPEG = frozenset(
    {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        # retired: spectral selection and full progression
        uid.UID("1.2.840.10008.1.2.4.53"),
        uid.UID("1.2.840.10008.1.2.4.55"),
    }
)
_JPEG_LS = frozenset(uid.JPEGLSTransferSyntaxes)
_JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K})
_UNCOMPRESSED = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
# pydicom would else shift out the bits above BitsStored, and by the wrong way where HighBit lies elsewhere.
_AS_STORED: dict[str, Any] = {"raw": True, "index": 0, "correct_unused_bits": False}
_ITEM = b"\xfe\xff\x00\xe0"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")


@dataclass(frozen=True)
class StoredForm:
    """How the header says that the pixels are stored, checked against the limits and for sense."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    shift: int
    signed: bool
    photometric: str

    @property
    def bytes(self) -> int:
        """Length of one uncompressed picture."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated // 8


def stored_form(dataset: Dataset, limits: Limits) -> StoredForm:
    """Read and check the elements that describe the pixels.

    Raises:
        FilmError: an element is missing or senseless, or the picture is larger than the limits.
        NotAFilmError: a picture of a kind that no film is: many frames, too small, one bit, 32 bit.
    """
    rows, columns = _required(dataset, "Rows"), _required(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise FilmError("HEADER_INVALID", "This DICOM file's header makes no sense. Export the film anew.")
    if rows * columns > limits.pixels or max(rows, columns) > limits.side:
        raise FilmError(
            "TOO_LARGE", f"This film states {columns} × {rows} px, more than any detector gives. It was not read."
        )
    frames = integer(dataset, "NumberOfFrames") or 1
    if frames > limits.frames or frames < 0:
        raise FilmError("TOO_MANY_FRAMES", f"This file states {frames} frames. It was not read.")
    if frames > 1:
        raise NotAFilmError("MULTI_FRAME", f"This file holds {frames} frames; a chest film has one.")
    if min(rows, columns) < limits.smallest_side:
        raise NotAFilmError("TOO_SMALL", f"This picture is {columns} × {rows} px, too small for a chest film.")
    allocated, stored = _required(dataset, "BitsAllocated"), integer(dataset, "BitsStored")
    samples = integer(dataset, "SamplesPerPixel") or 1
    photometric = code(dataset, "PhotometricInterpretation")
    if allocated not in (8, 16) or samples not in (1, 3):
        raise NotAFilmError(
            "PIXEL_FORM", f"This picture has {samples} × {allocated} bits a pixel; a film has 1 × 8 or 1 × 16."
        )
    stored = allocated if stored is None else stored
    high = integer(dataset, "HighBit")
    shift = 0 if high is None else high + 1 - stored
    grey = photometric in _GREY or (photometric == "PALETTE COLOR")
    if not 1 <= stored <= allocated or shift < 0 or stored + shift > allocated or (samples == 1) != grey:
        raise FilmError("HEADER_INVALID", "This DICOM file's header contradicts itself. Export the film anew.")
    if samples == 3 and (allocated != 8 or photometric not in _COLOUR):
        raise NotAFilmError("PIXEL_FORM", "This is a colour picture of a rare kind, and no chest film.")
    signed = integer(dataset, "PixelRepresentation") == 1
    return StoredForm(rows, columns, samples, allocated, stored, shift, signed, photometric)


def _required(dataset: Dataset, keyword: str) -> int:
    value = integer(dataset, keyword)
    if value is None:
        raise FilmError("HEADER_INCOMPLETE", f"This DICOM file's header lacks {keyword}. Export the film anew.")
    return value


def decode(dataset: Dataset, syntax: uid.UID, form: StoredForm) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode the one frame.

    Returns:
        (H, W) uint8 or uint16 as stored: signed values in two's complement, bits above BitsStored untouched. Colour
        comes as 8-bit grey: YBR's luminance, else weighted as ITU-R BT.601 does.

    Raises:
        FilmError: cut short, damaged, not what the header says, or in an unknown transfer syntax.
    """
    data = dataset.get("PixelData")
    if not isinstance(data, bytes) or not data:
        raise FilmError("NO_PIXELS", "This DICOM file is cut short or holds a header alone. Export the film anew.")
    try:
        if syntax in _UNCOMPRESSED:
            if len(data) < form.bytes:
                raise truncated()
            dataset.PixelData = data[: form.bytes + form.bytes % 2]
            pixels = get_decoder(syntax).as_array(dataset, **_AS_STORED)[0]
        else:
            pixels = _decode_stream(dataset, data, syntax, form)
    except (FilmError, MemoryError):
        raise
    except Exception:
        raise broken() from None
    return _as_grey(pixels, dataset, syntax, form)


def _decode_stream(dataset: Dataset, data: bytes, syntax: uid.UID, form: StoredForm) -> NDArray[Any]:
    if data[:4] != _ITEM:
        raise broken()
    offsets_end = 8 + int.from_bytes(data[4:8], "little")
    stream = b"".join(generate_fragments(data[offsets_end:]))
    if syntax == uid.RLELossless:
        # A run of two bytes stands for up to 128, a literal run adds one byte to 128: longer than this is no picture.
        if len(stream) > form.bytes * 2 + 64:
            raise broken()
        return get_decoder(syntax).as_array(dataset, **_AS_STORED)[0]
    import imagecodecs  # heavy, and most films do not need it

    if syntax in _JPEG:
        facts = jpeg_facts(stream)
        _compare(facts, form)
        pixels: NDArray[Any] = imagecodecs.jpeg8_decode(stream)
        check_scans(stream, facts, pixels, imagecodecs.jpeg8_decode)
        return pixels
    if syntax in _JPEG_LS:
        _compare(jpeg_facts(stream), form)
        return imagecodecs.jpegls_decode(stream)
    if syntax in _JPEG_2000:
        _compare(jpeg2000_facts(stream), form)
        return imagecodecs.jpeg2k_decode(stream, numthreads=1)
    raise FilmError(
        "TRANSFER_SYNTAX_UNKNOWN",
        "This DICOM file is compressed in a way that is not read here. Export it uncompressed.",
    )


def _compare(facts: StreamFacts, form: StoredForm) -> None:
    if (facts.rows, facts.columns, facts.samples) != (form.rows, form.columns, form.samples):
        raise FilmError(
            "HEADER_CONTRADICTS_PIXELS",
            f"The header states {form.columns} × {form.rows} px, the picture within has "
            f"{facts.columns} × {facts.rows}. Export the film anew.",
        )
    if facts.bits > form.bits_allocated:
        raise FilmError(
            "HEADER_CONTRADICTS_PIXELS",
            f"The header states {form.bits_allocated} bits, the picture within has {facts.bits}. Export the film anew.",
        )
    if facts.signed is not None and facts.signed != form.signed:
        raise FilmError(
            "HEADER_CONTRADICTS_PIXELS",
            "The header and the picture within differ on whether values may lie below 0. Export the film anew.",
        )


def _as_grey(
    pixels: NDArray[Any], dataset: Dataset, syntax: uid.UID, form: StoredForm
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    expected = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, 3)
    size = form.bits_allocated // 8
    if pixels.shape != expected or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > size:
        raise broken()
    # A narrow signed stream is widened with its sign before its bits are looked at as they are.
    stored = np.ascontiguousarray(pixels, dtype=f"={pixels.dtype.kind}{size}").view(f"=u{size}")
    if form.photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        stored = (stored >> 8 * (stored.dtype.itemsize - 1)).astype(np.uint8)
    if stored.ndim == 2:
        return stored
    raw = syntax in _UNCOMPRESSED or syntax == uid.RLELossless  # the others' decoders turn YBR into RGB
    if raw and form.photometric.startswith("YBR"):
        return np.ascontiguousarray(stored[..., 0])
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
