"""How much a picture looks like an upright frontal chest film: a small network on a thumbnail, numpy only.

The thumbnail's coarse greys and its histograms of signed gradients (after Dalal and Triggs, CVPR 2005) go into a few
small networks, whose logits are averaged. They were trained on films, the same films turned and inverted, and pictures
of other things: `ptx film-check`. Signed, because the unsigned gradients usual for people in photographs are the same
on an inverted film.
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
SIDE = 64  # px of the thumbnail
_COARSE, _CELLS, _DIRECTIONS = 16, 8, 8
FEATURES = _COARSE**2 + _CELLS**2 * _DIRECTIONS
# Below this range of greys a thumbnail shows nothing that a film's soft tissue, let alone its lungs, would.
_BLANK_RANGE = 0.02
# Films are rarely longer than 5 : 4. Beyond this it is a strip, or several pictures side by side.
_LONGEST = 2.0
# Logit that a picture put right must reach to be called a film that lies wrong. Seven ways of putting it right are
# tried, so that chance has seven tries too.
_SURELY = 6.0

Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True)
class Appearance:
    """What a picture looks like.

    Attributes:
        blank: it shows nothing, or next to nothing; then the rest says nothing.
        film: it is a frontal chest film, as it is or after being put right.
        turned: degrees clockwise by which that film lies: 0, 90, 180 or 270.
        inverted: whether black and white are exchanged in it.
    """

    blank: bool
    film: bool
    turned: int = 0
    inverted: bool = False


def classify(pixels: NDArray[np.floating], layers: Layers | None = None) -> Appearance:
    """Tell what a picture looks like.

    A picture that is not taken for an upright film is turned and inverted in every way, and the way that makes the
    best film of it tells how it lies. A film seen in a mirror is a film.

    Args:
        pixels: (H, W) in [0, 1], 1 = white = dense. Of any size from 1 × 1; values beyond are clipped, NaN is black.
        layers: networks to use instead of the app's.

    Raises:
        WeightsError: FRONTAL_CLASSIFIER_DAMAGED where the network's file is missing or damaged.
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
    """The picture stretched to a thumbnail, (SIDE, SIDE) float32 in [0, 1]. `pixels` as for `classify`."""
    small = cv2.resize(np.ascontiguousarray(pixels, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.clip(np.nan_to_num(small, nan=0.0), 0, 1).astype(np.float32)


def logits(layers: Layers, thumbnails: Floats) -> Floats:
    """How much thumbnails (n, SIDE, SIDE) look like an upright film: (n,), from 0 on they are taken for one.

    Where 0 lies was set on films that the networks had not learned from: 0.3 % of those are below it. A picture and
    its mirror image get the same: both are looked at.
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
    """Coarse greys and histograms of signed gradients of thumbnails (n, SIDE, SIDE): (n, FEATURES), near [-1, 1].

    The greys are first stretched from the 1st to the 99th percentile: exposure and window do not count. Each cell's
    histogram is divided by the strength of the gradients around it, as far as they stand out from the picture's.
    """
    low, high = np.percentile(thumbnails, (1, 99), axis=(1, 2), keepdims=True).astype(np.float32)
    grey = np.clip((thumbnails - low) / np.maximum(high - low, np.float32(1e-6)), 0, 1)
    coarse = _pooled(grey, _COARSE) / (SIDE // _COARSE) ** 2
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    strength = np.hypot(down, right)
    direction = (np.arctan2(down, right) * np.float32(_DIRECTIONS / (2 * np.pi))) % _DIRECTIONS
    # Each gradient is shared between the two directions that it lies between.
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
    side = SIDE // cells
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
            "FRONTAL_CLASSIFIER_DAMAGED", "The check for chest films is not installed rightly. Install the app anew."
        ) from error
    return layers
