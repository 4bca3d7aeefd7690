"""Decodes the bytes of the pixels into stored values. Everything is checked before decoding."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from ptx_app.errors import FilmError
from ptx_app.film.codestream import StreamFacts, broken, check_scans, jpeg2000_facts, jpeg_facts, truncated
from ptx_app.film.colour import grey_of, is_coloured
from ptx_app.film.dicom.form import StoredForm
from ptx_app.film.dicom.parsing import ITEM, Parsed, fragments
from ptx_app.film.radiograph import FilmNote

_Coding = Literal["JPEG", "JPEG-LS", "JPEG 2000", "RLE"]
_CODINGS: dict[str, _Coding] = {
    uid.RLELossless: "RLE",
    # 4.53 (spectral selection) and 4.55 (full progression) are retired
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70)), "JPEG"),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, "JPEG-LS"),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), "JPEG 2000"),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), "JPEG 2000"),
}
_UNCOMPRESSED = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
TRANSFER_SYNTAXES = (*sorted(_UNCOMPRESSED), *_CODINGS)
"""UIDs of all transfer syntaxes that can be read."""

# Otherwise pydicom would shift out the bits above BitsStored, and wrongly so if HighBit is not BitsStored - 1.
_AS_STORED: dict[str, Any] = {"raw": True, "index": 0, "correct_unused_bits": False}

_SYNTAX_WRONG = FilmNote(
    "SYNTAX_WRONG", "The header names the wrong compression. The picture's actual compression was used."
)
_SAMPLES_WRONG = FilmNote(
    "SAMPLES_WRONG",
    "The header and the picture disagree about whether it is in colour. The picture's own data were used.",
)
_SIGN_WRONG = FilmNote(
    "SIGN_WRONG",
    "The header and the picture disagree about whether values can be negative. The header was used. Check that the "
    "film looks right.",
)


@dataclass(frozen=True)
class Decoded:
    """The one frame.

    Attributes:
        pixels: (H, W) uint8 or uint16 as stored: signed values in two's complement, bits above BitsStored unchanged.
            Colour is converted to 8-bit grey: YBR's luminance, else ITU-R BT.601.
        coloured: whether the picture was in colour, not just three equal samples per pixel.
        warnings: differences between header and picture that did not prevent reading: SYNTAX_WRONG, SAMPLES_WRONG,
            SIGN_WRONG.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    coloured: bool
    warnings: list[FilmNote]


def decode(parsed: Parsed, form: StoredForm) -> Decoded:
    """Decode the one frame.

    Raises:
        FilmError: cut short, damaged, different from the header, or in an unknown transfer syntax.
    """
    if parsed.syntax not in _UNCOMPRESSED and parsed.syntax not in _CODINGS:
        raise FilmError(
            "TRANSFER_SYNTAX_UNKNOWN",
            "This DICOM file's compression is not supported. Export the film uncompressed.",
        )
    if not parsed.pixels:
        raise FilmError("NO_PIXELS", "This DICOM file contains no picture. Export the film again.")
    items = parsed.encapsulated or (parsed.pixels.startswith(ITEM) and len(parsed.pixels) < form.bytes)
    plain = parsed.syntax in _UNCOMPRESSED and not items
    warnings: list[FilmNote] = []
    try:
        if plain:
            pixels = _decode_plain(parsed, form)
        else:
            pixels, warnings = _decode_items(parsed, form)
        # The other decoders convert YBR to RGB.
        as_stored = plain or parsed.syntax == uid.RLELossless
        return Decoded(*_as_grey(pixels, parsed.dataset, form, as_stored), warnings)
    except (FilmError, MemoryError):
        raise
    except Exception:
        raise broken() from None


def _decode_plain(parsed: Parsed, form: StoredForm) -> NDArray[Any]:
    if len(parsed.pixels) < form.bytes:
        raise truncated()
    return _by_pydicom(parsed, form, parsed.pixels[: form.bytes + form.bytes % 2])


