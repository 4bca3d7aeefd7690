"""Levels of stored pixels to shades of grey, and pixels to a picture: what DICOM films and pictures have in common."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.field import find_field
from ptx_app.film.radiograph import Box, FilmNote

Values: TypeAlias = NDArray[np.float64]
Stored: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

_STRETCHED = FilmNote(
    "GREY_RANGE_STRETCHED", "This film used few of the greys between black and white. They were stretched to all."
)
_MARGINS = FilmNote(
    "MARGINS_LEFT_OUT", "There are wide margins around the film in this picture. Only the film itself is judged."
)
_TOO_FEW_GREYS = FilmNote(
    "TOO_FEW_GREYS", "This picture has too few shades of grey to be judged. Export the film again, with its own window."
)
_BLANK = FilmNote("BLANK_PICTURE", "The picture is blank: every pixel has the same grey.")
# Where nothing says how to show a film: one pixel in 200 at either end may be clipped, as letters and edges are.
_CLIPPED = 0.005
_NEARLY_ALL = 0.9  # none is clipped if the others take this much of the range anyway
# The flattest of 1,392 films at hand fills 0.38 of the range between its 1st and 99th percentile.
_INNER = 0.01
_LEAST_RANGE = 1 / 3
_FEWEST_GREYS = 8


@dataclass(frozen=True)
class Rendered:
    """A picture (H, W) float32 in [0, 1], where the film lies in it, and what is to be said of it."""

    pixels: NDArray[np.float32]
    field: Box | None
    warnings: tuple[FilmNote, ...]
    rejections: tuple[FilmNote, ...]


def render(
    stored: Stored, shades: Values, padding: NDArray[np.bool_] | None = None, hidden: NDArray[np.bool_] | None = None
) -> Rendered:
    """Look stored pixels up, find the film among them, and stretch its greys where it has few.

    Args:
        stored: (H, W).
        shades: in [0, 1], one for each of the 256 or 65,536 levels.
        padding: (levels,), which of them stand for no film and are black.
        hidden: (H, W), the pixels that are not to be shown and are black.

    Returns:
        The picture; GREY_RANGE_STRETCHED and MARGINS_LEFT_OUT among its warnings, BLANK_PICTURE or TOO_FEW_GREYS among
        its rejections.
    """
    padding = np.zeros(len(shades), np.bool_) if padding is None else padding
    pixels = _looked_up(stored, shades, padding, hidden)
    field = find_field(pixels)
    within: Any = slice(None) if field is None else (slice(field.top, field.bottom), slice(field.left, field.right))
    counts = histogram(stored[within], None if hidden is None else hidden[within])
    counts[padding] = 0
    warnings = (_MARGINS,) if field else ()
    if np.count_nonzero(counts) < 2:
        return Rendered(pixels, field, warnings, (_BLANK,))
    low, high = percentiles(shades, counts, _INNER)
    if high - low >= _LEAST_RANGE:
        return Rendered(pixels, field, warnings, ())
    if np.count_nonzero(counts[(shades >= low) & (shades <= high)]) < _FEWEST_GREYS:
        return Rendered(pixels, field, warnings, (_TOO_FEW_GREYS,))
    wide = percentile_range(shades, counts)
    return Rendered(_looked_up(stored, wide, padding, hidden), field, (*warnings, _STRETCHED), ())


def _looked_up(
    stored: Stored, shades: Values, padding: NDArray[np.bool_], hidden: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    shades = np.where(padding, 0, shades).astype(np.float32)
    pixels = np.asarray(cv2.LUT(stored, shades[None]), dtype=np.float32)
    if hidden is not None:
        pixels[hidden] = 0
    return pixels


def histogram(stored: Stored, hidden: NDArray[np.bool_] | None = None) -> Values:
    """How many pixels of (H, W) have each of the 256 or 65,536 levels, those of `hidden` left out."""
    levels = 256 if stored.dtype == np.uint8 else 65536
    mask = None if hidden is None else (~hidden).astype(np.uint8)
    counts = cv2.calcHist([np.ascontiguousarray(stored)], [0], mask, [levels], [0, levels])
    return counts.ravel().astype(np.float64)


def full_range(real: Values) -> Values:
    """Shades over all that can be stored: 8-bit films without a window are made to be shown as they are."""
    return np.asarray((real - real.min()) / max(np.ptp(real), 1e-9))


def percentile_range(real: Values, counts: Values) -> Values:
    """Shades over the range of greys the film has. A share of its pixels at either end is clipped if that helps."""
    if not counts.any():
        return np.zeros_like(real)
    low, high = percentiles(real, counts, _CLIPPED)
    lowest, highest = percentiles(real, counts, 0)
    if high - low >= _NEARLY_ALL * (highest - lowest) or high <= low:
        low, high = lowest, highest
    return np.asarray(np.clip((real - low) / max(high - low, 1e-9), 0, 1))


def percentiles(real: Values, counts: Values, share: float) -> tuple[float, float]:
    """The values that this share of the pixels lies below and above; some pixels must be counted."""
    present = np.flatnonzero(counts)
    order = present[np.argsort(real[present], kind="stable")]
    below = np.cumsum(counts[order])
    low, high = real[order[np.searchsorted(below, np.array([share, 1 - share]) * below[-1])]]
    return float(low), float(high)
