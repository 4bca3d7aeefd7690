"""Turns stored pixel levels into shades of grey and a picture. Used for DICOM and for pictures."""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.field import find_field
from ptx_app.film.modality import ModalityValues, Scale, modality_values
from ptx_app.film.radiograph import Box, FilmNote

Values: TypeAlias = NDArray[np.float64]
Within: TypeAlias = tuple[slice, slice]
Stored: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

_STRETCHED = FilmNote(
    "GREY_RANGE_STRETCHED", "This film had very low contrast. Its greys were stretched from black to white."
)
_MARGINS = FilmNote(
    "MARGINS_LEFT_OUT", "This picture has wide margins around the film. Only the film itself is analysed."
)
_TOO_FEW_GREYS = FilmNote(
    "TOO_FEW_GREYS", "This picture has too few shades of grey. Export the film again with a suitable window."
)
_BLANK = FilmNote("BLANK_PICTURE", "The picture is blank: all pixels have the same grey. Export the film again.")
# Without a window, one pixel in 200 may be clipped at either end, such as letters and edges.
_CLIPPED = 0.005
_NEARLY_ALL = 0.9  # nothing is clipped if the other pixels span this share of the range
# Of the 1,392 films we have, the one with the lowest contrast spans 0.38 of the grey range, 1st to 99th percentile.
_INNER = 0.01
_LEAST_RANGE = 1 / 3
_FEWEST_GREYS = 8
_COARSE = 128  # greys; the eye tells fewer from each other
_NEAR = 0.6  # px


@dataclass(frozen=True)
class Rendered:
    """A picture (H, W) float32 in [0, 1], its modality values, the film's box in it, warnings and rejections."""

    pixels: NDArray[np.float32]
    modality: ModalityValues
    field: Box | None
    warnings: tuple[FilmNote, ...]
    rejections: tuple[FilmNote, ...]


def render(
    stored: Stored,
    shades: Values,
    scale: Scale,
    padding: NDArray[np.bool_] | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> Rendered:
    """Look up the shade of each stored pixel, find the film, and stretch its greys if the contrast is very low.

    Args:
        stored: (H, W).
        shades: in [0, 1], one for each of the 256 or 65,536 bit patterns.
        scale: what the bit patterns mean.
        padding: (levels,), True for patterns that mark pixels outside the film. They become black.
        hidden: (H, W), True for pixels that must not be shown. They become black.

    Returns:
        The picture. Possible warnings: GREY_RANGE_STRETCHED, MARGINS_LEFT_OUT. Possible rejections: BLANK_PICTURE,
        TOO_FEW_GREYS.
    """
    padding = np.zeros(len(shades), np.bool_) if padding is None else padding
    pixels = _looked_up(stored, shades, padding, hidden)
    shown = histogram(stored, hidden)
    shown[padding] = 0

    def rendered(
        pixels: NDArray[np.float32], modality: ModalityValues, warnings: tuple[FilmNote, ...], *rejections: FilmNote
    ) -> Rendered:
        return Rendered(pixels, modality, field, warnings, rejections)

    def modality(shades: Values) -> ModalityValues:
        return modality_values(stored, scale, shades.astype(np.float32), shown, hidden)

    field = find_field(pixels)
    within: Within = (
        (slice(None), slice(None))
        if field is None
        else (slice(field.top, field.bottom), slice(field.left, field.right))
    )
    counts = histogram(stored[within], None if hidden is None else hidden[within])
    counts[padding] = 0
    warnings = (_MARGINS,) if field else ()
    if np.count_nonzero(counts) < 2:
        return rendered(pixels, modality(shades), warnings, _BLANK)
    low, high = percentiles(shades, counts, _INNER)
    if high - low >= _LEAST_RANGE:
        return rendered(pixels, modality(shades), warnings)
    greys = np.unique(shades[(counts > 0) & (shades >= low) & (shades <= high)])
    if len(greys) < _FEWEST_GREYS:
        return rendered(pixels, modality(shades), warnings, _TOO_FEW_GREYS)
    if len(greys) < _COARSE:
        black = padding[stored] if hidden is None else padding[stored] | hidden
        wide = _refined(pixels, float(np.median(np.diff(greys))), black, within)
        return rendered(wide, ModalityValues.of_picture(wide), (*warnings, _STRETCHED))
    stretched = percentile_range(shades, counts)
    wide = _looked_up(stored, stretched, padding, hidden)
    return rendered(wide, modality(stretched), (*warnings, _STRETCHED))


def _refined(pixels: NDArray[np.float32], step: float, black: NDArray[np.bool_], within: Within) -> NDArray[np.float32]:
    """A film of few greys stretched: each pixel is moved towards its neighbours by at most half a step of the greys.

    Stretched steps alone would look like edges.
    """
    near = cv2.GaussianBlur(pixels, (0, 0), _NEAR)
    refined = pixels + np.clip(near - pixels, -step / 2, step / 2)
    low, high = np.percentile(refined[within][~black[within]], (100 * _INNER, 100 - 100 * _INNER))
    refined = np.clip((refined - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
    refined[black] = 0
    return np.asarray(refined)


def _looked_up(
    stored: Stored, shades: Values, padding: NDArray[np.bool_], hidden: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    shades = np.where(padding, 0, shades).astype(np.float32)
    pixels = np.asarray(cv2.LUT(stored, shades[None]), dtype=np.float32)
    if hidden is not None:
        pixels[hidden] = 0
    return pixels


def histogram(stored: Stored, hidden: NDArray[np.bool_] | None = None) -> Values:
    """Number of pixels of (H, W) at each of the 256 or 65,536 levels, without `hidden` pixels."""
    levels = 256 if stored.dtype == np.uint8 else 65536
    mask = None if hidden is None else (~hidden).astype(np.uint8)
    counts = cv2.calcHist([np.ascontiguousarray(stored)], [0], mask, [levels], [0, levels])
    return counts.ravel().astype(np.float64)


def full_range(real: Values) -> Values:
    """Shades over all storable values. For 8-bit films without a window, which are meant to be shown unchanged."""
    return np.asarray((real - real.min()) / max(np.ptp(real), 1e-9))


def percentile_range(real: Values, counts: Values) -> Values:
    """Shades over the film's own range of greys. Outliers are clipped, a small share at either end."""
    if not counts.any():
        return np.zeros_like(real)
    low, high = percentiles(real, counts, _CLIPPED)
    lowest, highest = percentiles(real, counts, 0)
    if high - low >= _NEARLY_ALL * (highest - lowest) or high <= low:
        low, high = lowest, highest
    return np.asarray(np.clip((real - low) / max(high - low, 1e-9), 0, 1))


def percentiles(real: Values, counts: Values, share: float) -> tuple[float, float]:
    """The values with this share of pixels below and above. `counts` must not be all zero."""
    present = np.flatnonzero(counts)
    order = present[np.argsort(real[present], kind="stable")]
    below = np.cumsum(counts[order])
    low, high = real[order[np.searchsorted(below, np.array([share, 1 - share]) * below[-1])]]
    return float(low), float(high)
