"""Turns a film into the network's input. Training and the app use the same function."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box
from ptx_app.model.manifest import InputSpec

_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


@dataclass(frozen=True)
class NetworkInput:
    """What the network is shown of a picture.

    Attributes:
        square: (channels, side, side) float32, from `prepare`.
        shown: the part of the picture that the square shows; None for the film.
        field: the film's part of the picture; None for the whole picture.
    """

    square: NDArray[np.float32]
    shown: Box | None = None
    field: Box | None = None


def prepare(pixels: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Stretch a film to the network's square, denoise it if requested, normalise it, and copy it to all channels.

    Args:
        pixels: (H, W) float32 in [0, 1], 1 = white = dense.
        spec: the input that the weights need.

    Returns:
        (channels, side, side) float32, contiguous.
    """
    square = cv2.resize(pixels, (spec.side, spec.side), interpolation=_INTERPOLATION[spec.interpolation])
    if spec.denoising == "median":
        square = cv2.medianBlur(square, 3)
    square = (square - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(np.broadcast_to(square, (spec.channels, spec.side, spec.side)), dtype=np.float32)
