"""From probabilities to a finding: its grade, what counts as one region, its side, and the order of regions."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box
from ptx_app.inference.decide import (
    Finding,
    Grade,
    Side,
    Thresholds,
    binary_mask,
    border,
    decide,
    grade,
    sides_of,
)
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import OperatingPoint
from tests.support.records import records_of

AIR = Thresholds(score=0.5, mask_threshold=0.5, smallest_region=0.0)


def found(probability: NDArray[np.float32], thresholds: Thresholds = AIR) -> Finding:
    """The finding for a flagged film of the same size as the network's square, so that nothing is scaled."""
    shape = (probability.shape[0], probability.shape[1])
    return decide(Prediction(score=0.9, probability=probability, logit=2.0), shape, thresholds)


def marked(*boxes: tuple[int, int, int, int], side: int = 100) -> NDArray[np.float32]:
    """Probabilities of 1 in boxes (left, top, right, bottom), 0 elsewhere."""
    probability = np.zeros((side, side), np.float32)
    for left, top, right, bottom in boxes:
        probability[top:bottom, left:right] = 1
    return probability


@pytest.mark.parametrize(
    ("score", "threshold", "expected"),
    [
        (0.61, 0.5, Grade.FLAGGED),
        (0.59, 0.5, Grade.BORDERLINE),
        (0.41, 0.5, Grade.BORDERLINE),
        (0.39, 0.5, Grade.CLEAR),
        (0.0924, 0.0919, Grade.BORDERLINE),
        (0.0, 0.0919, Grade.CLEAR),
        (1.0, 1.0, Grade.BORDERLINE),
        (0.0, 0.0, Grade.FLAGGED),  # a threshold of 0 flags every film
    ],
)
def test_grades_by_distance_from_the_threshold(score, threshold, expected):
    assert grade(score, threshold) is expected


def test_the_borderline_odds_are_within_one_and_a_half_times_the_thresholds():
    assert border(0.5) == pytest.approx((0.4, 0.6))  # odds of 1: from 2 to 3, to 3 to 2
    assert border(0.2) == pytest.approx((1 / 7, 3 / 11))  # odds of 1 to 4: from 1 to 6, to 3 to 8


@pytest.mark.parametrize("threshold", [0.05, 0.3132, 0.5, 0.95])
def test_the_borderline_scores_that_are_named_are_those_that_get_this_verdict(threshold):
    lowest, highest = border(threshold)
    assert grade(lowest - 1e-6, threshold) is Grade.CLEAR
    assert grade(lowest + 1e-6, threshold) is Grade.BORDERLINE
    assert grade(highest - 1e-6, threshold) is Grade.BORDERLINE
    assert grade(highest + 1e-6, threshold) is Grade.FLAGGED


def test_an_operating_point_has_all_the_thresholds():
    values = {
        "score": 0.1,
        "mask_threshold": 0.2,
        "smallest_region": 0.3,
        "surest_pixel": 0.4,
        "smallest_relative": 0.5,
    }
    assert Thresholds.of(OperatingPoint(name="only", **values)) == Thresholds(**values)


def test_nobody_can_change_a_result_that_another_may_hold():
    assert [record for record in records_of("ptx_app.inference") if not record.__dataclass_params__.frozen] == []


BULK_AT_THE_RIGHT = marked(
    (5, 50, 90, 52), (60, 20, 90, 80)
)  # the middle of its box, 5 to 90, is in the picture's left half


def test_the_side_is_that_of_most_of_the_region_not_of_its_box():
    assert [region.side for region in found(BULK_AT_THE_RIGHT).regions] == [Side.LEFT]
    assert [region.side for region in found(BULK_AT_THE_RIGHT[:, ::-1].copy()).regions] == [Side.RIGHT]


@pytest.mark.parametrize(("left", "side"), [(44, Side.RIGHT), (45, Side.LEFT), (46, Side.LEFT)])
def test_a_region_on_the_middle_line_is_on_the_patients_left(left, side):
    region = marked((left, 40, left + 10, 50))  # its centroid is at left + 4.5, the film's middle at 49.5
    assert [region.side for region in found(region).regions] == [side]


@pytest.mark.parametrize(("width", "side"), [(140, Side.RIGHT), (141, Side.UNKNOWN)])
def test_a_picture_much_wider_than_high_shows_more_than_a_film_and_has_no_sides(width, side):
    probability = np.zeros((100, width), np.float32)
    probability[40:50, 20:30] = 1
    finding = found(probability)
    assert [region.side for region in finding.regions] == [side]
    assert list(finding.by_side()) == [side]


DRAWN = np.zeros((100, 100), bool)
DRAWN[40:60, 20:30] = DRAWN[40:60, 70:90] = True  # middles in columns 24.5 and 79.5


@pytest.mark.parametrize(
    ("changes", "sides"),
    [
        ({}, (Side.RIGHT, Side.LEFT)),
        ({"field": Box(0, 0, 100, 48)}, (Side.LEFT,)),  # the film's own middle counts, not the picture's
        ({"field": Box(0, 0, 100, 52)}, (Side.RIGHT, Side.LEFT)),
        ({"field": Box(0, 30, 100, 100)}, (Side.RIGHT, Side.LEFT)),
        ({"field": Box(45, 0, 100, 100)}, (Side.UNKNOWN,)),  # too wide for one film
        ({"frontal": False}, (Side.UNKNOWN,)),
    ],
)
def test_a_readers_contour_has_the_sides_of_a_finding(changes, sides):
    prediction = replace(Prediction(0.9, np.zeros((10, 10), np.float32), 0.0), **changes)
    assert sides_of(DRAWN, prediction) == sides
    assert sides_of(np.zeros_like(DRAWN), prediction) == ()


