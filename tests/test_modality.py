"""Modality values: what the viewer windows is the film that the network sees, with all its greys."""

import io
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ptx_app.film import read_film
from ptx_app.film.dicom.form import stored_form
from ptx_app.film.dicom.tags import spacing_of
from ptx_app.film.limits import Limits
from ptx_app.film.modality import ModalityValues
from ptx_app.film.radiograph import grey_picture
from ptx_app.output.packed import PackedGreys
from tests.support.films import dicom_of

RAMP = np.linspace(0.1, 0.9, 100 * 80, dtype=np.float32).reshape(100, 80)


def stored(values: np.ndarray, **tags: object) -> bytes:
    return dicom_of(np.zeros(values.shape, np.float32), PixelData=values.astype("<u2").tobytes(), **tags)


TWELVE = np.random.default_rng(0).integers(100, 4000, (100, 80))
WINDOW = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 1000}
CASES = {
    "window": stored(TWELVE, **WINDOW),
    "inverted": stored(TWELVE, **WINDOW | {"PhotometricInterpretation": "MONOCHROME1"}),
    "rescaled": stored(TWELVE, **WINDOW | {"RescaleSlope": 2, "RescaleIntercept": -1024}),
    "falling": stored(TWELVE, **WINDOW | {"RescaleSlope": -1, "RescaleIntercept": 4095}),
    "signed": stored(TWELVE - 2000, BitsStored=16, PixelRepresentation=1, WindowCenter=0, WindowWidth=3000),
    "padded": stored(np.where(TWELVE < 500, 0, TWELVE), **WINDOW | {"PixelPaddingValue": 0}),
    "sigmoid": stored(TWELVE, **WINDOW | {"VOILUTFunction": "SIGMOID"}),
    "none": stored(TWELVE, BitsStored=12, HighBit=11, WindowCenter=None, WindowWidth=None),
    "low contrast": stored(2000 + TWELVE // 10, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096),
    "sixteen": dicom_of(RAMP),
}


@pytest.mark.parametrize("name", CASES)
def test_the_headers_greys_are_what_the_network_sees(name):
    film = read_film(CASES[name])
    modality = film.modality
    assert np.array_equal(modality.shades[modality.levels], film.pixels)
    assert np.array_equal(PackedGreys.of(modality).grey_picture(), grey_picture(film.pixels))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("sigmoid", "low contrast")])
def test_a_linear_window_is_a_ramp_between_modality_values(name):
    film = read_film(CASES[name])
    modality = film.modality
    assert modality.linear
    values = modality.slope * modality.levels + modality.intercept
    ramp = np.clip((values - modality.black) / (modality.white - modality.black), 0, 1)
    inside = modality.levels != modality.outside
    shown = 1 - ramp if modality.inverted else ramp
    assert np.abs(shown - film.pixels)[inside].max() <= 0.5 / 255
    assert not film.pixels[~inside].any()


def test_a_sigmoid_is_no_ramp():
    assert not read_film(CASES["sigmoid"]).modality.linear


@pytest.mark.parametrize(
    ("name", "values"), [("window", TWELVE), ("rescaled", TWELVE * 2 - 1024), ("signed", TWELVE - 2000)]
)
def test_values_and_the_full_range_are_those_of_the_file(name, values):
    modality = read_film(CASES[name]).modality
    assert np.array_equal(modality.slope * modality.levels + modality.intercept, values)
    assert (modality.lowest, modality.highest) == (values.min(), values.max())


def test_padding_is_outside_the_film_and_not_in_its_range():
    modality = read_film(CASES["padded"]).modality
    assert np.array_equal(modality.levels == modality.outside, TWELVE < 500)
    assert modality.lowest >= 500


@given(arrays(np.uint16, (9, 13)))
@settings(max_examples=50, deadline=None)
def test_packing_is_lossless(levels):
    shades = np.linspace(0, 1, 65536, dtype=np.float32)
    greys = PackedGreys.of(ModalityValues(levels, shades, 1, 0, 0, 65535, 0, 65535, True, False, None))
    assert np.array_equal(greys.unpacked(), levels)
    assert len(zlib.decompress(greys.levels)) == levels.nbytes


@given(st.integers(0, 2**16 - 1))
def test_a_changed_picture_keeps_sixteen_bits(value):
    pixels = np.full((2, 2), value / 65535, np.float32)
    assert (ModalityValues.of_picture(pixels).levels == value).all()


DETECTOR = {"ImagerPixelSpacing": [3.5, 3.5]}


@pytest.mark.parametrize(
    ("tags", "believable", "calibrated"),
    [
        (DETECTOR, True, False),
        ({"PixelSpacing": [3.5, 3.5]}, True, False),
        (DETECTOR | {"PixelSpacing": [3.5, 3.5]}, True, False),
        (DETECTOR | {"PixelSpacing": [3.2, 3.2]}, True, True),
        (DETECTOR | {"PixelSpacing": [3.5, 3.5], "PixelSpacingCalibrationType": "GEOMETRY"}, True, True),
        ({"PixelSpacing": [3.5, 3.5], "Modality": "OT"}, False, False),
        ({"PixelSpacing": [0.5, 0.5]}, False, False),
        ({"PixelSpacing": [3.5, 2.5]}, False, False),
    ],
)
def test_spacing_is_believed_only_where_something_says_what_was_measured(tags, believable, calibrated):
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(RAMP, **tags)))
    spacing = spacing_of(dataset, stored_form(dataset, Limits())[0])
    assert (spacing.believable, spacing.calibrated) == (believable, calibrated)


@pytest.mark.parametrize("numbers", [[3.5], [3.5, 3.5, 3.5], [0, 3.5], [3.5, 1000]])
def test_spacing_is_two_numbers_above_zero_and_below_a_metre(numbers):
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(RAMP, PixelSpacing=numbers)))
    assert spacing_of(dataset, stored_form(dataset, Limits())[0]) is None
