"""Lungs must be a plausible pair, and sizes are those that a ruler would give."""

import numpy as np
import pytest

from ptx_app.film.radiograph import Box, PixelSpacing, View
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.lungs import Lungs, lung_pair
from ptx_app.inference.measure import Place, measure
from ptx_app.inference.predict import Prediction

SIDE = 100
SPACING = PixelSpacing(2.0, 2.0, believable=True)


def square(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A probability that is 0.9 in boxes (left, top, right, bottom) of 100 × 100 px."""
    made = np.zeros((SIDE, SIDE), np.float32)
    for left, top, right, bottom in boxes:
        made[top:bottom, left:right] = 0.9
    return made


RIGHT, LEFT = (10, 20, 40, 80), (60, 20, 90, 80)
LUNGS = Lungs(square(RIGHT) > 0, square(LEFT) > 0)


def test_the_two_largest_regions_are_the_lungs_by_their_place():
    lungs = lung_pair(square(LEFT, RIGHT, (45, 5, 55, 10)), 0.5)
    assert lungs is not None
    assert (lungs.patient_right == LUNGS.patient_right).all()
    assert (lungs.patient_left == LUNGS.patient_left).all()


@pytest.mark.parametrize(
    "boxes",
    [
        (),
        (RIGHT,),
        ((10, 20, 34, 78), (60, 20, 69, 53)),  # 0.0297 of the film
        ((0, 0, 45, 80), LEFT),  # 0.36 of the film
        (RIGHT, (60, 20, 71, 50)),  # 5.5 times smaller
        ((10, 5, 40, 40), (60, 24, 90, 59)),  # 16 of 35 rows beside each other
        ((10, 5, 90, 30), (10, 60, 90, 85)),  # one above the other
    ],
    ids=["nothing", "one", "too small", "too large", "too unequal", "not beside", "above each other"],
)
def test_what_is_no_pair_of_lungs(boxes):
    assert lung_pair(square(*boxes), 0.5) is None


@pytest.mark.parametrize(
    "boxes",
    [
        (RIGHT, (60, 20, 71, 53)),  # 0.0363 of the film, 4.96 times smaller
        ((10, 20, 34, 78), (60, 20, 70, 50)),  # 0.03 of the film
        ((0, 0, 50, 70), LEFT),  # 0.35 of the film
        (RIGHT, (60, 20, 72, 50)),  # 5 times smaller
        ((10, 5, 40, 45), (60, 25, 90, 65)),  # 20 of 40 rows beside each other
    ],
    ids=["not too unequal", "just large enough", "just not too large", "just not too unequal", "just beside"],
)
def test_what_is_still_a_pair_of_lungs(boxes):
    assert lung_pair(square(*boxes), 0.5) is not None


def test_parts_that_touch_at_a_corner_are_one_lung():
    lungs = lung_pair(square(RIGHT, (60, 20, 75, 50), (75, 50, 90, 80)), 0.5)
    assert lungs is not None
    assert np.count_nonzero(lungs.patient_left) == 2 * 15 * 30


def test_a_pixel_at_the_threshold_belongs_to_a_lung():
    assert lung_pair(square(RIGHT, LEFT), float(np.float32(0.9))) is not None
    assert lung_pair(square(RIGHT, LEFT), 0.91) is None


def finding_of(*boxes: tuple[int, int, int, int]):
    return decide(Prediction(0.9, square(*boxes), 3.0), (SIDE, SIDE), Thresholds(0.5, 0.5, 0.0))


def test_sizes_of_a_band_along_the_left_chest_wall():
    # 6 px wide along the whole side, and 10 px high over the apex of the lung.
    (found,) = measure(finding_of((60, 20, 90, 30), (84, 30, 90, 80)), LUNGS, SPACING)
    assert found.side is Side.LEFT
    area = 30 * 10 + 6 * 50
    assert found.film_share == pytest.approx(area / SIDE**2)
    assert found.hemithorax_share == pytest.approx(area / (30 * 60))
    assert found.apical_mm == 10 * 2  # not the length of the band at the chest wall
    assert found.lateral_mm == 6 * 2
    assert found.collins_percent == pytest.approx(4.2 + 4.7 * (2.0 + 1.2 + 1.2), abs=0.05)
    assert found.places == (Place.APICAL,)


@pytest.mark.parametrize(
    ("row", "place", "lateral"),
    [
        (20, Place.APICAL, 0),
        (39, Place.APICAL, 0),
        (40, Place.LATERAL, 8),
        (59, Place.LATERAL, 8),
        (60, Place.BASAL, 8),
        (79, Place.BASAL, 8),
    ],
)
def test_a_row_of_air_belongs_to_its_third_and_is_lateral_below_the_first(row, place, lateral):
    # The hemithorax has the rows from 20 to 79, so its thirds begin at 20, 40 and 60.
    (found,) = measure(finding_of((82, row, 90, row + 1)), LUNGS, SPACING)
    assert (found.places, found.region_places) == ((place,), (place,))
    assert found.lateral_mm == lateral * 2


def test_the_lateral_distance_is_the_largest_below_the_first_third():
    (found,) = measure(finding_of((80, 22, 90, 38), (82, 45, 90, 55), (86, 65, 90, 75)), LUNGS, SPACING)
    assert found.lateral_mm == 8 * 2


def test_a_region_whose_middle_is_between_two_thirds_is_in_the_lower_one():
    (found,) = measure(finding_of((82, 39, 90, 41)), LUNGS, None)
    assert found.region_places == (Place.LATERAL,)


def test_on_a_film_twice_as_high_as_the_square_heights_are_twice_as_large():
    finding = decide(Prediction(0.9, square((60, 20, 90, 30)), 3.0), (2 * SIDE, SIDE), Thresholds(0.5, 0.5, 0.0))
    (found,) = measure(finding, LUNGS, SPACING)
    assert found.hemithorax_share == pytest.approx(10 / 60)
    assert found.apical_mm == 20 * 2


def test_regions_of_unknown_side_are_not_measured():
    lateral = Prediction(0.9, square((60, 20, 90, 30)), 3.0, frontal=False)
    finding = decide(lateral, (SIDE, SIDE), Thresholds(0.5, 0.5, 0.0))
    assert finding.sides == (Side.UNKNOWN,)
    assert measure(finding, LUNGS, SPACING) == ()


def dome(radius: int) -> np.ndarray:
    """A round apex of 0.9 in 100 × 100 px, its top at row 50 - radius, open to the base."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    inside = (np.hypot(rows - 50, columns - 20) < radius) | ((rows >= 50) & (rows < 90) & (abs(columns - 20) < radius))
    return (inside * 0.9).astype(np.float32)


def test_a_thin_rim_around_a_round_apex_is_no_deeper_there_than_anywhere():
    lungs = Lungs(dome(18) > 0, square(LEFT) > 0)
    rim = dome(18) - dome(15)
    (found,) = measure(decide(Prediction(0.9, rim, 3.0), (SIDE, SIDE), Thresholds(0.5, 0.5, 0.0)), lungs, SPACING)
    assert found.apical_mm == 3 * 2
    assert found.lateral_mm == 3 * 2


def test_air_below_the_lung_is_no_lateral_distance():
    (found,) = measure(finding_of((60, 75, 90, 80), (87, 40, 90, 75)), LUNGS, SPACING)
    assert found.lateral_mm == 3 * 2
    assert found.apical_mm == 0


def test_lung_field_between_chest_wall_and_air_does_not_hide_the_air():
    (found,) = measure(finding_of((60, 22, 90, 30), (84, 30, 88, 80)), LUNGS, SPACING)
    assert (found.apical_mm, found.lateral_mm) == (8 * 2, 4 * 2)


def test_where_no_lung_is_left_below_the_apex_the_distance_is_to_the_lung():
    (found,) = measure(finding_of((60, 20, 90, 60)), LUNGS, SPACING)
    assert found.apical_mm == 40 * 2
    (found,) = measure(finding_of((60, 20, 90, 79), (60, 79, 62, 80)), LUNGS, SPACING)
    assert found.apical_mm == 59 * 2


@pytest.mark.parametrize(("view", "estimated"), [(View.PA, True), (View.UNKNOWN, True), (View.AP, False)])
def test_collins_estimate_is_not_for_ap_films_or_both_sides(view, estimated):
    (found,) = measure(finding_of((80, 20, 90, 80)), LUNGS, SPACING, view=view)
    assert (found.collins_percent is not None) == estimated
    assert found.lateral_mm == 20
    both = measure(finding_of((80, 20, 90, 80), (10, 20, 20, 80)), LUNGS, SPACING, view=view)
    assert [each.collins_percent for each in both] == [None, None]


def test_each_region_has_its_place():
    (found,) = measure(finding_of((60, 62, 70, 80), (85, 22, 90, 36), (60, 42, 65, 50)), LUNGS, None)
    assert found.region_places == (Place.BASAL, Place.APICAL, Place.LATERAL)


def test_a_pneumothorax_beside_the_lung_field_is_part_of_the_hemithorax():
    (found,) = measure(finding_of((90, 20, 96, 80)), LUNGS, SPACING)
    assert found.hemithorax_share == pytest.approx(6 * 60 / (36 * 60))
    assert found.places == (Place.APICAL, Place.LATERAL, Place.BASAL)


@pytest.mark.parametrize(
    ("rows", "place"), [((20, 39), Place.APICAL), ((41, 59), Place.LATERAL), ((61, 80), Place.BASAL)]
)
def test_places_are_thirds_of_the_hemithorax(rows, place):
    (found,) = measure(finding_of((12, rows[0], 20, rows[1])), LUNGS, SPACING)
    assert found.side is Side.RIGHT
    assert found.places == (place,)


def test_two_sides_are_measured_apart():
    right, left = measure(finding_of((10, 20, 15, 80), (80, 20, 90, 80), (60, 70, 65, 75)), LUNGS, None)
    assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
    assert right.hemithorax_share == pytest.approx(5 / 30)
    assert left.hemithorax_share == pytest.approx((10 * 60 + 25) / (30 * 60))


@pytest.mark.parametrize("calibrated", [True, False])
def test_distances_are_at_the_detector_unless_the_header_knows_better(calibrated):
    spacing = PixelSpacing(2.0, 2.0, believable=True, calibrated=calibrated)
    (found,) = measure(finding_of((80, 20, 90, 80)), LUNGS, spacing)
    assert found.at_detector != calibrated


@pytest.mark.parametrize("spacing", [None, PixelSpacing(2.0, 2.0, believable=False)])
def test_nothing_in_mm_where_the_spacing_cannot_be_believed(spacing):
    (found,) = measure(finding_of((80, 20, 90, 80)), LUNGS, spacing)
    assert found.hemithorax_share is not None
    assert (found.apical_mm, found.lateral_mm, found.collins_percent) == (None, None, None)


def test_without_lungs_only_the_share_of_the_film_is_known():
    (found,) = measure(finding_of((80, 20, 90, 80)), None, SPACING)
    assert found.film_share == pytest.approx(0.06)
    assert (found.hemithorax_share, found.places, found.apical_mm) == (None, (), None)


def test_the_estimate_ends_at_the_whole_hemithorax():
    (found,) = measure(finding_of(LEFT), LUNGS, PixelSpacing(5.0, 5.0, believable=True))
    assert found.collins_percent == 100


def test_a_film_inside_a_frame_is_measured_by_its_own_field():
    field = Box(50, 100, 150, 200)
    prediction = Prediction(0.9, square((60, 20, 90, 30)), 3.0, field=field)
    finding = decide(prediction, (200, 300), Thresholds(0.5, 0.5, 0.0))
    (found,) = measure(finding, LUNGS, SPACING, field)
    assert found.hemithorax_share == pytest.approx(300 / 1800)
    assert found.film_share == pytest.approx(0.03)


@pytest.mark.parametrize(("bottom", "known"), [(60, True), (59, False)])
def test_of_a_side_that_is_not_outlined_as_a_whole_no_share_is_told(bottom, known):
    # The right lung has 60 rows; the left one is opaque below, so lung and air have 40, or 39.
    lungs = Lungs(square(RIGHT) > 0, square((60, 20, 80, bottom)) > 0)
    (found,) = measure(finding_of((80, 20, 90, 40)), lungs, SPACING)
    assert found.film_share == pytest.approx(0.02)
    assert (found.hemithorax_share is not None) == known
    assert bool(found.places) == known
    assert (found.lateral_mm is not None) == known


def test_nothing_is_measured_on_a_film_that_is_not_flagged():
    finding = decide(Prediction(0.1, square(LEFT), -3.0), (SIDE, SIDE), Thresholds(0.5, 0.5, 0.0))
    assert measure(finding, LUNGS, SPACING) == ()