def _by_pydicom(parsed: Parsed, form: StoredForm, pixels: bytes) -> NDArray[Any]:
    """Decode with pydicom. It requires every element to be present, so the checked values and defaults are set."""
    dataset = Dataset(parsed.dataset)
    dataset.set_original_encoding(*parsed.dataset.original_encoding)
    dataset.SamplesPerPixel, dataset.NumberOfFrames = form.samples, 1
    dataset.BitsStored, dataset.HighBit = form.bits_stored, form.bits_stored + form.shift - 1
    dataset.PixelRepresentation = int(form.signed)
    if form.samples == 3 and dataset.get("PlanarConfiguration") is None:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels
    return get_decoder(parsed.syntax).as_array(dataset, **_AS_STORED)[0]


def _decode_items(parsed: Parsed, form: StoredForm) -> tuple[NDArray[Any], list[FilmNote]]:
    if not parsed.pixels.startswith(ITEM):
        raise broken()
    stream, stated = fragments(parsed.pixels), _CODINGS.get(parsed.syntax)
    coding = _coding(stream) or stated
    warnings = [] if coding == stated else [_SYNTAX_WRONG]
    if coding == "RLE":
        # RLE at most doubles the size of a picture. A longer stream is not valid.
        if len(stream) > form.bytes * 2 + 64:
            raise broken()
        return _by_pydicom(parsed, form, parsed.pixels), warnings
    import imagecodecs  # slow to import, and most films do not need it

    pixels: NDArray[Any]
    if coding == "JPEG":
        facts = jpeg_facts(stream)
        warnings += _compare(facts, form)
        pixels = imagecodecs.jpeg8_decode(stream)
        check_scans(stream, facts, pixels, imagecodecs.jpeg8_decode)
    elif coding == "JPEG-LS":
        warnings += _compare(jpeg_facts(stream), form)
        pixels = imagecodecs.jpegls_decode(stream)
    elif coding == "JPEG 2000":
        warnings += _compare(jpeg2000_facts(stream), form)
        pixels = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    else:
        raise broken()
    return pixels, warnings


def _coding(stream: bytes) -> _Coding | None:
    """The stream's coding by its first bytes, or None. RLE cannot be recognised."""
    if stream.startswith(b"\xff\xd8\xff"):
        return "JPEG-LS" if b"\xff\xf7\x00" in stream[:4096] else "JPEG"
    return "JPEG 2000" if stream.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")) else None


def _compare(facts: StreamFacts, form: StoredForm) -> list[FilmNote]:
    """Warnings where stream and header differ. Raises FilmError if the header cannot belong to this picture."""
    if (facts.rows, facts.columns) != (form.rows, form.columns):
        raise FilmError(
            "HEADER_CONTRADICTS_PIXELS",
            f"The header states {form.columns} × {form.rows} px, but the picture has "
            f"{facts.columns} × {facts.rows} px. Export the film again.",
        )
    if facts.bits > form.bits_allocated:
        raise FilmError(
            "HEADER_CONTRADICTS_PIXELS",
            f"The header states {form.bits_allocated} bits, but the picture has {facts.bits}. Export the film again.",
        )
    warnings = [] if facts.samples == form.samples else [_SAMPLES_WRONG]
    # The bits are the same either way. The header decides their meaning, as in other readers.
    return warnings if facts.signed in (None, form.signed) else [*warnings, _SIGN_WRONG]


def _as_grey(
    pixels: NDArray[Any], dataset: Dataset, form: StoredForm, as_stored: bool
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], bool]:
    size = form.bits_allocated // 8
    if pixels.shape[:2] != (form.rows, form.columns) or pixels.shape[2:] not in ((), (3,)):
        raise broken()
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > size:
        raise broken()
    # Narrow signed values are sign-extended before they are viewed as unsigned.
    stored = np.ascontiguousarray(pixels, dtype=f"={pixels.dtype.kind}{size}").view(f"=u{size}")
    if form.photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        stored = (stored >> 8 * (stored.dtype.itemsize - 1)).astype(np.uint8)
    if stored.ndim == 2:
        return stored, False
    if as_stored and form.photometric.startswith("YBR"):
        rgb = np.asarray(cv2.cvtColor(np.ascontiguousarray(stored[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB))
        return np.ascontiguousarray(stored[..., 0]), is_coloured(rgb)
    return grey_of(stored), is_coloured(stored)
