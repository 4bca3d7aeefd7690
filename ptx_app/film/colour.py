"""Pictures of three samples a pixel: whether they have colours, and their grey."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# A pixel is coloured where its channels are this far apart (of 255), a picture where this share of its pixels is.
_COLOURED_APART = 24
_COLOURED_SHARE = 0.01


def is_coloured(rgb: NDArray[Any]) -> bool:
    """Whether a picture (H, W, 3) uint8 or uint16 has colours; letters and marks in colour make none of a film."""
    apart = np.ptp(rgb, axis=2)
    return bool((apart > np.iinfo(rgb.dtype).max // 255 * _COLOURED_APART).mean() > _COLOURED_SHARE)


def grey_of(rgb: NDArray[Any]) -> NDArray[Any]:
    """The brightness (H, W) of (H, W, 3) RGB, of the same depth, as ITU-R BT.601 weights it; grey stays as it is."""
    if not np.ptp(rgb, axis=2).any():
        return np.ascontiguousarray(rgb[..., 0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY))
