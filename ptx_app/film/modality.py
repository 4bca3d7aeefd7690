"""A film's modality values: its greys before the header's window, for a viewer that windows them itself."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_LEVELS = 1 << 16
# Shades this close to a straight ramp look the same: half of a display's step between greys.
_SAME = 0.5 / 255


@dataclass(frozen=True)
class ModalityValues:
    """The film as levels, and what a level means (PS3.3 C.11.1: values after the modality LUT).

    Attributes:
        levels: (H, W) uint16. The modality value of a pixel is `slope` × level + `intercept`.
        shades: (65536,) float32 in [0, 1], the shade of each level as the header wants it: `shades[levels]` is the
            picture that the network sees.
        slope, intercept: from a level to its modality value.
        lowest, highest: modality values on the film, without pixels outside it.
        black, white: modality values between which the shades run. `black` is white where `inverted`.
        linear: whether the shades are exactly that ramp, to half a step of a display.
        inverted: MONOCHROME1, low values are white.
        outside: the level of pixels outside the film (padding, shutter), always black; None if there are none.
    """

    levels: NDArray[np.uint16]
    shades: NDArray[np.float32]
    slope: float
    intercept: float
    lowest: float
    highest: float
    black: float
    white: float
    linear: bool
    inverted: bool
    outside: int | None

    @classmethod
    def of_picture(cls, pixels: NDArray[np.float32]) -> "ModalityValues":
        """For a picture (H, W) float32 in [0, 1] that is all there is of a film: its greys in 16 bits."""
        levels = np.asarray(np.clip(pixels, 0, 1) * (_LEVELS - 1) + 0.5, dtype=np.uint16)
        shades = np.linspace(0, 1, _LEVELS, dtype=np.float32)
        white = float(_LEVELS - 1)
        return cls(levels, shades, 1.0, 0.0, float(levels.min()), float(levels.max()), 0.0, white, True, False, None)


@dataclass(frozen=True)
class Scale:
    """What the bit patterns of stored pixels mean.

    Attributes:
        values: (levels,) the stored value of each of the 256 or 65,536 bit patterns, or after a modality LUT.
        slope, intercept: from that value to the modality value.
        inverted: MONOCHROME1.
    """

    values: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    inverted: bool = False


def modality_values(
    stored: NDArray[np.uint8] | NDArray[np.uint16],
    scale: Scale,
    shades: NDArray[np.float32],
    counts: NDArray[np.float64],
    hidden: NDArray[np.bool_] | None,
) -> ModalityValues:
    """The modality values of stored pixels.

    Args:
        stored: (H, W), with the bits as in the file.
        scale: what they mean.
        shades: (levels,) in [0, 1], the shade of each bit pattern.
        counts: (levels,) number of pixels of each pattern on the film, without padding and hidden ones.
        hidden: (H, W), pixels that are not shown although others of their pattern are; or None.
    """
    present = np.flatnonzero(counts)
    first = min(float(scale.values[present].min()), float(_LEVELS)) if present.size else 0.0
    # Whole numbers within 16 bits: signed values and those of a modality LUT too.
    level_of = np.clip(np.rint(scale.values - first), 0, _LEVELS - 1).astype(np.uint16)
    taken = np.zeros(_LEVELS, dtype=np.bool_)
    taken[level_of[present]] = True
    # Levels between those on the film get shades too, for a viewer that interpolates between pixels.
    used, at = np.unique(level_of[present], return_index=True)
    table = np.zeros(_LEVELS, dtype=np.float32)
    if present.size:
        table = np.interp(np.arange(_LEVELS), used, shades[present[at]]).astype(np.float32)
    outside: int | None = None
    if counts.sum() < stored.size:
        free = np.flatnonzero(~taken)
        outside = int(free[-1] if free.size else 0)
        level_of[counts == 0] = outside
        table[outside] = 0
    levels = np.asarray(cv2.LUT(stored, level_of[None]), dtype=np.uint16)
    if hidden is not None and outside is not None:
        levels[hidden] = outside
    intercept = scale.slope * first + scale.intercept
    values = np.asarray(scale.slope * used + intercept, dtype=np.float64) if present.size else np.zeros(1)
    rising = table[used] if present.size else np.zeros(1, np.float32)
    black, white, linear = _ramp(values, 1 - rising if scale.inverted else rising)
    ends = float(values.min()), float(values.max())
    return ModalityValues(levels, table, scale.slope, intercept, *ends, black, white, linear, scale.inverted, outside)


def _ramp(values: NDArray[np.float64], shades: NDArray[np.float32]) -> tuple[float, float, bool]:
    """The ramp through shades that rise with the values: its two ends, and whether the shades are that ramp."""
    between = np.flatnonzero((shades > 0) & (shades < 1))
    low, high = float(values.min()), float(values.max())
    if between.size >= 2:
        a, b = between[np.argmin(values[between])], between[np.argmax(values[between])]
        low, high = float(values[a]), float(values[b])
        rise = (float(shades[b]) - float(shades[a])) / (high - low)
        if rise > 0:
            start = low - float(shades[a]) / rise
            if np.abs(np.clip((values - start) * rise, 0, 1) - shades).max() <= _SAME:
                return start, start + 1 / rise, True
    elif between.size == 0 and (shades > 0).any() and (shades < 1).any():  # black and white only
        low, high = float(values[shades <= 0].max()), float(values[shades >= 1].min())
    high = max(high, low + 1e-6)
    return low, high, bool(np.abs(np.clip((values - low) / (high - low), 0, 1) - shades).max() <= _SAME)
