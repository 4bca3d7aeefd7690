"""Reads from the header how the pixels are stored, and checks it for errors and against the limits."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.dicom.header import code, integer
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import FilmNote

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")
_BITS_CONTRADICTORY = FilmNote(
    "BITS_CONTRADICTORY",
    "The header contradicts itself about the bits per pixel. All bits were read. Check that the film looks right.",
)


@dataclass(frozen=True)
class StoredForm:
    """How the pixels are stored. Bits are per sample; `shift` is the number of unused bits below them."""

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
        """Bytes of one uncompressed picture."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated // 8


def stored_form(dataset: Dataset, limits: Limits) -> tuple[StoredForm, list[FilmNote]]:
    """Read and check the elements that describe the pixels. Missing optional elements get their defaults.

    Returns:
        The form, and a warning if there is one: BITS_CONTRADICTORY.

    Raises:
        FilmError: an element is missing or invalid, or the picture is larger than the limits.
        NotAFilmError: the picture cannot be a film: several frames, too small, 1 bit or 32 bit.
    """
    rows, columns = _size(dataset, limits)
    _check_frames(dataset, limits)
    if min(rows, columns) < limits.smallest_side:
        raise NotAFilmError(
            "TOO_SMALL", f"This picture is too small: {columns} × {rows} px. Export the film at full size."
        )
    allocated, photometric = _required(dataset, "BitsAllocated"), code(dataset, "PhotometricInterpretation")
    if not photometric:
        raise _lacking("PhotometricInterpretation")
    samples = integer(dataset, "SamplesPerPixel") or (3 if photometric in _COLOUR else 1)
    if allocated not in (8, 16) or samples not in (1, 3):
        raise NotAFilmError(
            "PIXEL_FORM",
            f"This picture has {samples} × {allocated} bits per pixel, which is not supported. "
            "Export the film with 8 or 16 bits of grey.",
        )
    if photometric not in _GREY + _COLOUR or (samples == 3 and allocated != 8):
        raise NotAFilmError(
            "PIXEL_FORM", "This picture's pixel format is not supported. Export the film in shades of grey."
        )
    if (samples == 1) != (photometric in _GREY):
        raise FilmError("HEADER_INVALID", "This DICOM file's header contradicts itself. Export the film again.")
    bits, shift, warnings = _bits(dataset, allocated)
    signed = integer(dataset, "PixelRepresentation") == 1
    return StoredForm(rows, columns, samples, allocated, bits, shift, signed, photometric), warnings


def _size(dataset: Dataset, limits: Limits) -> tuple[int, int]:
    rows, columns = _required(dataset, "Rows"), _required(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise FilmError("HEADER_INVALID", "This DICOM file's header has an invalid size. Export the film again.")
    if rows * columns > limits.pixels or max(rows, columns) > limits.side:
        raise FilmError(
            "TOO_LARGE", f"The header states {columns} × {rows} px, which is too large. Export the film smaller."
        )
    return rows, columns


def _check_frames(dataset: Dataset, limits: Limits) -> None:
    frames = integer(dataset, "NumberOfFrames") or 1
    if frames > limits.frames or frames < 0:
        raise FilmError("TOO_MANY_FRAMES", f"The header states {frames} frames. Export the film as a single picture.")
    if frames > 1:
        raise NotAFilmError("MULTI_FRAME", f"This file contains {frames} frames. Choose a file with a single film.")


def _bits(dataset: Dataset, allocated: int) -> tuple[int, int, list[FilmNote]]:
    """BitsStored, the number of unused bits below them, and warnings."""
    stored, high = integer(dataset, "BitsStored"), integer(dataset, "HighBit")
    if stored is None:
        return allocated, 0, []
    shift = 0 if high is None else high + 1 - stored
    if not 1 <= stored <= allocated or shift < 0 or stored + shift > allocated:
        return allocated, 0, [_BITS_CONTRADICTORY]
    return stored, shift, []


def _required(dataset: Dataset, keyword: str) -> int:
    value = integer(dataset, keyword)
    if value is None:
        raise _lacking(keyword)
    return value


def _lacking(keyword: str) -> FilmError:
    return FilmError("HEADER_INCOMPLETE", f"This DICOM file's header has no {keyword}. Export the film again.")
