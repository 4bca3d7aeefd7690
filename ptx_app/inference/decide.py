"""Turns the network's prediction into a finding at given thresholds."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import OperatingPoint


class Side(StrEnum):
    """Side of the patient. The patient's right is on the left of the picture.

    UNKNOWN if the position of the film's middle is unclear, or the film is not frontal.
    """

    RIGHT = "patient-right"
    LEFT = "patient-left"
    UNKNOWN = "side-unknown"


class Grade(StrEnum):
    """How the score stands to its threshold. BORDERLINE is on either side of it."""

    FLAGGED = "flagged"
    BORDERLINE = "borderline"
    CLEAR = "none flagged"


# Odds this close to the threshold's, as a factor, are borderline: another film of the same chest could change sides.
_BORDER = 1.5
# Largest ratio of width to height of a chest film. A wider picture shows something beside the film, so its middle is
# not the patient's.
_WIDEST = 1.4


@dataclass(frozen=True)
class Thresholds:
    """The thresholds that decide; see OperatingPoint. All in [0, 1]."""

    score: float
    mask_threshold: float
    smallest_region: float
    surest_pixel: float = 0.0
    smallest_relative: float = 0.0

    @classmethod
    def of(cls, point: OperatingPoint) -> "Thresholds":
        """The thresholds of an operating point of the manifest."""
        return cls(**{field.name: getattr(point, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Region:
    """One connected region of the mask: its share of the film's area, and its box in px.

    `box`: (left, top, right, bottom) in the picture. `side`: the side on which its centroid lies, from the middle of
    what the network was shown: of the film, or of the lungs.
    """

    side: Side
    share: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Finding:
    """The result for one film.

    Attributes:
        flagged: whether the score reaches the score threshold.
        score: calibrated image-level probability in [0, 1].
        mask: (H, W) bool at the picture's own size, False outside the film; all False if not flagged.
        regions: the mask's connected regions, largest first. Equal ones are sorted from top to bottom, then from left
            to right. Empty if no pixel reaches the mask threshold.
        thresholds: the thresholds used.
        film_pixels: the film's area in px.
    """

    flagged: bool
    score: float
    mask: NDArray[np.bool_]
    regions: tuple[Region, ...]
    thresholds: Thresholds
    film_pixels: int

    @property
    def share(self) -> float:
        """The mask's share of the film's area, in [0, 1]."""
        return float(np.count_nonzero(self.mask) / self.film_pixels)

    @property
    def grade(self) -> Grade:
        """The verdict in three grades."""
        return grade(self.score, self.thresholds.score)

    def by_side(self) -> dict[Side, NDArray[np.bool_]]:
        """The mask's pixels on each side that has a region, (H, W) bool, the patient's right first.

        Together they are the mask.
        """
        if not self.regions:
            return {}
        held = _box(self.mask)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(held.of(self.mask).view(np.uint8), connectivity=8)
        side_of = {region.box: region.side for region in self.regions}
        corners = [
            (held.left + int(x), held.top + int(y), int(width), int(height)) for x, y, width, height, _ in stats[1:]
        ]
        sides = [None, *(side_of[x, y, x + width, y + height] for x, y, width, height in corners)]
        masks = {side: np.zeros_like(self.mask) for side in self.sides}
        for side, mask in masks.items():
            held.of(mask)[...] = np.array([each is side for each in sides])[labels]
        return masks

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides with at least one region, the patient's right first."""
        return tuple(side for side in Side if any(region.side is side for region in self.regions))


def grade(score: float, threshold: float) -> Grade:
    """The grade of a score in [0, 1] at a score threshold in [0, 1].

    >>> [grade(score, 0.5).value for score in (0.39, 0.41, 0.59, 0.61)]
    ['none flagged', 'borderline', 'borderline', 'flagged']
    """
    odds, limit = _odds(score), _odds(threshold)
    if limit / _BORDER < odds < limit * _BORDER:
        return Grade.BORDERLINE
    return Grade.FLAGGED if score >= threshold else Grade.CLEAR


def border(threshold: float) -> tuple[float, float]:
    """Between which scores, in [0, 1], a film is borderline at this score threshold in [0, 1].

    >>> border(0.5)
    (0.4, 0.6)
    """
    lowest, highest = _odds(threshold) / _BORDER, _odds(threshold) * _BORDER
    return lowest / (1 + lowest), highest / (1 + highest)


def _odds(probability: float) -> float:
    return probability / max(1 - probability, 1e-9)


