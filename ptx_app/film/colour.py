"""Pictures with three samples per pixel: are they coloured, and what is their grey?"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# A pixel is coloured if its channels differ by more than the first value (of 255). A picture is coloured if a larger
# share of its pixels than the second value is coloured.
_COLOURED_APART = 24
_COLOURED_SHARE = 0.01


def is_coloured(rgb: NDArray[Any]) -> bool:
    """Whether a picture (H, W, 3) uint8 or uint16 is coloured. A few coloured letters or marks do not count."""
    apart = np.ptp(rgb, axis=2)
    return bool((apart > np.iinfo(rgb.dtype).max // 255 * _COLOURED_APART).mean() > _COLOURED_SHARE)


def grey_of(rgb: NDArray[Any]) -> NDArray[Any]:
    """The brightness (H, W) of RGB (H, W, 3) by ITU-R BT.601, in the same bit depth. Grey pictures are unchanged."""
    if not np.ptp(rgb, axis=2).any():
        return np.ascontiguousarray(rgb[..., 0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY))
