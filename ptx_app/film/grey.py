"""From stored values to shades of grey, as DICOM's display pipeline has it (PS3.3 C.11.1, C.11.2, PS3.4 N.2).

A pixel has at most 65,536 stored values, so the whole pipeline runs once over these and the film is looked up in the
result.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.codestream import broken
from ptx_app.film.radiograph import FilmNote

Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Lut:
    """A lookup table of the header: `entries` for input values `first`, `first` + 1, …, each of `bits` bits."""

    first: int
    bits: int
    entries: NDArray[np.uint16]

    def __call__(self, values: Values) -> Values:
        """Look values up; those beyond either end get its entry."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return np.asarray(self.entries[index], dtype=np.float64)


@dataclass(frozen=True)
class Window:
    """VOI window: values around `centre` over `width` take the shades from black to white."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    def __call__(self, values: Values) -> Values:
        """Shades in [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        offset = values - self.centre
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * offset / self.width, -700, 700)))
        # LINEAR is not defined below a width of 1, yet rescaled values may span less; what is meant then is plain.
        if self.function == "LINEAR_EXACT" or self.width < 1:
            return np.clip(offset / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (offset > -0.5).astype(np.float64)
        return np.clip((offset + 0.5) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True)
class GreyScale:
    """What the header says of how stored values are shown.

    Attributes:
        bits_stored, shift, signed: where in a stored value its bits lie, and whether they are two's complement.
        bits_above: the bits above are used for something else (overlays, before 2004) and are to be left out.
        padding: lowest and highest stored value that stand for no film, or None.
        slope, intercept: rescale; ignored where there is a modality LUT.
        inverted: MONOCHROME1, lowest is white.
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
    "BITS_STORED_WRONG", "The pixels use more bits than the header states. All of them were read."
)
_WINDOW_IGNORED = FilmNote(
    "WINDOW_IGNORED", "The header's window would show a blank picture. The film is shown over its own range of greys."
)
_BLANK = FilmNote("BLANK_PICTURE", "The picture is blank: every pixel has the same grey.")

# Where the header has neither window nor LUT: one pixel in 200 at either end may be clipped, as letters and edges are.
_CLIPPED = 0.005
_LEAST_BETWEEN = 0.02


def show(
    stored: NDArray[np.uint8] | NDArray[np.uint16], scale: GreyScale
) -> tuple[NDArray[np.float32], list[FilmNote], list[FilmNote]]:
    """Run stored values through modality LUT, VOI LUT and polarity.

    Args:
        stored: (H, W), bits as they are in the file.
        scale: what the header says.

    Returns:
        (H, W) float32 in [0, 1], 1 = white, padding black; warnings; rejections.

    Raises:
        FilmError: what the header says gives no shades.
    """
    levels = 256 if stored.dtype == np.uint8 else 65536
    counts = cv2.calcHist([stored], [0], None, [levels], [0, levels]).ravel().astype(np.float64)
    warnings: list[FilmNote] = []
    rejections: list[FilmNote] = []

    bits = scale.bits_stored
    values, fits = _stored_values(levels, bits, scale.shift, scale.signed)
    if not scale.bits_above and counts[~fits].any():
        bits = levels.bit_length() - 1
        values, _ = _stored_values(levels, bits, 0, scale.signed)
        warnings.append(_BITS_STORED_WRONG)

    padding = np.zeros(levels, dtype=bool)
    if scale.padding is not None:
        padding = (values >= scale.padding[0]) & (values <= scale.padding[1])
    counts[padding] = 0

    real = scale.modality_lut(values) if scale.modality_lut else values * scale.slope + scale.intercept
    shades = _voi(real, scale.voi)
    if shades is not None:
        film = counts.sum()
        if film and counts[(shades > 0) & (shades < 1)].sum() < _LEAST_BETWEEN * film and np.ptp(real[counts > 0]) > 1:
            warnings.append(_WINDOW_IGNORED)
            shades = None
    if shades is None:
        shades = full_range(real) if bits <= 8 else percentile_range(real, counts)
    if not np.isfinite(shades).all():
        raise broken()
    if scale.inverted:
        shades = 1 - shades
    shades[padding] = 0
    if np.count_nonzero(counts) < 2:
        rejections.append(_BLANK)
    return cv2.LUT(stored, shades.astype(np.float32)[None]).astype(np.float32, copy=False), warnings, rejections


def _stored_values(levels: int, bits: int, shift: int, signed: bool) -> tuple[Values, NDArray[np.bool_]]:
    """The value each pattern of bits stands for; and whether the bits above are as due: none, or the sign."""
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


def full_range(real: Values) -> Values:
    """Shades over all that can be stored: 8-bit films without a window are made to be shown as they are."""
    return np.asarray((real - real.min()) / max(np.ptp(real), 1e-9))


def percentile_range(real: Values, counts: Values) -> Values:
    """Shades over the range of greys the film has, a share of its pixels at either end clipped."""
    order = np.argsort(real, kind="stable")
    below = np.cumsum(counts[order])
    if below[-1] == 0:
        return np.zeros_like(real)
    low, high = real[order[np.searchsorted(below, np.array([_CLIPPED, 1 - _CLIPPED]) * below[-1])]]
    if high <= low:
        present = real[counts > 0]
        low, high = present.min(), present.max()
    return np.asarray(np.clip((real - low) / max(high - low, 1e-9), 0, 1))
