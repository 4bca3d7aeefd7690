"""From a film to the network's input. Training and the app both call this one function."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.model.manifest import InputSpec

_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


def prepare(pixels: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Stretch a film to the network's square, denoise it if asked to, repeat its grey to the channels and normalise it.

    Args:
        pixels: (H, W) float32 in [0, 1], 1 = white = dense.
        spec: how the weights want their input.

    Returns:
        (channels, side, side) float32, contiguous.
    """
    square = cv2.resize(pixels, (spec.side, spec.side), interpolation=_INTERPOLATION[spec.interpolation])
    if spec.denoising == "median":
        square = cv2.medianBlur(square, 3)
    square = (square - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(np.broadcast_to(square, (spec.channels, spec.side, spec.side)), dtype=np.float32)
