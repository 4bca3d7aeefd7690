"""Turns stored values into shades of grey by DICOM's display pipeline (PS3.3 C.11.1, C.11.2, PS3.4 N.2).

A pixel can have at most 65,536 stored values. The pipeline runs once over these, and each pixel is looked up in the
result.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptx_app.film.codestream import broken
from ptx_app.film.modality import Scale
from ptx_app.film.radiograph import FilmNote
from ptx_app.film.shades import Rendered, Stored, Values, full_range, histogram, percentile_range, percentiles, render


@dataclass(frozen=True)
class Lut:
    """A lookup table from the header: `entries` for input values `first`, `first` + 1, …, each of `bits` bits.

    `stated` is the number of entries that the header states.
    """

    first: int
    bits: int
    entries: NDArray[np.uint16]
    stated: int

    def __call__(self, values: Values) -> Values:
        """Look values up. Values beyond either end get the entry at that end."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return np.asarray(self.entries[index], dtype=np.float64)


@dataclass(frozen=True)
class Window:
    """VOI window: values over `width` around `centre` are shown from black to white."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    def __call__(self, values: Values) -> Values:
        """Shades in [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        offset = values - self.centre
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * offset / self.width, -700, 700)))
        # LINEAR is not defined for widths below 1, but rescaled values may span less. Then LINEAR_EXACT is used.
        if self.function == "LINEAR_EXACT" or self.width < 1:
            return np.clip(offset / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (offset > -0.5).astype(np.float64)
        return np.clip((offset + 0.5) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True)
class GreyScale:
    """How the header wants stored values to be shown.

    Attributes:
        bits_stored, shift, signed: number and position of the used bits, and whether they are two's complement.
        bits_above: the bits above these hold something else (overlays, before 2004) and are ignored.
        padding: lowest and highest stored value that mark pixels outside the film, or None.
        slope, intercept: rescale; ignored if there is a modality LUT.
        inverted: MONOCHROME1, the lowest value is white.
    """

    bits_stored: int
    shift: int = 0
    signed: bool = False
    bits_above: bool = False
    padding: tuple[int, int] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    voi: Lut | Window | None = None
    inverted: bool = False


_BITS_STORED_WRONG = FilmNote(
    "BITS_STORED_WRONG", "The pixels use more bits than the header states. All bits were read."
)
_HIGH_BIT_WRONG = FilmNote(
    "HIGH_BIT_WRONG", "The header states the wrong bit position for the greys. The actual position was used."
)
WINDOW_IGNORED = FilmNote(
    "WINDOW_IGNORED", "The header's window cannot be used. The film is shown over its own range of greys."
)
_LEAST_BETWEEN = 0.02


def shades_of(
    stored: Stored, scale: GreyScale, hidden: NDArray[np.bool_] | None = None
) -> tuple[Rendered, list[FilmNote]]:
    """Run stored values through modality LUT, VOI LUT and polarity.

    Args:
        stored: (H, W), with the bits as in the file.
        scale: how the header wants them to be shown.
        hidden: (H, W), the pixels that the header hides, or None.

    Returns:
        The picture, 1 = white, with padding and hidden pixels black; and warnings about the header.

    Raises:
        FilmError: PIXELS_BROKEN if the header's values do not give finite shades.
    """
    counts = histogram(stored, hidden)
    values, warnings = _meant_values(stored, counts, scale)
    padding = np.zeros(len(counts), dtype=bool)
    if scale.padding is not None:
        padding = (values >= scale.padding[0]) & (values <= scale.padding[1])
    counts[padding] = 0

    real = scale.modality_lut(values) if scale.modality_lut else values * scale.slope + scale.intercept
    shades = _voi(real, scale.voi)
    if shades is not None:
        film = counts.sum()
        if film and counts[(shades > 0) & (shades < 1)].sum() < _LEAST_BETWEEN * film and np.ptp(real[counts > 0]) > 1:
            warnings.append(WINDOW_IGNORED)
            shades = None
    if shades is None:
        deep = scale.bits_stored > 8 or _BITS_STORED_WRONG in warnings
        shades = percentile_range(real, counts) if deep else full_range(real)
    if not np.isfinite(shades).all():
        raise broken()
    # A modality LUT leaves whole numbers; else the viewer rescales the stored values itself.
    meaning = (
        Scale(real, inverted=scale.inverted)
        if scale.modality_lut
        else Scale(values, scale.slope, scale.intercept, scale.inverted)
    )
    return render(stored, 1 - shades if scale.inverted else shades, meaning, padding, hidden), warnings


def _meant_values(stored: Stored, counts: Values, scale: GreyScale) -> tuple[Values, list[FilmNote]]:
    """The value of each bit pattern by the header, corrected if the pixels show that the header is wrong."""
    levels, bits, shift = len(counts), scale.bits_stored, scale.shift
    pattern = np.arange(levels)
    if shift and not counts[pattern >> bits > 0].any() and counts[pattern & ((1 << shift) - 1) > 0].any():
        return _stored_values(levels, bits, 0, scale.signed)[0], [_HIGH_BIT_WRONG]
    values, fits = _stored_values(levels, bits, shift, scale.signed)
    if scale.bits_above or not counts[~fits].any():
        return values, []
    # Bits above BitsStored have no meaning (PS3.5 8.1.1). But if the film is smoother with them, BitsStored is wrong:
    # without them the greys would wrap around at each power of two.
    everything, _ = _stored_values(levels, levels.bit_length() - 1, 0, scale.signed)
    if _roughness(stored, everything, counts) < _roughness(stored, values, counts):
        return everything, [_BITS_STORED_WRONG]
    return values, []


def _roughness(stored: Stored, values: Values, counts: Values) -> float:
    """Mean difference between neighbours in a row, as a share of the film's range."""
    low, high = percentiles(values, counts, 0.01)
    apart = np.abs(np.diff(values.astype(np.int32)[stored[::4]], axis=1)).mean(dtype=np.float64)
    return float(apart) / max(high - low, 1.0)


def _stored_values(levels: int, bits: int, shift: int, signed: bool) -> tuple[Values, NDArray[np.bool_]]:
    """The value of each bit pattern; and whether the bits above are valid: all zero, or copies of the sign."""
    pattern = np.arange(levels, dtype=np.int64)
    value = (pattern >> shift) & ((1 << bits) - 1)
    fits = pattern >> (shift + bits) == 0
    if signed:
        negative = value >= 1 << (bits - 1)
        value = np.where(negative, value - (1 << bits), value)
        fits |= negative & (pattern >> (shift + bits) == (levels - 1) >> (shift + bits))
    return value.astype(np.float64), fits


def _voi(real: Values, voi: Lut | Window | None) -> Values | None:
    if isinstance(voi, Lut):
        return np.clip(voi(real) / ((1 << voi.bits) - 1), 0, 1)
    return voi(real) if voi else None
