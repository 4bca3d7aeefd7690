"""Where the lung fields are: the lungs beside the heart and above the diaphragm."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box
from ptx_app.inference.decide import Side
from ptx_app.inference.predict import sigmoid
from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import InputSpec
from ptx_app.model.network import Network

# A pair of lungs: the two largest regions, in shares of the film. Of 704 films with lung masks every pair fits.
_LEAST_AREA, _MOST_AREA = 0.03, 0.35
_MOST_UNEQUAL = 5.0  # times the area of the smaller one
_LEAST_BESIDE = 0.5  # share of the lower one's height that lies beside the other

# Of the lungs' own height and width, on each side. A pneumothorax is pleural space, which the network may leave out: of
# 2,131 training films with a mask, 99.6 % of the masks' pixels lie inside the box.
_MARGIN = 0.09


@dataclass(frozen=True)
class Lungs:
    """The two lung fields of a film as masks (S, S) bool of the network's square, stretched over the film.

    `patient_right` is the one on the left of the picture.
    """

    patient_right: NDArray[np.bool_]
    patient_left: NDArray[np.bool_]

    def of(self, side: Side) -> NDArray[np.bool_]:
        """The lung of the patient's right or left."""
        return self.patient_right if side is Side.RIGHT else self.patient_left


def lung_probability(network: Network, pixels: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """The probability in [0, 1] that a pixel belongs to a lung, (S, S) float32 for the network's square.

    Args:
        network: trained on lung masks; its image-level score means nothing.
        pixels: (H, W) float32 in [0, 1], 1 = white = dense.
        spec: the network's input.
    """
    return sigmoid(network(prepare(pixels, spec)[np.newaxis]).mask_logits[0])


def lung_pair(probability: NDArray[np.float32], mask_threshold: float) -> Lungs | None:
    """The two lungs, or None if the two largest regions cannot be a pair of lungs.

    Args:
        probability: from `lung_probability`.
        mask_threshold: a pixel belongs to a lung if its probability is at least this, in [0, 1].
    """
    mask = (probability >= np.float32(mask_threshold)).astype(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 3:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA] / mask.size
    two = np.argsort(-areas, kind="stable")[:2]
    larger, smaller = (float(areas[place]) for place in two)
    if smaller < _LEAST_AREA or larger > _MOST_AREA or larger > _MOST_UNEQUAL * smaller:
        return None
    first, second = sorted((int(place) + 1 for place in two), key=lambda label: float(centroids[label, 0]))
    tops, heights = stats[:, cv2.CC_STAT_TOP], stats[:, cv2.CC_STAT_HEIGHT]
    beside = min(tops[first] + heights[first], tops[second] + heights[second]) - max(tops[first], tops[second])
    if beside < _LEAST_BESIDE * min(heights[first], heights[second]):
        return None
    return Lungs(labels == first, labels == second)


def lung_box(lungs: Lungs | None, shape: tuple[int, int]) -> Box:
    """The part of a film of (H, W) px that holds both lungs with a margin; all of it if there is no pair of lungs."""
    height, width = shape
    if lungs is None:
        return Box(0, 0, height, width)
    both = lungs.patient_right | lungs.patient_left
    rows, columns = np.nonzero(both)
    top, bottom = _with_margin(rows, both.shape[0], height)
    left, right = _with_margin(columns, both.shape[1], width)
    return Box(top, left, bottom, right)


def _with_margin(places: NDArray[np.intp], side: int, length: int) -> tuple[int, int]:
    first, last = float(places.min()) / side, float(places.max() + 1) / side
    margin = _MARGIN * (last - first)
    return max(0, round((first - margin) * length)), min(length, round((last + margin) * length))
