"""Does a picture look like an upright frontal chest film? Small networks on a thumbnail, in numpy only.

The features are the thumbnail's coarse greys and its histograms of signed gradients (after Dalal and Triggs, CVPR
2005). They go into a few small networks, whose logits are averaged. `ptx film-check` trained these on films, on the
same films rotated and inverted, and on pictures of other things. The gradients are signed because unsigned ones, usual
for people in photographs, do not change if a film is inverted.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ptx_app.errors import WeightsError

WEIGHTS_PATH = Path(__file__).with_name("frontal-classifier.safetensors")
THUMBNAIL_SIDE = 64  # px
_COARSE, _CELLS, _DIRECTIONS = 16, 8, 8
FEATURES = _COARSE**2 + _CELLS**2 * _DIRECTIONS
# A thumbnail with a smaller range of greys is blank: soft tissue alone has a larger range.
_BLANK_RANGE = 0.02
# Ratio of long to short side. Films rarely exceed 5 : 4. Above 2, it is a strip or several pictures side by side.
_LONGEST = 2.0
# Minimum logit for "a film, but rotated or inverted". It is high because seven corrections are tried, and each could
# pass by chance.
_SURELY = 6.0

Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True)
class Appearance:
    """What a picture looks like.

    Attributes:
        blank: the picture is blank or nearly so; the other attributes then have no meaning.
        film: it is a frontal chest film, as it is or once rotated and inverted back.
        turned: degrees clockwise by which the film is rotated: 0, 90, 180 or 270.
        inverted: whether black and white are swapped.
    """

    blank: bool
    film: bool
    turned: int = 0
    inverted: bool = False


def classify(pixels: NDArray[np.floating], layers: Layers | None = None) -> Appearance:
    """Classify a picture.

    If a picture does not look like an upright film, all rotations by 90 degrees are tried, with and without inversion.
    The one that looks most like a film shows how the film is rotated or inverted. A mirrored film counts as a film.

    Args:
        pixels: (H, W) in [0, 1], 1 = white = dense, any size from 1 × 1. Other values are clipped; NaN counts as black.
        layers: networks to use instead of the app's.

    Raises:
        WeightsError: FRONTAL_CLASSIFIER_DAMAGED if the networks' file is missing or damaged.
    """
    thumbnail = reduce(pixels)
    if np.ptp(np.percentile(thumbnail, (1, 99))) < _BLANK_RANGE:
        return Appearance(blank=True, film=False)
    if max(pixels.shape) > _LONGEST * min(pixels.shape):
        return Appearance(blank=False, film=False)
    layers = layers or load_layers(WEIGHTS_PATH)
    if logits(layers, thumbnail[None])[0] >= 0:
        return Appearance(blank=False, film=True)
    ways = [(degrees, inverted) for inverted in (False, True) for degrees in (0, 90, 180, 270)][1:]
    righted = [np.rot90(1 - thumbnail if inverted else thumbnail, degrees // 90) for degrees, inverted in ways]
    each = logits(layers, np.stack(righted))
    best = int(each.argmax())
    if each[best] < _SURELY:
        return Appearance(blank=False, film=False)
    turned, inverted = ways[best]
    return Appearance(blank=False, film=True, turned=turned, inverted=inverted)


def reduce(pixels: NDArray[np.floating]) -> Floats:
    """The picture stretched to a thumbnail, (THUMBNAIL_SIDE, THUMBNAIL_SIDE) float32 in [0, 1].

    `pixels` as in `classify`.
    """
    small = cv2.resize(
        np.ascontiguousarray(pixels, np.float32), (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA
    )
    return np.clip(np.nan_to_num(small, nan=0.0), 0, 1).astype(np.float32)


def logits(layers: Layers, thumbnails: Floats) -> Floats:
    """Logits (n,) for thumbnails (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE): from 0 up, a thumbnail counts as an upright film.

    The zero point was set on films not used for training: 0.3 % of them have a logit below 0. Each logit is the mean
    of a picture and its mirror image, so both get the same.
    """
    answers = _forward(layers, features(thumbnails)) + _forward(layers, features(thumbnails[:, :, ::-1]))
    return answers / np.float32(2)


def _forward(layers: Layers, values: Floats) -> Floats:
    hidden = values[None]  # (members, n, features)
    for weight, bias in layers[:-1]:
        hidden = np.maximum(hidden @ weight + bias[:, None], 0)
    weight, bias = layers[-1]
    mean: Floats = (hidden @ weight + bias[:, None])[..., 0].mean(0)
    return mean


def features(thumbnails: Floats) -> Floats:
    """Features (n, FEATURES), near [-1, 1], of thumbnails (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE).

    They are coarse greys and histograms of signed gradients. The greys are first stretched from the 1st to the 99th
    percentile, to remove the effect of exposure and window. Each cell's histogram is divided by the mean gradient
    strength of the cell and its neighbours, plus a small share of the whole picture's.
    """
    low, high = np.percentile(thumbnails, (1, 99), axis=(1, 2), keepdims=True).astype(np.float32)
    grey = np.clip((thumbnails - low) / np.maximum(high - low, np.float32(1e-6)), 0, 1)
    coarse = _pooled(grey, _COARSE) / (THUMBNAIL_SIDE // _COARSE) ** 2
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    strength = np.hypot(down, right)
    direction = (np.arctan2(down, right) * np.float32(_DIRECTIONS / (2 * np.pi))) % _DIRECTIONS
    # Each gradient is split between the two nearest directions.
    apart = np.abs(direction[..., None] - np.arange(_DIRECTIONS, dtype=np.float32))
    shares = np.maximum(1 - np.minimum(apart, _DIRECTIONS - apart), 0) * strength[..., None]
    histograms = np.stack([_pooled(shares[..., index], _CELLS) for index in range(_DIRECTIONS)], axis=-1)
    cells = histograms.sum(-1)
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = sum(padded[:, i : i + _CELLS, j : j + _CELLS] for i in range(3) for j in range(3)) / np.float32(9)
    floor = cells.mean((1, 2), keepdims=True) / 10 + np.float32(1e-3)
    histograms = histograms / (around + floor)[..., None]
    count = len(thumbnails)
    joined = np.concatenate([coarse.reshape(count, -1) * 2 - 1, histograms.reshape(count, -1) * 2], axis=1)
    return joined.astype(np.float32)


def _pooled(maps: Floats, cells: int) -> Floats:
    side = THUMBNAIL_SIDE // cells
    sums: Floats = maps.reshape(-1, cells, side, cells, side).sum((2, 4))
    return sums


@cache
def load_layers(path: Path) -> Layers:
    """The networks' weights (members, in, out) and biases (members, out), layer by layer.

    Raises:
        WeightsError: FRONTAL_CLASSIFIER_DAMAGED.
    """
    try:
        stored = load_file(path)
        count = len(stored) // 2
        layers = tuple(
            (stored[f"weight_{index}"].astype(np.float32), stored[f"bias_{index}"].astype(np.float32))
            for index in range(count)
        )
        _forward(layers, np.zeros((1, FEATURES), np.float32))
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            "FRONTAL_CLASSIFIER_DAMAGED", "A file of the film check is missing or damaged. Reinstall the app."
        ) from error
    return layers