def test_the_masks_of_both_sides_are_whole_and_apart_wherever_they_lie():
    finding = found(marked((10, 60, 30, 90), (70, 20, 95, 70), (72, 80, 80, 85)))
    masks = finding.by_side()
    assert {side: int(mask.sum()) for side, mask in masks.items()} == {Side.RIGHT: 600, Side.LEFT: 1290}
    assert np.array_equal(masks[Side.RIGHT] | masks[Side.LEFT], finding.mask)
    assert masks[Side.RIGHT][60:90, 10:30].all()


def test_regions_that_touch_at_a_corner_keep_their_side():
    finding = found(marked((10, 10, 20, 20), (20, 20, 30, 30)))
    ((side, mask),) = finding.by_side().items()
    assert side is Side.RIGHT
    assert np.array_equal(mask, finding.mask)


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert len(found(marked((10, 10, 20, 20), (20, 20, 30, 30))).regions) == 1
    assert len(found(marked((10, 20, 20, 30), (20, 10, 30, 20))).regions) == 1


def test_regions_with_a_pixel_between_them_are_two():
    assert len(found(marked((10, 10, 20, 20), (21, 10, 30, 20))).regions) == 2
    assert len(found(marked((10, 10, 20, 20), (21, 21, 30, 30))).regions) == 2


@pytest.mark.parametrize(("threshold", "width"), [(0.36, 5), (0.39, 4), (0.61, 4), (0.64, 3), (0.86, 3), (0.89, 2)])
def test_probabilities_are_scaled_linearly_to_the_films_size(threshold, width):
    # Two pixels of 0 and 1 become eight: 0, 0, 1/8, 3/8, 5/8, 7/8, 1, 1.
    probability = np.asarray([[0, 1], [0, 1]], np.float32)
    row = np.arange(8) >= 8 - width
    assert np.array_equal(binary_mask(probability, (2, 8), threshold), np.tile(row, (2, 1)))
    assert np.array_equal(binary_mask(probability.T.copy(), (8, 2), threshold), np.tile(row, (2, 1)).T)


def test_a_pixel_at_the_threshold_belongs_to_the_mask_and_one_below_does_not():
    probability = np.asarray([[0.3, np.nextafter(np.float32(0.3), np.float32(0))]], np.float32)
    assert binary_mask(probability, (1, 2), 0.3).tolist() == [[True, False]]


def test_a_region_of_the_smallest_share_stays_and_a_smaller_one_goes():
    boxes = ((10, 10, 20, 20), (50, 50, 59, 60))  # 100 and 90 of 10,000 px
    finding = found(marked(*boxes), Thresholds(score=0.5, mask_threshold=0.5, smallest_region=0.01))
    assert [region.box for region in finding.regions] == [boxes[0]]
    assert finding.mask.sum() == 100


# OpenCV numbers regions by rows of 2 px, so it finds the fourth before the third.
EQUAL = ((10, 4, 20, 14), (70, 4, 80, 14), (70, 40, 80, 50), (10, 41, 20, 51), (10, 80, 20, 90), (70, 80, 80, 90))


def test_regions_of_equal_area_come_from_top_to_bottom_then_from_left_to_right():
    assert [region.box for region in found(marked(*EQUAL)).regions] == list(EQUAL)


def test_a_larger_region_comes_first_wherever_it_lies():
    largest = (40, 60, 51, 70)
    assert [region.box for region in found(marked(*EQUAL, largest)).regions] == [largest, *EQUAL]


@pytest.mark.parametrize(("surest", "kept"), [(0.0, 2), (0.7, 2), (0.71, 1), (0.9, 1), (0.91, 0)])
def test_a_region_is_kept_if_its_surest_pixel_is_sure_enough(surest, kept):
    probability = np.zeros((64, 64), np.float32)
    probability[10:20, 10:20], probability[15, 15] = 0.5, 0.7
    probability[10:20, 40:50], probability[12, 48] = 0.5, 0.9
    finding = decide(Prediction(0.9, probability, 3.0), (64, 64), Thresholds(0.5, 0.4, 0.0, surest))
    assert len(finding.regions) == kept
    assert finding.mask.sum() == 100 * kept
    assert finding.flagged


@pytest.mark.parametrize(
    ("relative", "kept"), [(0.0, [200, 100, 50]), (0.25, [200, 100, 50]), (0.26, [200, 100]), (0.5, [200, 100])]
)
def test_a_region_too_small_beside_the_largest_is_dropped(relative, kept):
    boxes = ((10, 10, 20, 30), (50, 10, 60, 20), (50, 50, 60, 55))
    finding = found(marked(*boxes), Thresholds(0.5, 0.5, 0.0, smallest_relative=relative))
    assert [round(region.share * 10_000) for region in finding.regions] == kept
    assert finding.mask.sum() == sum(kept)


def test_only_a_region_that_stands_makes_others_small():
    probability = np.zeros((64, 64), np.float32)
    probability[:30, :30] = 0.5  # large, but not sure enough
    probability[40:44, 40:44] = 0.9
    finding = decide(Prediction(0.9, probability, 3.0), (64, 64), Thresholds(0.5, 0.4, 0.0, 0.8, 0.3))
    assert finding.mask.sum() == 16


def test_the_surest_pixel_of_a_neighbour_in_the_same_box_does_not_count():
    probability = np.zeros((64, 64), np.float32)
    probability[10:30, 10] = probability[29, 10:30] = 0.5  # an L, with a sure speck in its box
    probability[15, 20] = 0.9
    finding = decide(Prediction(0.9, probability, 3.0), (64, 64), Thresholds(0.5, 0.4, 0.0, 0.8))
    assert finding.mask.sum() == 1
