"""The film's field in its picture, and how analysis and results use it."""

import io

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from ptx_app.film import read_film
from ptx_app.film.field import find_field
from ptx_app.film.radiograph import Box
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.predict import Prediction
from ptx_app.output.record import side_code
from ptx_app.ui.messages import where
from tests.support.films import dicom_of, simulated_film


@pytest.fixture(scope="module")
def film() -> NDArray[np.float32]:
    """A real film with a pneumothorax drawn into its left side, (600, 560)."""
    return cv2.resize(simulated_film(), (560, 600), interpolation=cv2.INTER_AREA)


def around(film: NDArray[np.float32], sides: tuple[int, int, int, int], grey: float) -> NDArray[np.float32]:
    """The film with margins of these widths in px: top, bottom, left, right."""
    return np.pad(film, (sides[:2], sides[2:]), constant_values=grey)


def box_within(sides: tuple[int, int, int, int]) -> Box:
    return Box(sides[0], sides[2], sides[0] + 600, sides[2] + 560)


def near(first: Box | None, second: Box, px: int = 3) -> bool:
    return first is not None and all(
        abs(getattr(first, edge) - getattr(second, edge)) <= px for edge in ("top", "left", "bottom", "right")
    )


def lettered(height: int, width: int, grey: float, letters: float) -> NDArray[np.float32]:
    panel = np.full((height, width), round(grey * 255), np.uint8)
    for line in range(40, height, 60):
        cv2.putText(panel, "SE 1 CHEST", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, letters * 255, 1, cv2.LINE_AA)
    return (panel / 255).astype(np.float32)


def test_a_film_is_its_own_field(film):
    assert find_field(film) is None


@pytest.mark.parametrize("share", [0.02, 0.08])
def test_narrow_black_margins_are_left_to_the_network(film, share):
    assert find_field(around(film, (round(share * 600),) * 2 + (round(share * 560),) * 2, 0.0)) is None


