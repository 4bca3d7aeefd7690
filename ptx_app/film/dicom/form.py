"""How the header says that the pixels are stored, checked for sense and against the limits."""

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
    "The header contradicts itself on which bits hold the greys. All bits were read; check that the film looks right.",
)


@dataclass(frozen=True)
class StoredForm:
    """How the pixels are stored; bits per sample, `shift` bits unused below them."""

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


def stored_form(dataset: Dataset, limits: Limits) -> tuple[StoredForm, list[FilmNote]]:
    """Read and check the elements that describe the pixels; what may be left out has its default.

    Returns:
        The form, and what was odd about it: BITS_CONTRADICTORY.

    Raises:
        FilmError: an element is missing or senseless, or the picture is larger than the limits.
        NotAFilmError: a picture of a kind that no film is: many frames, too small, one bit, 32 bit.
    """
    rows, columns = _size(dataset, limits)
    _check_frames(dataset, limits)
    if min(rows, columns) < limits.smallest_side:
        raise NotAFilmError("TOO_SMALL", f"This picture is {columns} × {rows} px, too small for a chest film.")
    allocated, photometric = _required(dataset, "BitsAllocated"), code(dataset, "PhotometricInterpretation")
    if not photometric:
        raise _lacking("PhotometricInterpretation")
    samples = integer(dataset, "SamplesPerPixel") or (3 if photometric in _COLOUR else 1)
    if allocated not in (8, 16) or samples not in (1, 3):
        raise NotAFilmError(
            "PIXEL_FORM", f"This picture has {samples} × {allocated} bits a pixel; a film has 1 × 8 or 1 × 16."
        )
    if photometric not in _GREY + _COLOUR or (samples == 3 and allocated != 8):
        raise NotAFilmError(
            "PIXEL_FORM", "This picture's pixels are of a kind that is not read here. Export it in shades of grey."
        )
    if (samples == 1) != (photometric in _GREY):
        raise FilmError("HEADER_INVALID", "This DICOM file's header contradicts itself. Export the film again.")
    bits, shift, warnings = _bits(dataset, allocated)
    signed = integer(dataset, "PixelRepresentation") == 1
    return StoredForm(rows, columns, samples, allocated, bits, shift, signed, photometric), warnings


def _size(dataset: Dataset, limits: Limits) -> tuple[int, int]:
    rows, columns = _required(dataset, "Rows"), _required(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise FilmError("HEADER_INVALID", "This DICOM file's header makes no sense. Export the film again.")
    if rows * columns > limits.pixels or max(rows, columns) > limits.side:
        raise FilmError(
            "TOO_LARGE", f"This film states {columns} × {rows} px, more than any detector gives. It was not read."
        )
    return rows, columns


def _check_frames(dataset: Dataset, limits: Limits) -> None:
    frames = integer(dataset, "NumberOfFrames") or 1
    if frames > limits.frames or frames < 0:
        raise FilmError("TOO_MANY_FRAMES", f"This file states {frames} frames. It was not read.")
    if frames > 1:
        raise NotAFilmError("MULTI_FRAME", f"This file holds {frames} frames; a chest film has one.")


def _bits(dataset: Dataset, allocated: int) -> tuple[int, int, list[FilmNote]]:
    """BitsStored, how far above the lowest bit they lie, and what was odd about either."""
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
    return FilmError("HEADER_INCOMPLETE", f"This DICOM file's header lacks {keyword}. Export the film again.")
