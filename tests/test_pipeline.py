"""The path of a film. A rejected film never reaches the network unless the user asks for it."""

from contextlib import contextmanager

import numpy as np
import pytest

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.radiograph import FilmNote, Radiograph
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import Calibration, load_manifest
from ptx_app.model.network import NetworkOutput
from ptx_app.pipeline import Detector, required_prediction
from tests.support.films import ct_slice, real_dicom

LATERAL = FilmNote("LATERAL_VIEW", "This is a lateral film.")


class Counting:
    """A network that marks the whole film and counts its calls."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, batch):
        self.runs += 1
        count, _, height, width = batch.shape
        return NetworkOutput(np.full((count, height, width), 3, np.float32), np.full(count, 20, np.float32))


@pytest.fixture
def network():
    return Counting()


@pytest.fixture
def detector(network):
    return Detector(load_manifest().entry(), network)


@pytest.fixture(scope="module")
def film():
    return Detector(load_manifest().entry(), Counting()).read(real_dicom())


def test_a_films_bytes_become_a_finding_of_its_own_size(detector, film):
    finding = detector.detect(real_dicom(), Thresholds(0.5, 0.5, 0))
    assert finding.flagged
    assert finding.mask.shape == film.shape
    assert (
        finding.mask.all()
    )  # what the network marks is the whole film, which it is shown where no lungs are looked for


def test_without_thresholds_the_default_operating_point_decides(detector):
    point = detector.weights.operating_point()
    assert detector.detect(real_dicom()).thresholds == Thresholds.of(point)


def test_a_rejected_film_does_not_reach_the_network(detector, network):
    with pytest.raises(NotAFilmError) as refused:
        detector.detect(ct_slice())
    assert refused.value.code == "WRONG_MODALITY"
    assert network.runs == 0


def test_a_rejected_film_is_analysed_on_request(detector, network):
    assert detector.detect(ct_slice(), overrule=True).mask.shape
    assert network.runs == 1
    first = detector.examine(detector.read(ct_slice()))
    assert first.prediction is None
    assert network.runs == 1
    later = detector.judge(first)
    at_once = detector.examine(detector.read(ct_slice()), overrule=True)
    assert np.array_equal(later.prediction.probability, at_once.prediction.probability)
    assert later.rejections == first.rejections


def test_a_picture_is_rejected_with_its_own_reason(detector, network):
    noise = Radiograph(np.random.default_rng(0).random((200, 200), np.float32))
    with pytest.raises(NotAFilmError) as refused:
        required_prediction(detector.examine(noise))
    assert refused.value.code == "NOT_A_CHEST_FILM"
    assert network.runs == 0


def test_the_turn_is_held_while_the_network_runs_and_not_for_the_check(detector, network, film):
    turns = []

    @contextmanager
    def turn():
        turns.append(network.runs)
        yield
        turns.append(network.runs)

    detector.examine(film, turn=turn)
    assert turns == [0, 1]
    detector.examine(Radiograph(film.pixels, rejections=(LATERAL,)), turn=turn)
    assert turns == [0, 1]


def test_errors_of_the_reader_come_through(detector):
    with pytest.raises(FilmError) as failed:
        detector.detect(b"no film")
    assert failed.value.code == "FORMAT_UNKNOWN"


def test_a_prediction_keeps_its_logit_so_that_another_calibration_can_score_it(detector, film):
    prediction = detector.predict_film(film.pixels)
    assert prediction.logit == pytest.approx(20)
    assert prediction.calibrated(Calibration(temperature=20.0, bias=-1.0)).score == pytest.approx(0.5)
    assert prediction.calibrated(detector.weights.calibration).score == prediction.score
