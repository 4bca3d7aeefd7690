"""Pictures and results made from findings."""

import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ptx_app import __version__
from ptx_app.film.radiograph import FilmNote, View, grey_picture
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.measure import Place, SideMeasure
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import load_manifest
from ptx_app.output import pictures
from ptx_app.output.caption import caption_lines, captioned
from ptx_app.output.record import NOTICE, finding_json, side_code
from ptx_app.output.setting import Setting

_WEIGHTS = load_manifest().entry()
SETTING = Setting.of(_WEIGHTS, _WEIGHTS.operating_point(), Thresholds.of(_WEIGHTS.operating_point()), "OpenVINO")


def finding(*boxes, score=0.9, shape=(120, 100)):
    probability = np.zeros((64, 64), np.float32)
    for left, top, right, bottom in boxes:
        probability[top:bottom, left:right] = 0.9
    return decide(Prediction(score, probability, 0.0), shape, Thresholds(0.5, 0.5, 0))


@given(arrays(np.float32, (7, 9), elements=st.floats(-0.5, 1.5, width=32)))
@settings(max_examples=30, deadline=None)
def test_grey_picture_is_within_half_a_level(pixels):
    grey = grey_picture(pixels)
    assert np.abs(grey / 255 - np.clip(pixels, 0, 1)).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_png_keeps_every_pixel_and_the_order_of_colours(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    read = cv2.imdecode(np.frombuffer(pictures.encoded(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    if len(shape) == 3:
        read = cv2.cvtColor(read, cv2.COLOR_BGRA2RGBA if shape[2] == 4 else cv2.COLOR_BGR2RGB)
    assert np.array_equal(read, picture)


def test_contour_lies_outside_the_mask_and_around_it():
    found = finding((10, 10, 30, 30))
    line = pictures.contour(found.mask)
    assert line.any()
    assert not (line & found.mask).any()
    ring = cv2.dilate(found.mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~found.mask
    assert line[ring].mean() > 0.9


def test_an_empty_mask_has_no_contour():
    found = finding(score=0.1)
    assert not pictures.contour(found.mask).any()
    assert not pictures.mask_picture(found).any()


def test_mask_picture_is_the_film_size_and_two_valued():
    picture = pictures.mask_picture(finding((10, 10, 30, 30), shape=(333, 222)))
    assert picture.shape == (333, 222)
    assert set(np.unique(picture)) == {0, 255}


def test_overlay_leaves_the_film_alone_away_from_the_finding():
    grey = np.random.default_rng(2).integers(0, 256, (120, 100), dtype=np.uint8)
    picture = pictures.overlay_picture(grey, finding((40, 40, 60, 60)))
    assert np.array_equal(picture[:40, :40], np.dstack([grey[:40, :40]] * 3))
    assert (picture == pictures.FINDING_COLOUR).all(axis=2).any()
    assert np.array_equal(pictures.overlay_picture(grey, finding(score=0.0)), np.dstack([grey] * 3))


def test_a_dark_line_sets_the_contour_off_from_a_white_film_and_nothing_else_is_darker():
    found = finding((20, 20, 40, 40), shape=(1200, 1000))
    width = pictures.line_width(found.mask.shape)
    picture = pictures.overlay_picture(np.full(found.mask.shape, 250, np.uint8), found)
    away = cv2.distanceTransform((~found.mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert width == 3
    assert (picture[found.mask] == 250).all()
    assert (picture[(away > 0) & (away <= width - 1)] == pictures.FINDING_COLOUR).all()
    assert (picture[(away > width + 1) & (away <= 2 * width - 1)] == 50).all()
    assert (picture[away > 2 * width + 2] == 250).all()


@pytest.mark.parametrize("width", [300, 500, 2500])
def test_a_caption_stands_below_the_picture_and_changes_none_of_it(width):
    found = finding((10, 10, 30, 30), shape=(90, width))
    picture = np.random.default_rng(3).integers(0, 256, (90, width, 3), dtype=np.uint8)
    plain, marked = (captioned(picture, found, SETTING, sides=sides) for sides in (False, True))
    for made in (plain, marked):
        assert np.array_equal(made[:90], picture)
        strip = made[90:]
        assert len(strip) < max(60, width / 6)
        assert strip.max() > 100
        assert not strip[:, [0, -1]].any(), "nothing is cut off"
    ends = [slice(0, width // 20), slice(-(width // 20), None)]
    assert all(marked[90:, end].any() and not np.array_equal(marked[90:, end], plain[90:, end]) for end in ends)


def test_a_caption_says_result_setting_weights_and_that_it_is_no_device():
    point = SETTING.weights.operating_point()
    result, notice = caption_lines(finding((10, 10, 30, 30), score=0.91), SETTING)
    assert (
        result
        == f"Score 0.910, flagged (threshold 0.500, {point.name}). {SETTING.weights.name}, ptx_app {__version__}."
    )
    assert notice == NOTICE
    borderline = caption_lines(finding((10, 10, 30, 30), score=0.55), SETTING)[0]
    assert borderline.startswith("Score 0.550, borderline, flagged (")
    by_hand = Setting.of(SETTING.weights, point, Thresholds(0.5, 0.5, 0), "OpenVINO")
    assert caption_lines(finding(score=0.1), by_hand)[0].startswith(
        "Score 0.100, none flagged (threshold 0.500, set by hand)."
    )


@pytest.mark.parametrize("kind", [".png", ".jpg"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_a_comment_is_in_the_file_and_changes_no_pixel(kind, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    plain, commented = (pictures.encoded(picture, kind, comment) for comment in ("", "score_threshold=0.5; µ and 肺"))
    with Image.open(io.BytesIO(commented)) as image:
        image.load()
        said = image.text["Comment"] if kind == ".png" else image.info["comment"].decode("latin-1")
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(plain))))
    assert said == "score_threshold=0.5; µ and ?"
    read = [cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_UNCHANGED) for made in (plain, commented)]
    assert np.array_equal(*read)


def test_fill_is_as_opaque_as_asked():
    grey = np.zeros((120, 100), np.uint8)
    found = finding((20, 20, 50, 50))
    picture = pictures.overlay_picture(grey, found, fill=0.5)
    inside = picture[found.mask]
    assert np.allclose(inside, np.array(pictures.FINDING_COLOUR) * 0.5, atol=1)


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (100, 50)), ((50, 20), (50, 20)), ((1, 1000), (1, 100))])
def test_shrunk_keeps_shape_and_never_grows(size, expected):
    assert pictures.shrunk(np.zeros(size, np.uint8), 100).shape == expected


@pytest.mark.parametrize(
    ("boxes", "code"),
    [((), ""), (((5, 5, 20, 20),), "patient-right"), (((45, 5, 60, 20),), "patient-left"),
     (((5, 5, 20, 20), (45, 5, 60, 20)), "both")],
)  # fmt: skip
def test_side_code(boxes, code):
    assert side_code(finding(*boxes)) == code


def test_result_says_what_was_decided_with_what():
    weights = load_manifest().entry()
    made = finding((5, 5, 20, 20))
    record = json.loads(
        finding_json(
            made,
            Setting.of(weights, weights.operating_point(), made.thresholds, "OpenVINO"),
            view=View.PA,
            source_format="DICOM",
            sizes=(SideMeasure(Side.RIGHT, 0.0123456, 0.2, (Place.APICAL,), (Place.APICAL,), None, 10.25),),
            warnings=(FilmNote("ODD", "Something odd."),),
            overruled=(FilmNote("WRONG_MODALITY", "This is no film."),),
        )
    )
    assert record["flagged"] is True
    assert record["score"] == 0.9
    assert record["side"] == "patient-right"
    assert record["film"] == {
        "width": 100,
        "height": 120,
        "view": "PA",
        "format": "DICOM",
        "warnings": ["ODD"],
        "overruled": ["WRONG_MODALITY"],
    }
    assert record["weights"] == {"name": weights.name, "sha256": weights.sha256}
    assert record["thresholds"] == {
        "score": 0.5,
        "mask_threshold": 0.5,
        "smallest_region": 0,
        "surest_pixel": 0,
        "smallest_relative": 0,
    }
    assert (record["operating_point"], record["engine"]) == ("own", "OpenVINO")
    assert record["grade"] == "flagged"
    assert record["sizes"] == [
        {"side": "patient-right", "film_share": 0.0123, "hemithorax_share": 0.2, "places": ["apical"],
         "apical_mm": None, "lateral_mm": 10.25, "collins_percent": None, "at_detector": False},
    ]  # fmt: skip
    assert record["regions"][0]["place"] == "apical"
    assert record["regions"][0]["area_share"] == pytest.approx(record["area_share"])
    assert "not a medical device" in record["notice"].lower()
