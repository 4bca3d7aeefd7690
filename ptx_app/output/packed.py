"""A film packed for the viewer in the browser: all its greys, lossless and small."""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.modality import ModalityValues
from ptx_app.film.radiograph import Box, PixelSpacing, grey_picture
from ptx_app.inference.predict import Prediction

_FASTEST = 1


@dataclass(frozen=True)
class PackedGreys:
    """The greys of a film, deflated, and what they mean.

    Attributes:
        shape: height and width in px.
        levels: the film's levels: differences to the pixel at the left, zigzag coded, high bytes before low bytes.
        shades: the float32 shades of the 65,536 levels, deflated.
        greys: (65536,) uint8, the header's grey of each level.
        meaning: the rest of ModalityValues, as `viewer/src/payload.ts` names it.
    """

    shape: tuple[int, int]
    levels: bytes
    shades: bytes
    greys: NDArray[np.uint8]
    meaning: dict[str, Any]

    @classmethod
    def of(cls, modality: ModalityValues) -> "PackedGreys":
        """Pack the modality values of a film."""
        # In wrapping 16-bit arithmetic. Small steps up and down become small numbers, so the high bytes are mostly 0.
        steps = np.diff(modality.levels, axis=1, prepend=np.uint16(0)).view(np.int16)
        zigzag = ((steps << 1) ^ (steps >> 15)).view(np.uint16).ravel()
        del steps
        deflate = zlib.compressobj(_FASTEST)
        high = deflate.compress((zigzag >> 8).astype(np.uint8).data)
        levels = b"".join((high, deflate.compress(zigzag.astype(np.uint8).data), deflate.flush()))
        meaning = {
            "slope": modality.slope,
            "intercept": modality.intercept,
            "range": [modality.lowest, modality.highest],
            "window": [modality.black, modality.white],
            "linear": modality.linear,
            "inverted": modality.inverted,
            "outside": modality.outside,
        }
        shades = zlib.compress(modality.shades.tobytes(), _FASTEST)
        height, width = modality.levels.shape
        return cls((height, width), levels, shades, grey_picture(modality.shades), meaning)

    def unpacked(self) -> NDArray[np.uint16]:
        """The levels (H, W)."""
        height, width = self.shape
        planes = np.frombuffer(zlib.decompress(self.levels), np.uint8).reshape(2, height, width)
        zigzag = planes[0].astype(np.uint16) << 8 | planes[1]
        steps = (zigzag >> 1) ^ (np.uint16(0) - (zigzag & 1))
        return np.cumsum(steps, axis=1, dtype=np.uint16)

    def pixels(self) -> NDArray[np.float32]:
        """The film as it was read: (H, W) float32 in [0, 1]."""
        return np.frombuffer(zlib.decompress(self.shades), np.float32)[self.unpacked()]

    def grey_picture(self) -> NDArray[np.uint8]:
        """The film in its header's greys, (H, W) uint8, as `grey_picture` of its pixels."""
        return np.asarray(cv2.LUT(self.unpacked(), self.greys[None]), dtype=np.uint8)


@dataclass(frozen=True)
class PackedMaps:
    """The maps of a prediction, deflated: the probability in float32, and the activation in 8 bits, or b""."""

    probability: bytes = b""
    activation: bytes = b""

    @classmethod
    def of(cls, prediction: Prediction | None) -> "PackedMaps":
        """Pack the maps of a prediction; both are empty if there is none."""
        if prediction is None:
            return cls()
        return cls(zlib.compress(prediction.probability.tobytes(), _FASTEST), _activation(prediction))


def message(
    key: str,
    greys: PackedGreys,
    *,
    spacing: PixelSpacing | None,
    prediction: Prediction | None,
    maps: PackedMaps | None = None,
) -> bytes:
    """A film for the viewer: the length of the header (4 bytes, little endian), the header as JSON, and its parts.

    Args:
        key: identifies this message in the browser.
        greys: of the film.
        spacing: passed on if it can be believed; else only whether there is one.
        prediction: its probabilities are passed on as they are, in float32, and its activation in 8 bits; None if the
            film was not analysed.
        maps: those of the prediction, if they are packed already.
    """
    height, width = greys.shape
    seen = prediction.seen(greys.shape) if prediction else Box(0, 0, height, width)
    maps = maps or PackedMaps.of(prediction)
    shades = b"" if greys.meaning["linear"] else greys.shades  # the browser draws a ramp by itself
    parts = (greys.levels, shades, maps.probability, maps.activation)
    believed = spacing if spacing and spacing.believable else None
    header = greys.meaning | {
        "key": key,
        "width": width,
        "height": height,
        "spacing": believed and [believed.row_mm, believed.column_mm],
        "calibrated": bool(believed and believed.calibrated),
        "doubtful": spacing is not None and believed is None,
        "field": [seen.top, seen.left, seen.bottom, seen.right],
        "side": 0 if prediction is None else prediction.probability.shape[0],
        "parts": [len(part) for part in parts],
    }
    said = json.dumps(header).encode()
    return b"".join((struct.pack("<I", len(said)), said, *parts))


def _activation(prediction: Prediction) -> bytes:
    """The positive part of the activation as shares of its highest value in 8 bits; empty if there is none."""
    if prediction.activation is None or prediction.activation.max() <= 0:
        return b""
    positive = np.clip(prediction.activation, 0, None)
    return zlib.compress((positive * (255 / positive.max())).round().astype(np.uint8).tobytes(), _FASTEST)
