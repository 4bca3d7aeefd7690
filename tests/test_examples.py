"""The examples that the page offers: a normal film that no setting outlines, and a pneumothorax on one side."""

import pytest

from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES, Example
from ptx_app.film.radiograph import View
from ptx_app.inference.decide import Grade, Side, Thresholds
from ptx_app.inference.measure import measure
from ptx_app.model.manifest import load_manifest
from ptx_app.pipeline import Detector, Examination

POINTS = load_manifest().entry().operating_points
PNEUMOTHORAX, NORMAL = EXAMPLES


@pytest.fixture(scope="module")
def examined():
    detector = Detector.load(lungs=True)
    return lambda example: (detector, detector.examine(example.load(read_film)))


def found(examined, example: Example, point):
    detector, examination = examined(example)
    assert isinstance(examination, Examination)
    assert examination.rejections == ()
    return detector.decide(examination.prediction, examination.radiograph.shape, Thresholds.of(point))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_the_normal_film_is_never_flagged_or_outlined(examined, point):
    # Its score is just below the threshold of "sensitive", so it is borderline there.
    finding = found(examined, NORMAL, point)
    assert finding.grade is (Grade.BORDERLINE if point.name == "sensitive" else Grade.CLEAR)
    assert not finding.flagged
    assert not finding.mask.any()


def test_the_pneumothorax_is_flagged_at_the_default_setting(examined):
    finding = found(examined, PNEUMOTHORAX, load_manifest().entry().operating_point())
    assert finding.flagged
    assert Side.LEFT in finding.sides


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_no_setting_calls_the_pneumothorax_on_the_left_two_sided(examined, point):
    assert found(examined, PNEUMOTHORAX, point).sides == (Side.LEFT,)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_both_lungs_are_found_beside_each_other(examined, example):
    _, examination = examined(example)
    lungs = examination.lungs
    assert lungs is not None
    assert not (lungs.patient_right & lungs.patient_left).any()
    assert all(0.1 < lung.mean() < 0.3 for lung in (lungs.patient_right, lungs.patient_left))


def test_the_pneumothorax_is_measured_against_its_own_hemithorax(examined):
    finding = found(examined, PNEUMOTHORAX, load_manifest().entry().operating_point())
    (size,) = measure(finding, examined(PNEUMOTHORAX)[1].lungs, None)
    assert size.side is Side.LEFT
    assert size.film_share < size.hemithorax_share < 1
    assert size.apical_mm is None  # a JPEG has no spacing


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_says_what_is_known_and_whose_it_is(example):
    assert example.known.endswith(".")
    assert "Wikimedia Commons, CC" in example.credit
    assert example.load(read_film).view is View.UNKNOWN  # a picture has no header