@pytest.mark.parametrize("grey", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("sides", [(60, 60, 60, 60), (0, 0, 0, 200), (90, 0, 0, 0), (0, 0, 120, 40)])
def test_margins_of_another_grey_are_left_out(film, sides, grey):
    assert near(find_field(around(film, sides, grey)), box_within(sides))


@pytest.mark.parametrize("sides", [(200, 400, 300, 300), (0, 0, 0, 300), (300, 300, 280, 280)])
def test_wide_black_plates_are_left_out(film, sides):
    found = find_field(around(np.clip(film, 0.03, 1), sides, 0.0))
    assert near(found, box_within(sides))


@pytest.mark.parametrize("grey", [0.12, 0.9])
@pytest.mark.parametrize("left", [False, True])
def test_a_list_beside_the_film_is_left_out(film, left, grey):
    panel = lettered(600, 270, grey, 1 - grey)
    found = find_field(np.hstack([panel, film] if left else [film, panel]))
    assert near(found, Box(0, 270 * left, 600, 560 + 270 * left))


def test_a_frame_around_a_plate_is_left_out_with_it(film):
    sides = (200, 200, 200, 200)
    framed = np.pad(around(film, sides, 0.5), 2, constant_values=0.0)
    assert near(find_field(framed), Box(202, 202, 802, 762))


def test_a_plate_within_a_line_of_one_pixel_is_left_out(film):
    lined = np.pad(around(film, (200, 200, 200, 200), 0.5), 1, constant_values=1.0)
    assert near(find_field(lined), Box(201, 201, 801, 761))


def test_what_is_nearly_one_grey_is_film_unless_the_rest_begins_abruptly(film):
    def belly(slope: int) -> NDArray[np.float32]:
        """The film above rows of one grey, with more and more of it in the rows between."""
        end = np.full((120 + slope, 560), 0.5, np.float32)
        for row in range(120 + slope):
            end[row, : 560 * max(slope - row, 28) // (slope + 28)] = 0.9 * (row % 2)
        return np.vstack([film, end])

    assert find_field(belly(240)) is None


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_blank_picture_has_no_field(grey):
    assert find_field(np.full((200, 200), grey, np.float32)) is None


def test_the_greys_of_the_field_alone_are_stretched(film):
    flat = around(0.4 + 0.1 * film, (100, 100, 100, 100), 1.0)
    read = read_film(dicom_of(flat))
    assert {warning.code for warning in read.warnings} == {"MARGINS_LEFT_OUT", "GREY_RANGE_STRETCHED"}
    assert np.abs(read.film - np.clip(film, *np.percentile(film, (0.5, 99.5)))).mean() < 0.05


def spread_over(field: Box | None, shape: tuple[int, int], *boxes: tuple[int, int, int, int]):
    probability = np.zeros((100, 100), np.float32)
    for left, top, right, bottom in boxes:
        probability[top:bottom, left:right] = 0.8
    prediction = Prediction(0.9, probability, 2.0, field=field)
    return prediction, decide(prediction, shape, Thresholds(0.5, 0.5, 0))


def test_the_mask_lies_where_the_field_does_and_nowhere_else():
    field = Box(50, 300, 250, 500)
    prediction, finding = spread_over(field, (400, 600), (0, 0, 100, 100))
    assert finding.mask.shape == (400, 600)
    assert finding.mask[50:250, 300:500].all()
    assert finding.mask.sum() == 200 * 200
    assert finding.share == 1
    assert finding.regions[0].box == (300, 50, 500, 250)
    over = prediction.over_picture((400, 600))
    assert over.shape == (400, 600)
    assert (over > 0).sum() == 200 * 200
    side = len(prediction.probability)
    small = prediction.over_small((400, 600))
    assert small.shape == (2 * side, 3 * side)
    assert (small > 0).sum() == side * side


def test_probabilities_are_stretched_linearly_over_the_field():
    steps = np.asarray([[0.0, 1.0], [0.0, 1.0]], np.float32)
    over = Prediction(0.9, steps, 2.0, field=Box(0, 10, 4, 14)).over_picture((4, 20))
    assert over[0, 10:14] == pytest.approx([0, 0.25, 0.75, 1])


def test_sides_are_of_the_fields_middle():
    field = Box(0, 0, 400, 300)  # in a picture whose middle is at 300
    assert spread_over(field, (400, 600), (75, 10, 95, 40))[1].sides == (Side.LEFT,)
    assert spread_over(field, (400, 600), (5, 10, 25, 40))[1].sides == (Side.RIGHT,)


def test_no_side_is_named_where_the_picture_is_wider_than_a_film():
    _, finding = spread_over(None, (400, 600), (5, 10, 25, 40), (75, 10, 95, 40))
    assert finding.sides == (Side.UNKNOWN,)
    assert side_code(finding) == "side-unknown"
    assert "left side" not in where(finding)
    assert "right side" not in where(finding)
    _, whole = spread_over(None, (400, 500), (5, 10, 25, 40), (75, 10, 95, 40))
    assert side_code(whole) == "both"


def shuttered(values: NDArray[np.float32], **shutter: object) -> NDArray[np.float32]:
    return read_film(dicom_of(values, **shutter)).pixels


@pytest.mark.parametrize(
    "shutter",
    [
        {
            "ShutterShape": "RECTANGULAR",
            "ShutterLeftVerticalEdge": 40,
            "ShutterRightVerticalEdge": 521,
            "ShutterUpperHorizontalEdge": 30,
            "ShutterLowerHorizontalEdge": 571,
        },
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [300, 280], "RadiusOfCircularShutter": 250},
        {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [31, 41, 31, 520, 570, 520, 570, 41],
        },
    ],
    ids=lambda shutter: shutter["ShutterShape"],
)
def test_what_a_shutter_hides_is_black_whatever_it_was(film, shutter):
    open_as_black = shuttered(np.zeros_like(film) + 1, **shutter)
    hidden = open_as_black == 0
    assert 0.1 < hidden.mean() < 0.5
    assert hidden[0].all()
    assert not hidden[300, 280]
    white = np.where(hidden, 1, film).astype(np.float32)
    black = np.where(hidden, 0, film).astype(np.float32)
    assert np.array_equal(shuttered(white, **shutter), shuttered(black))


@pytest.mark.parametrize(
    "shutter",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 3]},
        {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 500, "ShutterRightVerticalEdge": 100},
        {
            "ShutterShape": "RECTANGULAR",
            "ShutterLeftVerticalEdge": 1,
            "ShutterRightVerticalEdge": 560,
            "ShutterUpperHorizontalEdge": 0,
            "ShutterLowerHorizontalEdge": 601,
        },
    ],
)
def test_a_shutter_without_sense_or_all_open_hides_nothing(film, shutter):
    assert np.array_equal(shuttered(film, **shutter), shuttered(film))


def test_the_field_comes_home_from_the_child_process(film):
    from ptx_app.film.sandbox.reader import SandboxedReader

    data = dicom_of(around(film, (0, 0, 0, 200), 1.0))
    assert pydicom.dcmread(io.BytesIO(data)).Columns == 760
    with SandboxedReader(processes=1) as reader:
        field = reader.read(data).field
    assert field == read_film(data).field
    assert near(field, Box(0, 0, 600, 560))