def decide(prediction: Prediction, shape: tuple[int, int], thresholds: Thresholds) -> Finding:
    """Whether there is a pneumothorax (score threshold), and where it is (the other thresholds).

    A region stays if it is large enough and its surest pixel sure enough (hysteresis, Canny, IEEE TPAMI 1986), and if
    it is not too small beside the largest of those.

    Args:
        prediction: the network's output for the film.
        shape: (H, W) of the picture in px.
        thresholds: from an operating point, or set by the user.
    """
    field, seen = prediction.field or Box(0, 0, *shape), prediction.seen(shape)
    area = field.height * field.width
    mask = np.zeros(shape, dtype=np.bool_)
    if prediction.score < thresholds.score:
        return Finding(False, prediction.score, mask, (), thresholds, area)
    full = _stretched(prediction.probability, (seen.height, seen.width))
    seen.of(mask)[...], regions = _regions(full, thresholds, seen, field)
    if not prediction.frontal:
        regions = tuple(replace(region, side=Side.UNKNOWN) for region in regions)
    return Finding(True, prediction.score, mask, regions, thresholds, area)


def sides_of(mask: NDArray[np.bool_], prediction: Prediction) -> tuple[Side, ...]:
    """The sides on which the regions of a mask lie that a reader drew, the patient's right first.

    Args:
        mask: (H, W) of the picture.
        prediction: of the same film; it says which part of the picture the film is.
    """
    field, seen = prediction.field or Box(0, 0, *mask.shape), prediction.seen(mask.shape)
    middles = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)[3][1:, 0]
    found = {
        _side(float(middle) - seen.left, seen.width, field) if prediction.frontal else Side.UNKNOWN
        for middle in middles
    }
    return tuple(side for side in Side if side in found)


def binary_mask(probability: NDArray[np.float32], shape: tuple[int, int], mask_threshold: float) -> NDArray[np.bool_]:
    """The pixels with a probability of at least `mask_threshold`, at the film's own size (H, W).

    The probability is scaled before thresholding, so that edges stay smooth on large films.

    >>> binary_mask(np.array([[0.2, 0.8]], np.float32), (1, 4), 0.3).astype(int)
    array([[0, 1, 1, 1]])
    """
    return _stretched(probability, shape) >= np.float32(mask_threshold)


def _stretched(probability: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(probability, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _regions(
    probability: NDArray[np.float32], thresholds: Thresholds, seen: Box, field: Box
) -> tuple[NDArray[np.bool_], tuple[Region, ...]]:
    height, width = probability.shape
    mask = probability >= np.float32(thresholds.mask_threshold)
    box = _box(mask)
    held, sure = box.of(mask), box.of(probability)
    if not held.size:
        return mask, ()
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(held.view(np.uint8), connectivity=8)
    inner = [Box(top, left, top + down, left + across) for left, top, across, down, _ in stats.tolist()]
    areas = stats[:, cv2.CC_STAT_AREA].tolist()

    def own(label: int) -> NDArray[np.bool_]:
        return np.asarray(inner[label].of(labels) == label)

    def stands(label: int) -> bool:
        if areas[label] / (height * width) < thresholds.smallest_region:
            return False
        return bool(inner[label].of(sure).max(where=own(label), initial=0) >= np.float32(thresholds.surest_pixel))

    standing = {label for label in range(1, count) if stands(label)}
    least = thresholds.smallest_relative * max((areas[label] for label in standing), default=0)
    regions = []
    for label in range(1, count):
        if label not in standing or areas[label] < least:
            inner[label].of(held)[own(label)] = False
            continue
        side = _side(box.left + float(centroids[label, 0]), width, field)
        left, top, place = seen.left + box.left, seen.top + box.top, inner[label]
        corners = (left + place.left, top + place.top, left + place.right, top + place.bottom)
        regions.append(Region(side, areas[label] / (field.height * field.width), corners))
    regions.sort(key=lambda region: (-region.share, region.box[1], region.box[0]))
    return mask, tuple(regions)


def _box(mask: NDArray[np.bool_]) -> Box:
    """The box that holds the whole mask. Labelling is most of a decision's work, so nothing else is labelled."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Box(top, left, top + height, left + width)


def _side(column: float, width: int, field: Box) -> Side:
    if field.width > _WIDEST * field.height:
        return Side.UNKNOWN
    return Side.RIGHT if column < (width - 1) / 2 else Side.LEFT
